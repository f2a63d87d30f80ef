"""What the logics of both modules share: one worker, and the parameters of the scene."""

from __future__ import annotations

from slicer.ScriptedLoadableModule import ScriptedLoadableModuleLogic

from BrainIACBridge.preprocessing_options import forgetWayThatIsNotHere
from BrainIACBridge.worker_process import WorkerProcess


class Logic(ScriptedLoadableModuleLogic):
    """A subclass bears the name of its module and names its ``parameterNodeClass``.

    Parameters
    ----------
    worker : a ``WorkerProcess``; a new one by default.
    """

    parameterNodeClass = None

    def __init__(self, worker=None):
        ScriptedLoadableModuleLogic.__init__(self)
        self.worker = worker or WorkerProcess()

    def getParameterNode(self):
        """The parameters of this scene."""
        node = super().getParameterNode()
        forgetWayThatIsNotHere(node)
        return self.parameterNodeClass(node)
