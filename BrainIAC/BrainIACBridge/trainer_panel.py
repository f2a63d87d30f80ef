"""The panel of the module BrainIACHeadTrainer: cases in, embeddings, training, performance, installation."""

from __future__ import annotations

import json
from pathlib import Path

import qt
import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.case_table import CaseTable
from BrainIACBridge.cases import Cases
from BrainIACBridge.head_trainer_logic import BrainIACHeadTrainerLogic
from BrainIACBridge.installation import Installation
from BrainIACBridge.panel import Panel
from BrainIACBridge.settings import DeviceChoice
from BrainIACBridge.training_plots import TrainingPlots
from BrainIACBridge.training_report import TrainingReport
from BrainIACLib.errors import BrainIACError


class TrainerPanel(Panel):
    """The widget without its life cycle, which is ``Panel``'s."""

    preprocessingHint = _("Answers of the new head need the same choice.")

    def newLogic(self):
        """The logic of the module."""
        return BrainIACHeadTrainerLogic()

    def build(self):
        """Make the parts of the panel."""
        self._encoders = []
        self._plotView = None  # the one whose clicks are listened to
        self.installation = Installation()
        self.plots = TrainingPlots()
        self.deviceChoice = DeviceChoice(self.ui.device)
        self.caseTable = CaseTable(self.ui.caseTable, self.logic.cases, self._onCasesChanged, self.onShow)
        self.ui.labelColumn.activated.connect(lambda *unused: self._onLabelColumn())
        self.ui.taskName.textChanged.connect(lambda *unused: self.updatePanel())
        self.ui.caseTable.itemSelectionChanged.connect(self.updatePanel)
        self.ui.hardestTable.cellDoubleClicked.connect(lambda row, column: self._onHardest(row))
        self.ui.hardestTable.horizontalHeader().setSectionResizeMode(0, qt.QHeaderView.Stretch)
        self.ui.tableFile.setCurrentPath(str(self.logic.defaultTableFile()))

    def clicks(self):
        """Name of a button -> what a click does."""
        return {
            "addVolumesButton": self.onAddVolumes,
            "addCsvButton": self.onAddCsv,
            "addFolderButton": self.onAddFolder,
            "removeCasesButton": self.onRemove,
            "embedButton": self.onEmbed,
            "trainButton": self.onTrain,
            "answersButton": self.onAnswers,
            "mapButton": self.onMap,
            "installButton": self.onInstall,
        }

    def enter(self):
        """Called each time the module is opened."""
        self.installation.lookAgain()
        self.deviceChoice.update()
        super().enter()

    def parametersShown(self):
        """The cases of this scene."""
        self.logic.cases.fromJson(self._parameterNode.cases)
        self.logic.cases.nodesGone()

    # What the panel shows

    def updatePanel(self):
        """Bring every widget in line with cases, worker and the last training."""
        if self._parameterNode is None:
            return
        cases, busy = self.logic.cases, self.logic.worker.busy
        self._showColumns()
        self.caseTable.update(self._parameterNode.labelColumn)
        self._showEncoders()
        self.ui.casesHintLabel.setText(self._casesInWords())
        self.ui.removeCasesButton.setEnabled(bool(self.caseTable.selectedRows()))
        obstacle = _("Wait until it is finished, or click Cancel.") if busy else ""
        if not obstacle and not self.installation.isComplete():
            obstacle = _("Open the module BrainIAC and click Set up first.")
        reason = obstacle or ("" if cases.all else _("Add scans first."))
        self.enable("embedButton", reason, _("Computes the numbers of all scans; Cancel keeps what is done."))
        labeled = [case for case in cases.all if case.facts.get(self._parameterNode.labelColumn)]
        if not obstacle and not Path(self._tableFile()).is_file():
            obstacle = _("Click Embed first.")
        elif not obstacle and not labeled:
            obstacle = _("Give the scans labels first.")
        elif not obstacle and not self._parameterNode.taskName.strip():
            obstacle = _("Name the task first.")
        self.enable("trainButton", obstacle, _("Learns the labels and measures how well; takes seconds."))
        self._showReport(busy)
        self.ui.cancelButton.setEnabled(busy)
        self.ui.progressBar.setVisible(busy)

    def _casesInWords(self):
        cases, column = self.logic.cases.all, self._parameterNode.labelColumn
        if not cases:
            return _("Add scans of at least 10 people, and give each a label; more are better.")
        labels = [case.facts.get(column, "") for case in cases]
        people = {case.facts.get("patient") or case.facts["scan"] for case in cases}
        return _("{scans} scans of {people} people; {labels} with a label, {different} different ones.").format(
            scans=len(cases),
            people=len(people),
            labels=sum(map(bool, labels)),
            different=len({label for label in labels if label}),
        )

    def _showColumns(self):
        columns = self.logic.cases.labelColumns()
        chosen = self._parameterNode.labelColumn
        if chosen not in columns:
            columns.append(chosen)
        combo = self.ui.labelColumn
        if columns != [combo.itemText(index) for index in range(combo.property("count"))]:
            combo.clear()
            combo.addItems(columns)
        combo.setCurrentIndex(columns.index(chosen))

    def _showEncoders(self):
        encoders = self.logic.encoders()
        if encoders != self._encoders:
            self._encoders = encoders
            self.ui.encoder.clear()
            for model in encoders:
                self.ui.encoder.addItem(model.contract.title, model.contract.id)

    def _showReport(self, busy):
        text = self._parameterNode.report
        report = TrainingReport.fromText(text)
        self.ui.performanceLabel.setText(report.inWords() if report else _("Nothing was trained yet."))
        hardest = report.hardest if report else []
        self.ui.hardestTable.setRowCount(len(hardest))
        for row, answer in enumerate(hardest):
            for column, shown in enumerate((answer.name, answer.trueText, answer.predictedText)):
                self.ui.hardestTable.setItem(row, column, qt.QTableWidgetItem(shown))
        for name in ("answersButton", "mapButton"):
            getattr(self.ui, name).setEnabled(report is not None)
        trained = report is not None and self.logic.worker.running and not busy
        self.enable("installButton", "" if trained else _("Train first."), _("Makes it a task of BrainIAC."))

    def _tableFile(self):
        return self.ui.tableFile.property("currentPath")

    # Clicks

    def onAddVolumes(self):
        """The volumes of the scene into the list."""
        self.logic.addVolumes()
        self._onCasesChanged()

    def onAddCsv(self):
        """A manifest into the list."""
        path = qt.QFileDialog.getOpenFileName(None, _("Add scans of a table"), "", "CSV (*.csv)")
        self._add(Cases.addCsv, path)

    def onAddFolder(self):
        """The scans of a folder into the list."""
        path = qt.QFileDialog.getExistingDirectory(None, _("Add the scans of a folder"))
        self._add(Cases.addFolder, path)

    def _add(self, add, path):
        if not path:
            return
        try:
            add(self.logic.cases, path)
        except BrainIACError as error:
            slicer.util.errorDisplay(str(error))
            return
        columns = self.logic.cases.labelColumns()
        if self._parameterNode.labelColumn == columns[0] and len(columns) > 1:
            self._parameterNode.labelColumn = columns[1]  # what the table brought
        self._onCasesChanged()

    def onRemove(self):
        """The selected rows out of the list."""
        self.logic.cases.remove(self.caseTable.selectedRows())
        self._onCasesChanged()

    def onShow(self, case):
        """The scan of a case in the slice views."""
        try:
            self.logic.show(case.facts["scan"])
        except (BrainIACError, RuntimeError) as error:
            slicer.util.errorDisplay(str(error))

    def onEmbed(self):
        """Compute what is missing."""
        listener = self.begin(_("Embedding"))
        self.logic.embed(self.ui.encoder.property("currentData"), self._tableFile(), self._onEmbedded, listener)
        self.updatePanel()

    def onTrain(self):
        """Train and measure."""
        self.logic.train(self._tableFile(), self._onTrained, self.begin(_("Training")))
        self.updatePanel()

    def onAnswers(self):
        """Confusion matrix or scatter plot."""
        report = TrainingReport.fromText(self._parameterNode.report)
        if report.confusion:
            table = self.plots.confusionTable(report)
            slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpTableView)
            selection = slicer.app.applicationLogic().GetSelectionNode()
            selection.SetActiveTableID(table.GetID())
            slicer.app.applicationLogic().PropagateTableSelection()
        else:
            self._showChart(self.plots.answersChart(report))

    def onMap(self):
        """The embedding map."""
        self._showChart(self.plots.mapChart(TrainingReport.fromText(self._parameterNode.report)))

    def onInstall(self):
        """Make the head a task of BrainIAC."""
        earlier = self.logic.earlierHead(TrainingReport.fromText(self._parameterNode.report).task)
        question = _("'{title}' was trained for this task before. Replace it?")
        if earlier is None or slicer.util.confirmOkCancelDisplay(question.format(title=earlier), _("Install")):
            self.logic.install(earlier is not None, self._onInstalled, self.begin(_("Installing")))
            self.updatePanel()

    # Answers

    def _onEmbedded(self, value):
        said = _("{scans} scans embedded ({reused} of them earlier).").format(**value)
        if value["failures"]:
            reasons = "\n".join(f"{scan}: {reason}" for scan, reason in value["failures"].items())
            said += " " + _("{number} failed.").format(number=len(value["failures"]))
            slicer.util.warningDisplay(_("Some scans could not be embedded."), detailedText=reasons)
        self.say(said)

    def _onTrained(self, report):
        self._parameterNode.report = json.dumps(report)
        self.say(_("Trained."))

    def _onInstalled(self, value):
        self.say(_("Installed as {id}: see the Tasks of the module BrainIAC.").format(**value))

    def _onCasesChanged(self):
        self._parameterNode.cases = self.logic.cases.toJson()
        self.updatePanel()

    def _onLabelColumn(self):
        self._parameterNode.labelColumn = self.ui.labelColumn.property("currentText")
        self.updatePanel()

    def _onHardest(self, row):
        report = TrainingReport.fromText(self._parameterNode.report)
        case = self.logic.cases.named(report.hardest[row].scan)
        if case is not None:
            self.onShow(case)

    def _showChart(self, chart):
        slicer.modules.plots.logic().ShowChartInLayout(chart)
        manager = slicer.app.layoutManager()
        view = manager.plotWidget(0).plotView() if manager.plotViewCount else None
        if view is not None and view is not self._plotView:
            view.connect("dataSelected(vtkStringArray*, vtkCollection*)", self.onPointsSelected)
            self._plotView = view

    def onPointsSelected(self, seriesIds, selections):
        """Show the scan of the point that was clicked in a plot."""
        scan = self.plots.scanAt(seriesIds, selections)
        case = self.logic.cases.named(scan) if scan is not None else None
        if case is not None:
            self.onShow(case)
