"""BrainIAC in 3D Slicer: which sequence is each scan, what do the models say about it, and where did they look."""

import importlib.util
import logging
import sys
from pathlib import Path

import numpy as np
import qt
import slicer
import slicer.util
import vtk
from slicer.i18n import tr as _
from slicer.i18n import translate
from slicer.ScriptedLoadableModule import (
    ScriptedLoadableModule,
    ScriptedLoadableModuleTest,
    ScriptedLoadableModuleWidget,
)
from slicer.util import VTKObservationMixin

if importlib.util.find_spec("BrainIACLib") is None:  # in the source tree it lies one folder up
    sys.path.append(str(Path(__file__).resolve().parents[1]))

from BrainIACBridge.analysis import Listener
from BrainIACBridge.brainiac_logic import BrainIACLogic
from BrainIACBridge.in_words import answerInWords, stepsInWords
from BrainIACBridge.installation import Installation
from BrainIACBridge.model_section import ModelSection
from BrainIACBridge.overlay import Overlay
from BrainIACBridge.sample_data import registerSampleData
from BrainIACBridge.series_dialog import SeriesDialog
from BrainIACBridge.study_table import StudyTable
from BrainIACBridge.task_buttons import TaskButtons, taskTitle
from BrainIACBridge.volume_nodes import VolumeNodes
from BrainIACBridge.worker_process import WorkerProcess

from BrainIACLib.errors import Cancelled
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
        )
        parent.acknowledgementText = _(
            "An independent implementation of: Tak D. and others, A foundation model for generalized brain "
            "MRI analysis."
        )
        slicer.app.connect("startupCompleted()", registerSampleData)
        slicer.app.connect("startupCompleted()", resumeInstallation)


def resumeInstallation():
    """Open the module and go on, if a restart interrupted the installation."""
    if Installation().isPending():
        slicer.util.selectModule("BrainIAC")
        slicer.modules.BrainIACWidget.onSetup()


