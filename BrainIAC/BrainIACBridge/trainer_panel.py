"""The panel of the module BrainIACHeadTrainer: cases in, embeddings, training, performance, installation."""

from __future__ import annotations

import json
from pathlib import Path

import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.cases_section import CasesSection
from BrainIACBridge.head_trainer_logic import BrainIACHeadTrainerLogic
from BrainIACBridge.installation import Installation
from BrainIACBridge.panel import Panel
from BrainIACBridge.performance_section import PerformanceSection
from BrainIACBridge.settings import DeviceChoice
from BrainIACBridge.trainer_parameters import USUAL_CODES


class TrainerPanel(Panel):
    """The widget without its life cycle, which is ``Panel``'s."""

    preprocessingHint = _("Answers of the new head need the same choice.")

    def newLogic(self):
        """The logic of the module."""
        return BrainIACHeadTrainerLogic()

    def build(self):
        """Make the parts of the panel."""
        self._encoders = []
        self.installation = Installation()
        self.deviceChoice = DeviceChoice(self.ui.device)
        self.casesSection = CasesSection(self.ui, self.logic, self.updatePanel)
        self.performance = PerformanceSection(self.ui, self.casesSection.showNamed)
        self.ui.taskName.textChanged.connect(lambda *unused: self.updatePanel())
        self.ui.trainMoreButton.toggled.connect(self.ui.trainMoreBox.setVisible)
        self.ui.tableFile.setCurrentPath(str(self.logic.defaultTableFile()))

    def clicks(self):
        """Name of a button -> what a click does; the buttons of a section are its own."""
        return {"embedButton": self.onEmbed, "trainButton": self.onTrain, "installButton": self.onInstall}

    def enter(self):
        """Called each time the module is opened."""
        self.installation.lookAgain()
        self.deviceChoice.update()
        super().enter()

    def parametersShown(self):
        """The cases of this scene; what it fills in under More choices is seen."""
        parameters = self._parameterNode
        self.logic.cases.fromJson(parameters.cases)
        self.logic.cases.nodesGone()
        ownCodes = parameters.missingCodes != USUAL_CODES
        more = bool(ownCodes or parameters.covariates or parameters.siteColumn)
        self.ui.trainMoreButton.setChecked(more)
        self.ui.trainMoreBox.setVisible(more)

    # What the panel shows

    def updatePanel(self):
        """Bring every widget in line with cases, worker and the last training."""
        if self._parameterNode is None:
            return
        busy = self.logic.worker.busy
        self.casesSection.update(self._parameterNode)
        self._showEncoders()
        obstacle = _("Wait until it is finished, or click Cancel.") if busy else ""
        if not obstacle and not self.installation.isComplete():
            obstacle = _("Open the module BrainIAC and click Set up first.")
        reason = obstacle or ("" if self.logic.cases.all else _("Add scans first."))
        self.enable("embedButton", reason, _("Computes the numbers of all scans; Cancel keeps what is done."))
        tip = _("Learns the labels and measures how well; takes seconds.")
        self.enable("trainButton", obstacle or self._missing(), tip)
        self.performance.update(self._parameterNode)
        trained = self.performance.report is not None and self.logic.worker.running and not busy
        self.enable("installButton", "" if trained else _("Train first."), _("Makes it a task of BrainIAC."))
        self.ui.cancelButton.setEnabled(busy)
        self.ui.progressBar.setVisible(busy)

    def _missing(self):
        if not Path(self._tableFile()).is_file():
            return _("Click Embed first.")
        if not any(case.facts.get(self._parameterNode.labelColumn) for case in self.logic.cases.all):
            return _("Give the scans labels first.")
        if not self._parameterNode.taskName.strip():
            return _("Name the task first.")
        unknown = self.logic.unknownCovariates()
        return _("The scans have no column '{name}'.").format(name=unknown[0]) if unknown else ""

    def _showEncoders(self):
        encoders = self.logic.encoders()
        if encoders != self._encoders:
            self._encoders = encoders
            self.ui.encoder.clear()
            for model in encoders:
                self.ui.encoder.addItem(model.contract.title, model.contract.id)

    def _tableFile(self):
        return self.ui.tableFile.property("currentPath")

    # Clicks

    def onEmbed(self):
        """Compute what is missing."""
        listener = self.begin(_("Embedding"))
        self.logic.embed(self.ui.encoder.property("currentData"), self._tableFile(), self._onEmbedded, listener)
        self.updatePanel()

    def onTrain(self):
        """Train and measure."""
        self.logic.train(self._tableFile(), self._onTrained, self.begin(_("Training")))
        self.updatePanel()

    def onInstall(self):
        """Make the head a task of BrainIAC."""
        earlier = self.logic.earlierHead(self.performance.report.task)
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
