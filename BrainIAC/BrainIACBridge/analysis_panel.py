"""The panel of the module BrainIAC: the state of scene, worker and installation; clicks become requests."""

from __future__ import annotations

from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.brainiac_logic import BrainIACLogic
from BrainIACBridge.cards_section import CardsSection
from BrainIACBridge.choice_dialog import ChoiceDialog
from BrainIACBridge.follow_up_section import FollowUpSection
from BrainIACBridge.in_words import outcomeInWords, stepsInWords
from BrainIACBridge.installation import Installation
from BrainIACBridge.map_section import MapSection
from BrainIACBridge.model_section import ModelSection
from BrainIACBridge.panel import Panel
from BrainIACBridge.settings import DeviceChoice
from BrainIACBridge.study_section import StudySection
from BrainIACBridge.study_table import StudyTable
from BrainIACBridge.task_buttons import TaskButtons, taskTitle
from BrainIACBridge.undo import Undo


class AnalysisPanel(Panel):
    """The widget without its life cycle, which is ``Panel``'s."""

    def newLogic(self):
        """The logic of the module."""
        return BrainIACLogic()

    def build(self):
        """Make the parts of the panel."""
        ui, logic, study = self.ui, self.logic, self.logic.study
        self._question = None  # kept while it is open
        self._tableShown = None
        self._asksAgain = False
        self.installation = Installation()
        self.undo = Undo(ui.undoButton, self.updatePanel)
        self.deviceChoice = DeviceChoice(ui.device)
        self.studySection = StudySection(ui, study, self.updatePanel)
        self.studyTable = StudyTable(
            ui.studyTable, study, self.wheelGuard, self.undo, self.updatePanel, self.onShowScan
        )
        self.taskButtons = TaskButtons(ui.taskButtonsBox.layout(), study, self.onTask)
        self.modelSection = ModelSection(ui, logic, self.begin, self.say, self.updatePanel)
        self.mapSection = MapSection(ui, logic, self.onExplain, self.onExamine, ui.statusLabel.setText)
        self.followUpSection = FollowUpSection(ui, logic)
        self.cards = CardsSection(
            ui.cardsBox.layout(),
            logic,
            {
                "show": self.onShowAnswer,
                "renew": self.onRenew,
                "explain": lambda record: self.onExplain(record, self._scanOf(record)),
                "examine": lambda record: self.onExamine(record, self._scanOf(record)),
            },
        )
        self._shortcuts = [
            self._shortcut("Ctrl+Return", ui.analyzeButton.click),
            self._shortcut("Ctrl+Z", self.undo.undo),
            self._shortcut("Ctrl+M", ui.maximumButton.click),
        ]

    def clicks(self):
        """Name of a button -> what a click does."""
        return {
            "setupButton": self.onSetup,
            "analyzeButton": self.onAnalyze,
            "plotButton": self.onPlot,
            "copyButton": self.onCopy,
            "exportButton": self.onExport,
            "reportButton": self.onReport,
            "clearButton": self.onClear,
            "stepsButton": self.onSteps,
            "forgetButton": self.onForget,
        }

    def enter(self):
        """Called each time the module is opened."""
        self.installation.lookAgain()
        self.deviceChoice.update()
        super().enter()
        for shortcut in self._shortcuts:
            shortcut.setEnabled(True)

    def exit(self):
        """Called each time another module is opened."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
        super().exit()

    def parametersShown(self):
        """A scan to begin with; another scene has nothing to be undone."""
        self.undo.forget()
        volumes = self.logic.study.volumes()
        if self._parameterNode.saliencyScan is None and volumes:
            self._parameterNode.saliencyScan = volumes[0]

    def parametersChanged(self):
        """The map follows a slider while it moves."""
        self.mapSection.apply(self._parameterNode)

    def updatePanel(self):
        """Bring every widget in line with scene, installation and worker."""
        if self._parameterNode is not None:
            with self.logic.study.still():
                self._show()

    def _show(self):
        ui, parameters, busy = self.ui, self._parameterNode, self.logic.worker.busy
        complete = self.installation.isComplete()
        self._observeScans()
        self._showSetup(complete, busy)
        self.studySection.update(parameters)
        self.studyTable.update()
        obstacle = _("An analysis is running.") if busy else "" if complete else _("Click Set up first.")
        self.modelSection.update(busy)
        contracts = self.modelSection.contracts()
        self.taskButtons.update(contracts, obstacle)
        reason = obstacle or ("" if self.logic.study.included() else _("Load a scan first."))
        self.enable("analyzeButton", reason, self._plan(contracts))
        tip = _("A page that opens anywhere, a table and JSON; DICOM objects where the scans came from DICOM.")
        self.enable("reportButton", reason, tip)
        self.cards.update(obstacle)
        self.mapSection.update(parameters, obstacle)
        self.followUpSection.update()
        self._showTable()
        self._showSteps(obstacle)
        ui.forgetButton.setEnabled(self.logic.worker.running and not busy)
        for name in ("progressBar", "cancelButton"):
            getattr(ui, name).setVisible(busy)
        ui.cancelButton.setEnabled(busy)

    def _observeScans(self):
        """An edit, another frame, another place: answers about the earlier state are then shown as such."""
        node = slicer.vtkMRMLVolumeNode
        for volume in self.logic.study.volumes():
            for event in (node.ImageDataModifiedEvent, slicer.vtkMRMLTransformableNode.TransformModifiedEvent):
                if not self.hasObserver(volume, event, self._onScanChanged):
                    self.addObserver(volume, event, self._onScanChanged)

    def _onScanChanged(self, caller=None, event=None):
        self.updateSoon()

    def _showSetup(self, complete, busy):
        self.ui.setupSection.setVisible(not complete)
        if not complete:
            self.ui.setupStatusLabel.setText(self.installation.inWords())
            self.ui.setupButton.setEnabled(not busy and not self.installation.unsupported())
            self.ui.setupButton.setToolTip(self.installation.plan() + "\n" + _("Asks before it begins."))

    def _plan(self, contracts):
        tasks = ", ".join(taskTitle(task) for task in contracts)
        return _("For the ticked scans: {tasks}; then shows where the model looked. (Ctrl+Return)").format(tasks=tasks)

    def _showTable(self):
        results = self.logic.results(create=False)
        records = results.records() if results else []
        shown = (results.node, results.node.GetMTime()) if results else (None, 0)
        if shown != self._tableShown:
            self._tableShown = shown
            self.ui.resultTableView.setMRMLTableNode(shown[0])
        self.ui.answersHintLabel.setVisible(not self.cards.records)
        for button in (self.ui.plotButton, self.ui.copyButton, self.ui.exportButton, self.ui.clearButton):
            button.setEnabled(bool(records))

    def _showSteps(self, obstacle):
        scan, masked = self._parameterNode.saliencyScan, self._parameterNode.brainMask is not None
        self.ui.stepsLabel.setText(stepsInWords(self.logic.stepsOf(scan)) if scan is not None else "")
        self.ui.stepsLabel.setVisible(bool(self.ui.stepsLabel.property("text")))
        self.ui.brainExtraction.setEnabled(not masked)
        self.ui.brainExtraction.setToolTip(
            _("Not needed: the brain mask below is used.")
            if masked
            else _("How the brain is found before the analysis.")
        )
        missing = _("Choose a scan under Map.") if scan is None else ""
        name = scan.GetName() if scan is not None else ""
        tip = _("Loads what the model saw of {name}: brain, masks, transform, and lists each step.").format(name=name)
        self.enable("stepsButton", obstacle or missing, tip)

    # Clicks

    def onSetup(self, agreed=False):
        """Say what will be installed, ask unless the person ``agreed`` before a restart, install."""
        with slicer.util.tryWithErrorDisplay(_("The installation failed."), waitCursor=True):
            question = _("BrainIAC needs the following in Slicer's Python. Install it now?")
            question = f"{question}\n\n{self.installation.plan()}"
            if agreed or slicer.util.confirmOkCancelDisplay(question, _("Set up BrainIAC")):
                self.ui.statusLabel.setText(self.installation.install(self.ui.wheelsFolder.property("currentPath")))
        self.updatePanel()

    def onAnalyze(self):
        """The whole study; asks first which scan to take where several are of one sequence."""
        contracts = self.modelSection.contracts()
        choices = self._choices()

        def analyze():
            self.logic.analyze(contracts, self._onAnalyzed, self.begin(_("Analyzing the study")))
            self.updatePanel()

        def chosen(nodes):
            for node in nodes:
                self.logic.study.prefer(node)
            analyze()

        if choices:
            self._question = ChoiceDialog(slicer.util.mainWindow(), choices, self.logic.study, chosen)
            self._question.open()
        else:
            analyze()

    def analyzeStudyOf(self, scan):
        """The study of a scan, as chosen in the data tree."""
        self._parameterNode.studyScan = scan
        self.updatePanel()
        if self.ui.analyzeButton.property("enabled"):
            self.onAnalyze()

    def onTask(self, task):
        """One answer for each scan, or for the study, depending on the model."""
        contract = self.modelSection.contracts()[task]
        self.logic.predict(task, contract.id, self.taskButtons.targets(contract), self.begin(taskTitle(task)))
        self.updatePanel()

    def onShowScan(self, scan):
        """A scan in the slice views, with its map if there is one."""
        self.logic.map.showScan(scan)
        self._parameterNode.saliencyScan = scan
        self.updatePanel()

    def onShowAnswer(self, record):
        """The scan of an answer, its map, and the answer among those that can be explained."""
        scan = self._scanOf(record)
        if scan is None:
            return
        self.onShowScan(scan)
        index = self.ui.explainTask.findData(record["id"])
        if index >= 0:
            self.ui.explainTask.setCurrentIndex(index)
        saliency = self.logic.saliencyOf(scan)
        if saliency is not None:
            self.logic.map.goToMaximum(saliency)

    def onRenew(self, record):
        """The answer again, for the scans as they are now."""
        self._ask(self.logic.renew, record, begun=self.begin(_("Renewing the answer")))

    def onExplain(self, record, scan):
        """The map for an answer, over one of its scans."""
        self._ask(self.logic.explain, record, scan, begun=self.begin(_("Explaining the answer")))

    def onExamine(self, record, scan):
        """Whether an answer holds under small changes of the scan."""
        said = _("Examined; see 'Why trust this?'.")
        self._ask(self.logic.examine, record, scan, begun=self.begin(_("Examining the answer"), said))

    def onSteps(self):
        """Load what the model saw of the chosen scan."""
        self._ask(self.logic.loadSteps, self._parameterNode.saliencyScan, begun=self.begin(_("Loading the steps")))

    def onPlot(self):
        """Show the probabilities of the first answer that has some."""
        results = self.logic.results()
        records = [record for record in [*self.cards.records, *results.records()] if record["probabilities"]]
        if records:
            slicer.modules.plots.logic().ShowChartInLayout(results.showPlot(records[0]))

    def onCopy(self):
        """Copy the table."""
        self.logic.results().copyToClipboard()
        self.ui.statusLabel.setText(_("Copied."))

    def onExport(self):
        """Save the table as CSV, or everything as JSON."""
        path = qt.QFileDialog.getSaveFileName(None, _("Save answers"), "BrainIAC.csv", "CSV (*.csv);;JSON (*.json)")
        if path:
            with slicer.util.tryWithErrorDisplay(_("The answers could not be saved.")):
                self.logic.results().save(path)
                self.ui.statusLabel.setText(_("Saved {name}.").format(name=Path(path).name))

    def onReport(self):
        """The report of the study as a page, a table, JSON, and DICOM objects where the scans came from DICOM."""
        folder = qt.QFileDialog.getExistingDirectory(None, _("Folder for the report"))
        if not folder:
            return

        def saved(page, objects):
            said = _("Saved {page}.").format(page=page)
            if objects:
                said += " " + _("{number} DICOM objects lie beside it; they name the patient.").format(
                    number=len(objects)
                )
            self.say(said)
            qt.QDesktopServices.openUrl(qt.QUrl.fromLocalFile(page))

        self.logic.saveReport(folder, saved, self.begin(_("Writing the report")))
        self.updatePanel()

    def onClear(self):
        """Forget all answers of this scene."""
        results = self.logic.results()
        records, scans = results.clear()
        self.undo.did(_("clear"), lambda: self.logic.results().restore(records, scans))
        self.updatePanel()

    def onForget(self):
        """End the worker."""
        self.logic.worker.stop()
        self.ui.statusLabel.setText(_("Memory freed."))
        self.updatePanel()

    def _onAnalyzed(self, seconds, failed, unasked):
        self.say(outcomeInWords(seconds, failed, unasked))
        self._asksAgain = bool(self._choices())  # the sequences are known now, and several scans may be of one

    def _onFinished(self, error):
        super()._onFinished(error)
        if self._asksAgain:
            self._asksAgain = False
            self.onAnalyze()

    def _choices(self):
        contracts = self.modelSection.contracts().values()
        return self.logic.study.choices(sorted({slot for contract in contracts for slot in contract.head.slots}))

    def _ask(self, act, *arguments, begun):
        act(*arguments, begun)
        self.updatePanel()

    def _scanOf(self, record):
        """Which scan of an answer to show: the one that is shown already, else the first that is there."""
        scans = [node for node in self.logic.results().scansOf(record).values() if node is not None]
        shown = self._parameterNode.saliencyScan
        return shown if shown in scans else scans[0] if scans else None

    def _shortcut(self, keys, act):
        shortcut = qt.QShortcut(self.parent)
        shortcut.setKey(qt.QKeySequence(keys))
        shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        shortcut.activated.connect(act)
        return shortcut
