"""The answers of the study that is analyzed, one card each, the most important first."""

from __future__ import annotations

import dataclasses

from slicer.i18n import tr as _

from BrainIACBridge.card import Card
from BrainIACBridge.in_words import answerInWords, driversInShort, intervalInShort
from BrainIACBridge.library_texts import translated
from BrainIACBridge.task_buttons import answerTitle
from BrainIACBridge.trust_light import Light, lightOf
from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.trust.age_gap import age_gap_of
from BrainIACLib.trust.words import age_gap


@dataclasses.dataclass(frozen=True)
class Face:
    """What a card shows of an answer; ``obstacle``: why its buttons cannot be used now, or ""."""

    title: str
    scans: str
    value: str
    probability: float | None
    more: str
    light: Light
    details: str
    obstacle: str


class CardsSection:
    """Keeps the cards in step with the results.

    Parameters
    ----------
    layout : the box layout that takes the cards.
    logic : a ``BrainIACLogic``.
    actions : name -> what a click does with an answer: "show", "renew", "explain", "examine".
    """

    def __init__(self, layout, logic, actions):
        self._layout, self._logic, self._actions = layout, logic, actions
        self.cards = []
        self.records = []  # one a card, in the same order

    def update(self, obstacle, shown):
        """Show the answers as they are now; the table of scans tells their sequences, so that one of them is enough.

        Parameters
        ----------
        obstacle : why nothing can run, or "".
        shown : the scan whose sequence has a card, None for all; answers that are not current have theirs always.
        """
        self.records = [record for record in self._ordered() if self._hasCard(record, shown)]
        while len(self.cards) < len(self.records):
            self._add(len(self.cards))
        for card, record in zip(self.cards, self.records, strict=False):
            card.show(self._face(record, obstacle))
        for card in self.cards[len(self.records) :]:
            card.hide()

    def _add(self, number):
        def action(name):
            return lambda: self._actions[name](self.records[number])

        card = Card({name: action(name) for name in self._actions})
        self.cards.append(card)
        self._layout.addWidget(card.frame)

    def _ordered(self):
        results = self._logic.answers.results(create=False)
        if results is None:
            return []
        scans, marks = self._logic.study.scans(), self._logic.study.marks()

        def isOfStudy(record):
            there = [node for node in results.scansOf(record).values() if node is not None]
            if there:
                return any(node in scans for node in there)
            # an answer whose scans were all deleted has a card in its own study alone, if it is known whose that was
            studies = record.get("studies", [""])
            return all(studies) and marks.issuperset(studies)

        return sorted(filter(isOfStudy, results.records()), key=lambda record: record["task"] == SEQUENCE_TASK)

    def _hasCard(self, record, shown):
        if record["task"] != SEQUENCE_TASK or shown is None:
            return True
        (node,) = self._logic.answers.results(create=False).scansOf(record).values()
        return node is shown or bool(self._logic.answers.staleness(record))

    def _face(self, record, obstacle):
        scans = self._logic.answers.results(create=False).scansOf(record)
        names = [
            self._logic.study.titleOf(node)
            if node is not None
            else _("{name} (deleted)").format(name=record["scans"][slot])
            for slot, node in scans.items()
        ]
        gap = age_gap_of(record, record.get("ageYears"))  # of these scans: studies may be taken together
        more = [intervalInShort(record), age_gap(gap, translated) if gap is not None else "", driversInShort(record)]
        return Face(
            title=answerTitle(record["task"]),
            scans=", ".join(names),
            value=record["label"],
            probability=record["confidence"],
            more="\n".join(filter(None, more)),
            light=lightOf(record, self._logic.answers.staleness(record)),
            details=answerInWords(record),
            obstacle=obstacle,
        )