class BrainIACWidget(ScriptedLoadableModuleWidget, VTKObservationMixin):
    """The panel: shows the state of scene, worker and installation, and turns clicks into requests of the logic."""

    def __init__(self, parent=None):
        ScriptedLoadableModuleWidget.__init__(self, parent)
        VTKObservationMixin.__init__(self)
        self.logic = None
        self._parameterNode = None
        self._guiTag = None
        self._seriesDialog = None  # kept while it is open

    # Life cycle

    def setup(self):
        """Called when the module is opened for the first time."""
        ScriptedLoadableModuleWidget.setup(self)
        panel = slicer.util.loadUI(self.resourcePath("UI/BrainIAC.ui"))
        self.layout.addWidget(panel)
        self.ui = slicer.util.childWidgetVariables(panel)
        panel.setMRMLScene(slicer.mrmlScene)
        self.logic = BrainIACLogic()
        self.installation = Installation()
        self.studyTable = StudyTable(self.ui.studyTable, self.logic.study, self.updatePanel)
        self.taskButtons = TaskButtons(self.ui.taskButtonsBox.layout(), self.logic.study, self.onTask)
        self.modelSection = ModelSection(self.ui, self.logic, self._begin, self.updatePanel)
        for event in (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent):
            self.addObserver(slicer.mrmlScene, event, self._onNodesChanged)
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.StartCloseEvent, self._onSceneStartClose)
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.EndCloseEvent, self._onSceneEnd)
        self.addObserver(slicer.mrmlScene, slicer.vtkMRMLScene.EndImportEvent, self._onSceneEnd)
        self._updateTimer = qt.QTimer()  # a scene or a DICOM study adds many nodes at once: look once, afterwards
        self._updateTimer.setSingleShot(True)
        self._updateTimer.setInterval(50)
        self._updateTimer.timeout.connect(self.updatePanel)
        for button, act in {
            "setupButton": self.onSetup,
            "dicomButton": self.onDicom,
            "plotButton": self.onPlot,
            "copyButton": self.onCopy,
            "exportButton": self.onExport,
            "clearButton": self.onClear,
            "explainButton": self.onExplain,
            "examineButton": self.onExamine,
            "maximumButton": self.onMaximum,
            "stepsButton": self.onSteps,
            "forgetButton": self.onForget,
            "cancelButton": self.onCancel,
        }.items():
            getattr(self.ui, button).clicked.connect(lambda *unused, act=act: act())
        self.ui.setupSection.setProperty("collapsed", self.installation.isComplete())
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

    def _initializeParameterNode(self):
        self._setParameterNode(self.logic.getParameterNode())
        volumes = self.logic.study.volumes()
        if self._parameterNode.saliencyScan is None and volumes:
            self._parameterNode.saliencyScan = volumes[0]

    def _setParameterNode(self, node):
        if self._parameterNode is not None:
            self._parameterNode.disconnectGui(self._guiTag)
            self.removeObserver(self._parameterNode, vtk.vtkCommand.ModifiedEvent, self._onParameterChanged)
        self._parameterNode = node
        if node is not None:
            self._guiTag = node.connectGui(self.ui)
            self.addObserver(node, vtk.vtkCommand.ModifiedEvent, self._onParameterChanged)
            self.updatePanel()

    def _onNodesChanged(self, caller=None, event=None):
        self._updateTimer.start()

    def _onSceneStartClose(self, caller=None, event=None):
        self.logic.worker.stop()
        self._setParameterNode(None)

    def _onSceneEnd(self, caller=None, event=None):
        if self.parent.isEntered:
            self._initializeParameterNode()

    def _onParameterChanged(self, caller=None, event=None):
        self._updateTimer.start()

    # What the panel shows

    def updatePanel(self):
        """Bring every widget in line with scene, installation and worker."""
        if self._parameterNode is None:
            return
        busy = self.logic.worker.busy
        complete = self.installation.isComplete()
        self.ui.setupStatusLabel.setText(self.installation.inWords())
        self.ui.setupButton.setEnabled(not complete and not busy)
        self.ui.setupButton.setToolTip(
            _("Nothing is missing.") if complete else self.installation.plan() + "\n" + _("Asks before it begins.")
        )
        self.ui.dicomButton.setEnabled(not busy and complete)
        self.studyTable.update()
        self.ui.studyHintLabel.setVisible(not self.logic.study.volumes())
        obstacle = _("An analysis is running.") if busy else "" if complete else _("Click Set up first.")
        self.modelSection.update(busy)
        self.taskButtons.update(self.modelSection.contracts(), obstacle)
        self._updateResults()
        self._updateSaliency(obstacle)
        scan = self._parameterNode.saliencyScan
        self.ui.stepsLabel.setText(stepsInWords(self.logic.stepsOf(scan)) if scan is not None else "")
        self.ui.stepsLabel.setVisible(bool(self.ui.stepsLabel.property("text")))
        masked = self._parameterNode.brainMask is not None
        self.ui.brainExtraction.setEnabled(not masked)
        self.ui.brainExtraction.setToolTip(
            _("Not needed: the brain mask below is used.")
            if masked
            else _("How the brain is found before the analysis.")
        )
        self.ui.stepsButton.setEnabled(not obstacle and scan is not None)
        self.ui.stepsButton.setToolTip(
            obstacle
            or (_("Choose a scan under Saliency.") if scan is None else _("For {name}.").format(name=scan.GetName()))
        )
        self.ui.forgetButton.setEnabled(self.logic.worker.running and not busy)
        self.ui.cancelButton.setEnabled(busy)
        self.ui.progressBar.setVisible(busy)

    def _updateResults(self):
        results = self.logic.results(create=False)
        records = results.records() if results else []
        self.ui.resultTableView.setMRMLTableNode(results.node if results else None)
        for button in (self.ui.plotButton, self.ui.copyButton, self.ui.exportButton, self.ui.clearButton):
            button.setEnabled(bool(records))
        text = answerInWords(records[-1]) if records else _("No result yet.")
        if text != self.ui.answerText.property("plainText"):  # a person may be reading further down, or selecting
            self.ui.answerText.setPlainText(text)

    def _updateSaliency(self, obstacle):
        scan = self._parameterNode.saliencyScan
        answers = self.logic.answersFor(scan) if scan else []
        tasks = [record["task"] for record in answers]
        if tasks != [self.ui.explainTask.itemData(i) for i in range(self.ui.explainTask.property("count"))]:
            self.ui.explainTask.clear()
            for record in answers:
                self.ui.explainTask.addItem(f"{taskTitle(record['task'])}: {record['label']}", record["task"])
        reason = obstacle or ("" if answers else _("First get an answer for this scan, with a button under Tasks."))
        self.ui.explainButton.setEnabled(not reason)
        self.ui.explainButton.setToolTip(reason or _("Marks the voxels that the answer depends on most."))
        self.ui.examineButton.setEnabled(not reason)
        self.ui.examineButton.setToolTip(
            reason
            or _(
                "Flips, shifts and disturbs the scan slightly and sees if the answer holds, and if the map depends on "
                "the model; the findings are added to the answer."
            )
        )
        saliency = self.logic.saliencyOf(scan) if scan else None
        self.ui.maximumButton.setEnabled(saliency is not None)
        self.logic.showOverlay(self._parameterNode, saliency)

    # Clicks

    def onSetup(self):
        """Say what will be installed, ask, install."""
        with slicer.util.tryWithErrorDisplay(_("The installation failed."), waitCursor=True):
            question = _("BrainIAC needs the following in Slicer's Python. Install it now?")
            if slicer.util.confirmOkCancelDisplay(f"{question}\n\n{self.installation.plan()}", _("Set up BrainIAC")):
                self.ui.statusLabel.setText(self.installation.install(self.ui.wheelsFolder.property("currentPath")))
        self.updatePanel()

    def onDicom(self):
        """Load series of a DICOM folder, read as the command line reads them."""
        folder = qt.QFileDialog.getExistingDirectory(None, _("DICOM folder"))
        if not folder:
            return
        listener = self._begin(_("Looking for series"))

        def load(uids):
            self.logic.loadSeries(folder, uids, self._begin(_("Loading")))
            self.updatePanel()

        def ask(series):
            listener.finished(None)
            self._seriesDialog = SeriesDialog(slicer.util.mainWindow(), series, load)
            self._seriesDialog.open()

        self.logic.listSeries(folder, ask, listener)
        self.updatePanel()

    def onTask(self, task):
        """One answer for each scan, or for the study, depending on the model."""
        contract = self.modelSection.contracts()[task]
        self.logic.predict(task, contract.id, self.taskButtons.targets(contract), self._begin(taskTitle(task)))
        self.updatePanel()

    def onExplain(self):
        """The map for the chosen answer, over the chosen scan."""
        task = self.ui.explainTask.property("currentData")
        self._parameterNode.showSaliency = True
        self.logic.explain(task, self._parameterNode.saliencyScan, self._begin(_("Explaining the answer")))
        self.updatePanel()

    def onExamine(self):
        """Whether the chosen answer holds under small changes of the scan."""
        task = self.ui.explainTask.property("currentData")
        self.logic.examine(task, self._parameterNode.saliencyScan, self._begin(_("Examining the answer")))
        self.updatePanel()

    def onSteps(self):
        """Load what the model saw of the chosen scan."""
        self.logic.loadSteps(self._parameterNode.saliencyScan, self._begin(_("Loading the steps")))
        self.updatePanel()

    def onCancel(self):
        """Stop the running analysis."""
        self.ui.statusLabel.setText(_("Stopping..."))
        self.logic.worker.cancel()

    def onMaximum(self):
        """All slices to the strongest point of the map."""
        saliency = self.logic.saliencyOf(self._parameterNode.saliencyScan)
        ras = self.logic.overlay.goToMaximum(saliency)
        self.ui.statusLabel.setText(_("Maximum at R {0:.0f}, A {1:.0f}, S {2:.0f} mm.").format(*ras))

    def onPlot(self):
        """Show the probabilities of the latest answer."""
        results = self.logic.results()
        slicer.modules.plots.logic().ShowChartInLayout(results.showPlot(results.records()[-1]))

    def onCopy(self):
        """Copy the table."""
        self.logic.results().copyToClipboard()
        self.ui.statusLabel.setText(_("Copied."))

    def onExport(self):
        """Save the table as CSV, or everything as JSON."""
        path = qt.QFileDialog.getSaveFileName(None, _("Export answers"), "BrainIAC.csv", "CSV (*.csv);;JSON (*.json)")
        if path:
            with slicer.util.tryWithErrorDisplay(_("The answers could not be saved.")):
                self.logic.results().save(path)
                self.ui.statusLabel.setText(_("Saved {name}.").format(name=Path(path).name))

    def onClear(self):
        """Forget all answers of this scene."""
        self.logic.results().clear()
        self.updatePanel()

    def onForget(self):
        """End the worker."""
        self.logic.worker.stop()
        self.ui.statusLabel.setText(_("Memory freed."))
        self.updatePanel()

    def _begin(self, what):
        """Show what begins; the listener for it."""
        self.ui.statusLabel.setText(what)
        self.ui.progressBar.setRange(0, 0)  # no fraction known yet
        return Listener(self._onProgress, self._onFinished)

    def _onProgress(self, step, fraction):
        self.ui.statusLabel.setText(step)
        self.ui.progressBar.setRange(0, 100)
        self.ui.progressBar.setValue(round(100 * fraction))

    def _onFinished(self, error):
        self.ui.statusLabel.setText("" if error is None else str(error))
        if error is not None and not isinstance(error, Cancelled):
            logging.info("BrainIAC, end of the log of the analysis process:\n%s", "\n".join(self.logic.worker.log))
            slicer.util.errorDisplay(str(error), detailedText="\n".join(self.logic.worker.log))
        self.updatePanel()


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
        assert not slicer.util.findChild(widget.parent, "ageButton").enabled
        assert "model" in slicer.util.findChild(widget.parent, "ageButton").toolTip

    def test_worker(self):
        """The worker starts in Slicer's Python, names its device, and leaves nothing behind."""
        if Installation().torchState() != "found":
            self.skipTest("PyTorch is not installed; click Set up in the BrainIAC module first.")
        worker = WorkerProcess()
        values, errors = [], []
        worker.request(Status("cpu"), values.append, errors.append, lambda step, fraction: None)
        folder = worker.folder
        worker.waitWhileBusy()
        worker.stop()
        assert errors == []
        assert values[0]["device"] == "cpu"
        assert not folder.exists()
