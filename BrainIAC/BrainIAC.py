"""BrainIAC in 3D Slicer: which sequence is each scan, what do the models say about it, and where did they look."""

import logging

import numpy as np
import slicer
import slicer.util
import vtk
from BrainIACBridge.analysis_panel import AnalysisPanel
from BrainIACBridge.dicom_menu import DicomMenu
from BrainIACBridge.installation import Installation
from BrainIACBridge.links import helpLink
from BrainIACBridge.overlay import Overlay
from BrainIACBridge.sample_data import registerSampleData
from BrainIACBridge.startup import onceStarted
from BrainIACBridge.volume_nodes import VolumeNodes
from BrainIACBridge.worker_process import WorkerProcess
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import ScriptedLoadableModule, ScriptedLoadableModuleTest

from BrainIACLib.worker.requests import Status


class BrainIAC(ScriptedLoadableModule):
    """What the module is called, where it is found, and whom to thank."""

    def __init__(self, parent):
        ScriptedLoadableModule.__init__(self, parent)
        parent.title = _("BrainIAC")
        parent.categories = [translate("qSlicerAbstractCoreModule", "Neuroimaging")]
        parent.dependencies = []
        parent.contributors = ["The BrainIAC for 3D Slicer developers"]
        parent.helpText = _(
            "Recognizes the sequence of brain MR scans and, with imported weights, predicts age, IDH mutation and "
            "survival; shows where the model looked. Research use only. Everything runs on this computer."
        ) + helpLink("tutorial")
        parent.acknowledgementText = _(
            "An independent implementation of: Tak D. and others, A foundation model for generalized brain "
            "MRI analysis."
        )
        self.dicomMenu = DicomMenu()
        for act in (registerSampleData, resumeInstallation, self.dicomMenu.watch):
            onceStarted(act)

    def setup(self):
        """Called once: the entry in the menu of the data tree; without it everything else works."""
        try:
            from BrainIACBridge.BrainIACSubjectHierarchyPlugin import BrainIACSubjectHierarchyPlugin
        except ImportError as error:
            logging.warning("BrainIAC has no entry in the menu of the data tree: %s", error)
            return
        plugin = slicer.qSlicerSubjectHierarchyScriptedPlugin(None)
        plugin.setPythonSource(BrainIACSubjectHierarchyPlugin.filePath)


def resumeInstallation():
    """Open the module and go on, if a restart interrupted the installation."""
    if Installation().takePending():
        slicer.util.selectModule("BrainIAC")
        slicer.modules.BrainIACWidget.onSetup(agreed=True)


class BrainIACWidget(AnalysisPanel):
    """Slicer looks for the panel under this name."""


class BrainIACTest(ScriptedLoadableModuleTest):
    """Runs inside Slicer, without network; the last test needs an installed torch and is skipped without it."""

    def setUp(self):
        """An empty scene with one small oblique scan."""
        slicer.mrmlScene.Clear()
        self.scan = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "scan")
        angle = np.deg2rad(20)
        rotation = [[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]]
        self.scan.SetIJKToRASDirections(rotation)
        self.scan.SetOrigin(10, -20, 30)
        slicer.util.updateVolumeFromArray(self.scan, np.arange(24, dtype=np.int16).reshape(4, 3, 2))
        self.scan.CreateDefaultDisplayNodes()

    def runTest(self):
        """What Reload and Test runs."""
        for test in (self.test_geometry, self.test_overlay, self.test_panel, self.test_worker):
            self.setUp()
            test()

    def test_geometry(self):
        """A volume goes out as an image and comes back with the same voxels at the same place."""
        volumes = VolumeNodes()
        image = volumes.image(self.scan)
        copy = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "copy")
        volumes.showImage(image, copy)
        matrices = [vtk.vtkMatrix4x4(), vtk.vtkMatrix4x4()]
        for node, matrix in zip((self.scan, copy), matrices, strict=True):
            node.GetIJKToRASMatrix(matrix)
        assert np.allclose(*map(slicer.util.arrayFromVTKMatrix, matrices))
        assert (slicer.util.arrayFromVolume(copy) == slicer.util.arrayFromVolume(self.scan)).all()

    def test_overlay(self):
        """The maximum of a map is found in world coordinates, and its small values are transparent."""
        overlay = Overlay()
        overlay.style(self.scan, "Inferno", 0.3)
        assert self.scan.GetDisplayNode().GetLowerThreshold() == 0.3
        ijkToRas = vtk.vtkMatrix4x4()
        self.scan.GetIJKToRASMatrix(ijkToRas)
        assert np.allclose(overlay.maximum(self.scan), ijkToRas.MultiplyPoint((1, 2, 3, 1))[:3])

    def test_panel(self):
        """With a scan and without models, buttons that cannot work say why."""
        slicer.util.selectModule("BrainIAC")
        widget = slicer.modules.BrainIACWidget
        widget.updatePanel()
        assert not slicer.util.findChild(widget.parent, "idhButton").enabled
        assert "model" in slicer.util.findChild(widget.parent, "idhButton").toolTip

    def test_worker(self):
        """The worker starts in Slicer's Python, names its device, and leaves nothing behind."""
        if Installation().torchState() != "found":
            self.delayDisplay("Not run: PyTorch is not installed; click Set up in the BrainIAC module first.")
            logging.warning("BrainIACTest.test_worker was not run: PyTorch is not installed.")
            return
        worker = WorkerProcess()
        values, errors = [], []
        worker.request(Status("cpu"), values.append, errors.append, lambda step, fraction: None)
        folder = worker.folder
        worker.waitWhileBusy()
        worker.stop()
        assert errors == []
        assert values[0]["device"] == "cpu"
        assert not folder.exists()
