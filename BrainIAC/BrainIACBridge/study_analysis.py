"""*Analyze study*: which scan to take where several are of one sequence, the analysis, and what it left to be asked."""

from __future__ import annotations

import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.choice_dialog import ChoiceDialog
from BrainIACBridge.in_words import outcomeInWords


class StudyAnalysis:
    """What a click on the button does.

    Parameters
    ----------
    logic : a ``BrainIACLogic``.
    contracts : gives task -> contract of the models to use.
    begin : called with what begins, in words; gives the listener for it.
    say : called with what the status line tells when that ended well.
    onChanged : called after it began.
    """

    def __init__(self, logic, contracts, begin, say, onChanged):
        self._logic, self._contracts, self._begin, self._say, self._onChanged = logic, contracts, begin, say, onChanged
        self._question, self._asked = None, None  # kept while it is open, with the study that it is about
        self._open = None  # a study that was analyzed, some scans of which are of one sequence

    def start(self):
        """Ask what has to be asked, then analyze the study that is chosen now."""
        self.forget()
        study = self._logic.study.heldTo(self._logic.study.scans())  # the person may choose another one meanwhile
        choices = self._choices(study)
        if not choices:
            self._analyze(study)
            return

        def chosen(nodes):
            for node in nodes:
                study.prefer(node)
            self._analyze(study)

        self._question, self._asked = ChoiceDialog(slicer.util.mainWindow(), choices, study, chosen), study
        self._question.open()

    def update(self):
        """A question about another study than the one whose name stands above is over."""
        if self._asked is not None and self._asked.scans() != self._logic.study.scans():
            self.forget()

    def forget(self):
        """The question that is open is over."""
        if self._question is not None:
            self._question.dialog.reject()
        self._question, self._asked = None, None

    def ended(self):
        """Ask what came up; of another study nothing is asked: the status line has said what is to be chosen."""
        study, self._open = self._open, None
        if study is not None and study.scans() == self._logic.study.scans() and self._choices(study):
            self.start()

    def _analyze(self, study):
        self._asked = None

        def told(*outcome):
            self._say(outcomeInWords(*outcome))
            self._open = study  # the sequences are known now

        self._logic.analyze(self._contracts(), told, self._begin(_("Analyzing the study")))
        self._onChanged()

    def _choices(self, study):
        """slot -> scans of one sequence, among which the person must choose."""
        contracts = self._contracts().values()
        return study.choices(sorted({slot for contract in contracts for slot in contract.head.slots}))
