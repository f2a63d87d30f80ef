"""What both panels share: life cycle, parameter node, one request at a time with its progress, and how it ends."""

from __future__ import annotations

import logging
import sys

import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.ScriptedLoadableModule import ScriptedLoadableModuleWidget
from slicer.util import VTKObservationMixin

from BrainIACBridge.flow import Listener
from BrainIACBridge.preprocessing_options import addRows
from BrainIACBridge.wheel_guard import WheelGuard
from BrainIACLib.errors import Cancelled

UPDATE_INTERVAL = 50  # milliseconds; a scene or a DICOM study adds many nodes at once


class Panel(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The widget of a module. A subclass makes its parts in ``build`` and shows the state of things in ``updatePanel``.

    ``logic`` has a ``worker`` and ``getParameterNode``; the .ui file bears the name of the module and holds
    ``statusLabel``, ``progressBar``, ``cancelButton`` and ``preprocessingBox``.
    """

    preprocessingHint = ""  # a sentence for the tooltips of the preprocessing options

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self._said = ""  # what the status line says when the request under way ends well

    def newLogic(self):
        """The logic of the module."""
        raise NotImplementedError

    def build(self):
        """Make the parts of the panel; ``self.ui``, ``self.logic`` and ``self.wheelGuard`` are there."""
        raise NotImplementedError

    def clicks(self):
        """Name of a button -> what a click does."""
        raise NotImplementedError

    def updatePanel(self):
        """Bring every widget in line with scene, installation and worker."""
        raise NotImplementedError

    # Life cycle

    def setup(self):
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        module = type(self).__name__.removesuffix("Widget")
        panel = slicer.util.loadUI(self.resourcePath(f"UI/{module}.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = self.newLogic()
        self._updateTimer = qt.QTimer()
        self._updateTimer.setSingleShot(True)
        self._updateTimer.setInterval(UPDATE_INTERVAL)
        self._updateTimer.timeout.connect(self.updatePanel)
        self.wheelGuard = WheelGuard()
        addRows(self.ui.preprocessingBox, self.ui, self.preprocessingHint)
        self.build()
        clicks = {**self.clicks(), "cancelButton": self.onCancel}
        for button, act in clicks.items():
            getattr(self.ui, button).clicked.connect(lambda *unused, act=act: act())
        self.wheelGuard.watch(panel)
        scene = slicer.mrmlScene
        for event in (scene.NodeAddedEvent, scene.NodeRemovedEvent):
            self.addObserver(scene, event, self._onNodesChanged)
        self.addObserver(scene, scene.EndBatchProcessEvent, self._onBatchEnded)
        self.addObserver(scene, scene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(scene, scene.EndCloseEvent, self._onSceneEnd)
        self.addObserver(scene, scene.EndImportEvent, self._onSceneEnd)
        self.ui.progressBar.setVisible(False)
        self._initializeParameterNode()

    def cleanup(self):
        """Called when Slicer closes or the module is reloaded."""
        self._updateTimer.stop()
        self.logic.worker.stop()
        self._setParameterNode(None)
        self.removeObservers()

    def enter(self):
        """Called each time the module is opened."""
        self._initializeParameterNode()

    def exit(self):
        """Called each time another module is opened."""
        self._setParameterNode(None)

    def onReload(self):
        """Developer's Reload button: load the library and the bridge anew as well."""
        for name in [name for name in sys.modules if name.split(".")[0] in ("BrainIACLib", "BrainIACBridge")]:
            del sys.modules[name]
        ScriptedLoadableModuleWidget.onReload(self)

    def parametersShown(self):
        """Called when the panel shows the parameters of a scene, before ``updatePanel``."""

    def sceneEnds(self):
        """Called when a scene is about to be closed: nothing of it may be held on to."""

    def parametersChanged(self):
        """Called at once after a parameter changed; ``updatePanel`` follows a moment later."""

    def batchEnded(self):
        """Called when many changes of the scene, in which nothing was looked at, are over; ``updatePanel`` follows."""

    def updateSoon(self):
        """Call ``updatePanel`` once, for all that changes within a moment; it comes also while changes go on."""
        if not self._updateTimer.property("active"):
            self._updateTimer.start()

    def _initializeParameterNode(self):
        self._setParameterNode(self.logic.getParameterNode())

    def _setParameterNode(self, node, now=True):
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParameterChanged)
        self._parameterNode = node
        if node is not None:
            self._guiTag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onParameterChanged)
            self.parametersShown()
            if now:
                self.updatePanel()
            else:
                self.updateSoon()

    def _onNodesChanged(self, caller=None, event=None):
        self.updateSoon()

    def _onBatchEnded(self, caller=None, event=None):
        self.batchEnded()
        self.updateSoon()

    def _onSceneStartClose(self, caller=None, event=None):
        self.logic.worker.cancel(byForce=False)  # the process stays, with its models and what it has prepared
        self.sceneEnds()
        self._setParameterNode(None)

    def _onSceneEnd(self, caller=None, event=None):
        """The application itself looks at the new nodes in this event; this panel does so when all of them have."""
        if self.parent.isEntered:
            self._setParameterNode(self.logic.getParameterNode(), now=False)

    def _onParameterChanged(self, caller=None, event=None):
        if not slicer.mrmlScene.IsBatchProcessing():  # references lead elsewhere until a scene is read
            self.parametersChanged()
        self.updateSoon()

    # A request

    def onCancel(self):
        """Stop the running request."""
        self.ui.statusLabel.setText(_("Stopping..."))
        self.logic.worker.cancel()

    def enable(self, name, reason, tooltip):
        """A button that can be used unless there is a ``reason`` against it, which its tooltip then tells."""
        button = getattr(self.ui, name)
        button.setEnabled(not reason)
        button.setToolTip(reason or tooltip)

    def begin(self, what, said=""):
        """Show what begins; the listener for it. ``said`` is shown when it ended well."""
        self._said = said
        self.ui.statusLabel.setText(what)
        self.ui.progressBar.setRange(0, 0)  # no fraction known yet
        return Listener(self._onProgress, self._onFinished)

    def say(self, text):
        """What the status line shows when the request under way ended well."""
        self._said = text

    def _onProgress(self, step, fraction):
        self.ui.statusLabel.setText(step)
        self.ui.progressBar.setRange(0, 100)
        self.ui.progressBar.setValue(round(100 * fraction))

    def _onFinished(self, error):
        self.ui.statusLabel.setText(self._said if error is None else str(error))
        if error is not None and not isinstance(error, Cancelled):
            logging.info("BrainIAC, end of the log of the analysis process:\n%s", "\n".join(self.logic.worker.log))
            slicer.util.errorDisplay(str(error), detailedText="\n".join(self.logic.worker.log))
        self.updatePanel()
