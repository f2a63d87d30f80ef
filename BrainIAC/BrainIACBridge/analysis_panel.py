"""The panel of the module BrainIAC: which sections it has, and what each click asks the logic for."""

from __future__ import annotations

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.answers_section import AnswersSection
from BrainIACBridge.batch_section import BatchSection
from BrainIACBridge.brainiac_logic import BrainIACLogic
from BrainIACBridge.cards_section import CardsSection
from BrainIACBridge.chosen_scan import ChosenScan
from BrainIACBridge.follow_up_section import FollowUpSection
from BrainIACBridge.map_section import MapSection
from BrainIACBridge.model_section import ModelSection
from BrainIACBridge.panel import Panel
from BrainIACBridge.preparation_section import PreparationSection
from BrainIACBridge.report_section import ReportSection
from BrainIACBridge.settings import DeviceChoice
from BrainIACBridge.setup_section import SetupSection
from BrainIACBridge.study_analysis import StudyAnalysis
from BrainIACBridge.study_section import StudySection
from BrainIACBridge.study_table import StudyTable
from BrainIACBridge.task_buttons import TaskButtons, taskTitle
from BrainIACBridge.undo import Undo
from BrainIACBridge.volumes_section import VolumesSection


class AnalysisPanel(Panel):
    """The widget without its life cycle, which is ``Panel``'s."""

    def newLogic(self):
        """The logic of the module."""
        return BrainIACLogic()

    def build(self):
        """Make the parts of the panel."""
        ui, logic, study = self.ui, self.logic, self.logic.study
        self.scan = ChosenScan(study, logic.map, self.updateSoon)
        self.undo = Undo(ui.undoButton, self.updatePanel)
        self.deviceChoice = DeviceChoice(ui.device)
        self.setupSection = SetupSection(ui, self.updatePanel)
        self.studySection = StudySection(ui, study, self.updatePanel, self.onShowScan)
        self.studyTable = StudyTable(
            ui.studyTable, study, self.wheelGuard, self.undo, self.updatePanel, self.onShowScan
        )
        self.taskButtons = TaskButtons(ui.taskButtonsBox.layout(), study, self.onTask)
        self.modelSection = ModelSection(ui, logic, self.begin, self.say, self.updatePanel)
        self.analysis = StudyAnalysis(logic, self.modelSection.contracts, self.begin, self.say, self.updatePanel)
        self.mapSection = MapSection(ui, logic, self.onExplain, self.onExamine, ui.statusLabel.setText)
        self.preparation = PreparationSection(ui, logic.answers, self.onSteps)
        self.followUpSection = FollowUpSection(ui, logic)
        self.volumesSection = VolumesSection(ui, logic.answers, self.onVolumes)
        self.batchSection = BatchSection(ui)
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
        self.answersSection = AnswersSection(ui, logic.answers, self.cards, self.undo, self.updatePanel)
        self.report = ReportSection(ui, logic, self.begin, self.say, self.updatePanel)
        self._shortcuts = [
            self._shortcut("Ctrl+Return", ui.analyzeButton.click),
            self._shortcut("Ctrl+Z", self.undo.undo),
            self._shortcut("Ctrl+M", ui.maximumButton.click),
        ]

    def clicks(self):
        """Name of a button -> what a click does; the buttons of a section are its own."""
        return {"analyzeButton": self.analysis.start, "forgetButton": self.onForget}

    def enter(self):
        """Called each time the module is opened."""
        self.setupSection.installation.lookAgain()
        self.deviceChoice.update()
        super().enter()
        for shortcut in self._shortcuts:
            shortcut.setEnabled(True)

    def exit(self):
        """Called each time another module is opened."""
        for shortcut in self._shortcuts:
            shortcut.setEnabled(False)
        super().exit()

    def cleanup(self):
        """Called when Slicer closes or the module is reloaded."""
        self.batchSection.worker.stop()
        self.scan.stop()
        super().cleanup()

    def parametersShown(self):
        """What the views show is what the panel is about; a question about what was shown before is over."""
        self.scan.follow()
        self.analysis.forget()

    def sceneEnds(self):
        """Nothing of it is observed, shown or undone any more."""
        self.undo.forget()
        self.scan.stop()
        self.logic.map.forget()

    def batchEnded(self):
        """What came into the views meanwhile, whichever module is open."""
        self.scan.batchEnded()

    def parametersChanged(self):
        """The map follows a slider while it moves."""
        self.logic.map.apply(self._parameterNode)

    def updatePanel(self):
        """Bring every widget in line with scene, installation and worker."""
        if self._parameterNode is not None and not slicer.mrmlScene.IsBatchProcessing():
            self.logic.answers.join()
            with self.logic.study.still():
                self.scan.takeOver(self._parameterNode)
                self._show()

    def _show(self):
        ui, parameters, busy = self.ui, self._parameterNode, self.logic.worker.busy
        complete = self.setupSection.update(busy)
        self.studySection.update(parameters)
        self.scan.keepToStudy(parameters)
        self.analysis.update()
        self.studyTable.update(parameters.saliencyScan)
        obstacle = _("An analysis is running.") if busy else "" if complete else _("Click Set up first.")
        self.modelSection.update(busy)
        contracts = self.modelSection.contracts()
        self.taskButtons.update(contracts, obstacle)
        reason = obstacle or ("" if self.logic.study.included() else _("Load a scan first."))
        self.enable("analyzeButton", reason, self._plan(contracts))
        self.report.update(reason)
        self.cards.update(obstacle, parameters.saliencyScan)
        self.mapSection.update(parameters, obstacle)
        self.followUpSection.update()
        self.answersSection.update(bool(self.logic.study.volumes()))
        self.preparation.update(parameters, obstacle)
        self.volumesSection.update(parameters, obstacle)
        self.batchSection.update(parameters, self.logic.contracts(), "" if complete else _("Click Set up first."))
        ui.forgetButton.setEnabled(self.logic.worker.running and not busy)
        for name in ("progressBar", "cancelButton"):
            getattr(ui, name).setVisible(busy)
        ui.cancelButton.setEnabled(busy)

    def _plan(self, contracts):
        tasks = ", ".join(taskTitle(task) for task in contracts)
        return _("For the ticked scans: {tasks}; then shows where the model looked. (Ctrl+Return)").format(tasks=tasks)

    # Clicks

    def begin(self, what, said=""):
        """Whatever is asked, it is asked with the age that stands in the panel."""
        self.studySection.commit()
        return super().begin(what, said)

    def onSetup(self, agreed=False):
        """Install what is missing, after asking unless the person ``agreed`` before a restart."""
        self.setupSection.setUp(agreed)

    def analyzeStudyOf(self, scan):
        """The study of a scan, and no other, as chosen in the data tree or in the DICOM database."""
        self.logic.map.showScan(scan)  # the panel is about what the views show
        self._parameterNode.studyScan = self._parameterNode.saliencyScan = scan
        self._parameterNode.combineStudies = False
        self.updatePanel()
        if self.ui.analyzeButton.property("enabled"):
            self.analysis.start()
        else:  # the person clicked elsewhere, and would wait for an answer
            slicer.util.infoDisplay(self.ui.analyzeButton.property("toolTip"))

    def onTask(self, task):
        """One answer for each scan, or for the study, depending on the model."""
        contract = self.modelSection.contracts()[task]
        targets = self.taskButtons.targets(contract)
        self._ask(self.logic.predict, task, contract.id, targets, begun=self.begin(taskTitle(task)))

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
        saliency = self.logic.answers.saliencyOf(scan)
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

    def onSteps(self, scan):
        """Load what the model saw of a scan."""
        self._ask(self.logic.loadSteps, scan, begun=self.begin(_("Loading the steps")))

    def onVolumes(self, scan):
        """Measure the brain structures of a scan."""
        self._ask(self.logic.measureVolumes, scan, begun=self.begin(_("Measuring volumes"), _("Measured.")))

    def onForget(self):
        """End the worker."""
        self.logic.worker.stop()
        self.ui.statusLabel.setText(_("Memory freed."))
        self.updatePanel()

    def _onFinished(self, error):
        super()._onFinished(error)
        self.analysis.ended()

    def _ask(self, act, *arguments, begun):
        act(*arguments, begun)
        self.updatePanel()

    def _scanOf(self, record):
        """Which scan of an answer to show: the one that is shown already, else the first that is there."""
        scans = [node for node in self.logic.answers.results().scansOf(record).values() if node is not None]
        scans.sort(key=lambda node: node not in self.logic.study.scans())  # those of the study that is shown first
        shown = self._parameterNode.saliencyScan
        return shown if shown in scans else scans[0] if scans else None

    def _shortcut(self, keys, act):
        shortcut = qt.QShortcut(self.parent)
        shortcut.setKey(qt.QKeySequence(keys))
        shortcut.setContext(qt.Qt.WidgetWithChildrenShortcut)
        shortcut.activated.connect(act)
        return shortcut
