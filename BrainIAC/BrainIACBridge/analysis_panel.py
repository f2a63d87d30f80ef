"""The panel of the module BrainIAC: the state of scene, worker and installation; clicks become requests."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.brainiac_logic import BrainIACLogic
from BrainIACBridge.in_words import answerInWords, stepsInWords
from BrainIACBridge.installation import Installation
from BrainIACBridge.model_section import ModelSection
from BrainIACBridge.panel import Panel
from BrainIACBridge.series_dialog import SeriesDialog
from BrainIACBridge.study_table import StudyTable
from BrainIACBridge.task_buttons import TaskButtons, taskTitle


class AnalysisPanel(Panel):
    """The widget without its life cycle, which is ``Panel``'s."""

    _seriesDialog = None  # kept while it is open

    def newLogic(self):
        """The logic of the module."""
        return BrainIACLogic()

    def build(self):
        """Make the parts of the panel."""
        self.installation = Installation()
        self.studyTable = StudyTable(self.ui.studyTable, self.logic.study, self.wheelGuard, self.updatePanel)
        self.taskButtons = TaskButtons(self.ui.taskButtonsBox.layout(), self.logic.study, self.onTask)
        self.modelSection = ModelSection(self.ui, self.logic, self.begin, self.updatePanel)
        self.ui.setupSection.setProperty("collapsed", self.installation.isComplete())

    def clicks(self):
        """Name of a button -> what a click does."""
        return {
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
        }

    def enter(self):
        """Called each time the module is opened."""
        self.installation.lookAgain()
        super().enter()

    def parametersShown(self):
        """A scan to begin with."""
        volumes = self.logic.study.volumes()
        if self._parameterNode.saliencyScan is None and volumes:
            self._parameterNode.saliencyScan = volumes[0]

    def parametersChanged(self):
        """The map follows a slider while it moves."""
        scan = self._parameterNode.saliencyScan
        self.logic.showOverlay(self._parameterNode, self.logic.saliencyOf(scan) if scan else None)

    # What the panel shows

    def updatePanel(self):
        """Bring every widget in line with scene, installation and worker."""
        if self._parameterNode is None:
            return
        busy = self.logic.worker.busy
        complete = self.installation.isComplete()
        self.ui.setupStatusLabel.setText(self.installation.inWords())
        self.ui.setupButton.setEnabled(not complete and not busy and not self.installation.unsupported())
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

    def onSetup(self, agreed=False):
        """Say what will be installed, ask unless the person ``agreed`` before a restart, install."""
        with slicer.util.tryWithErrorDisplay(_("The installation failed."), waitCursor=True):
            question = _("BrainIAC needs the following in Slicer's Python. Install it now?")
            question = f"{question}\n\n{self.installation.plan()}"
            if agreed or slicer.util.confirmOkCancelDisplay(question, _("Set up BrainIAC")):
                self.ui.statusLabel.setText(self.installation.install(self.ui.wheelsFolder.property("currentPath")))
        self.updatePanel()

    def onDicom(self):
        """Load series of a DICOM folder, read as the command line reads them."""
        folder = qt.QFileDialog.getExistingDirectory(None, _("DICOM folder"))
        if not folder:
            return
        listener = self.begin(_("Looking for series"))

        def load(uids):
            self.logic.loadSeries(folder, uids, self.begin(_("Loading")))
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
        self.logic.predict(task, contract.id, self.taskButtons.targets(contract), self.begin(taskTitle(task)))
        self.updatePanel()

    def onExplain(self):
        """The map for the chosen answer, over the chosen scan."""
        task = self.ui.explainTask.property("currentData")
        self._parameterNode.showSaliency = True
        self.logic.explain(task, self._parameterNode.saliencyScan, self.begin(_("Explaining the answer")))
        self.updatePanel()

    def onExamine(self):
        """Whether the chosen answer holds under small changes of the scan."""
        task = self.ui.explainTask.property("currentData")
        self.logic.examine(task, self._parameterNode.saliencyScan, self.begin(_("Examining the answer")))
        self.updatePanel()

    def onSteps(self):
        """Load what the model saw of the chosen scan."""
        self.logic.loadSteps(self._parameterNode.saliencyScan, self.begin(_("Loading the steps")))
        self.updatePanel()

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
