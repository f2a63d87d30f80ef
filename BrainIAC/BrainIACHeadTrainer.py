"""BrainIAC's head trainer in 3D Slicer: a new task from some dozen labeled scans, and how far to believe it."""

import json

import slicer
import slicer.util
import vtk
from BrainIACBridge.cases import Cases
from BrainIACBridge.links import helpLink
from BrainIACBridge.trainer_panel import TrainerPanel
from BrainIACBridge.training_plots import TrainingPlots
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest


class BrainIACHeadTrainer(ScriptedLoadableModule):
    """What the module is called, where it is found, and whom to thank."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("BrainIAC Head Trainer")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        parent.dependencies = []
        parent.contributors = ["The BrainIAC for 3D Slicer developers"]
        parent.helpText = _(
            "Trains a new task for BrainIAC on labeled brain MR scans in seconds, once their embeddings are computed, "
            "and measures it by cross-validation. Research use only. Everything runs on this computer."
        ) + helpLink("a-task-of-your-own")
        parent.acknowledgementText = _(
            "An independent implementation of: Tak D. and others, A foundation model for generalized brain "
            "MRI analysis."
        )


class BrainIACHeadTrainerWidget(TrainerPanel):
    """Slicer looks for the panel under this name."""


class BrainIACHeadTrainerTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer, without network or models."""

    def setUp(self):
        """An empty scene."""
        slicer.mrmlScene.Clear()

    def runTest(self):
        """What Reload and Test runs."""
        for test in (self.test_cases, self.test_panel, self.test_points):
            self.setUp()
            test()

    def test_cases(self):
        """Volumes become cases once; labels survive the way through the scene."""
        node = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scan")
        cases, again = Cases(), Cases()
        assert cases.addVolumes([node], lambda volume: "T1") == 1
        assert cases.addVolumes([node], lambda volume: "T1") == 0
        cases.all[0].facts["label"] = "a"
        again.fromJson(cases.toJson())
        assert again.named("scan").facts == {"scan": "scan", "patient": "", "sequence": "T1", "label": "a"}

    def test_panel(self):
        """Without cases, buttons that cannot work say why."""
        slicer.util.selectModule("BrainIACHeadTrainer")
        widget = slicer.modules.BrainIACHeadTrainerWidget
        widget.updatePanel()
        for name in ("embedButton", "trainButton", "installButton"):
            button = slicer.util.findChild(widget.parent, name)
            assert not button.enabled
            assert button.toolTip

    def test_points(self):
        """A point of the map leads to its scan."""
        series = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLPlotSeriesNode", "map")
        series.SetAttribute("BrainIAC.Scans", json.dumps(["first", "second"]))
        names, chosen, points = vtk.vtkStringArray(), vtk.vtkCollection(), vtk.vtkIdTypeArray()
        names.InsertNextValue(series.GetID())
        points.InsertNextValue(1)
        chosen.AddItem(points)
        assert TrainingPlots().scanAt(names, chosen) == "second"
