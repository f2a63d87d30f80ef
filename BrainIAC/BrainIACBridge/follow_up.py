"""Two dates of one person: both answers, their difference, and how sure it is."""

from __future__ import annotations

import dataclasses

import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.task_buttons import answerTitle
from BrainIACLib.answers import SEQUENCE_TASK

VIEWS = ("Red", "Yellow")


@dataclasses.dataclass(frozen=True)
class Change:
    """One task at two dates, in words."""

    task: str
    before: str
    after: str
    difference: str


class FollowUp:
    """Finds the earlier study of the same person and compares its answers with those of the current one.

    Parameters
    ----------
    logic : a ``BrainIACLogic``.
    """

    def __init__(self, logic):
        self._logic = logic

    def pair(self):
        """(earlier, later) identities of one person, the later one being current; None where there is no earlier one.

        The earliest study of a person is compared with the next one.
        """
        current = self._logic.study.current()
        if not current.key[0] or not current.key[1]:
            return None
        ofPerson = sorted(
            (one for one in self._logic.study.studies() if one.key[0] == current.key[0] and one.key[1]),
            key=lambda one: one.key[1],
        )
        if len(ofPerson) < 2:
            return None
        later = max(ofPerson.index(current), 1)
        return ofPerson[later - 1], ofPerson[later]

    def changes(self):
        """Each task that was answered at both dates."""
        pair = self.pair()
        if pair is None:
            return []
        before, after = (self._answersOf(identity) for identity in pair)
        return [
            Change(
                answerTitle(task),
                before[task]["headline"],
                after[task]["headline"],
                difference(before[task], after[task]),
            )
            for task in before
            if task in after
        ]

    def showSideBySide(self):
        """A scan of each date, of the same sequence, in two linked views; (earlier, later) nodes."""
        pair = self.pair()
        studies = self._logic.study.studies()
        scans = _alike(self._logic.study, studies[pair[0]], studies[pair[1]])
        slicer.app.layoutManager().setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView)
        for view, scan in zip(VIEWS, scans, strict=True):
            node = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceNode{view}")
            composite = slicer.mrmlScene.GetNodeByID(f"vtkMRMLSliceCompositeNode{view}")
            if node is None or composite is None:
                continue
            node.SetOrientation("Axial")
            composite.SetBackgroundVolumeID(scan.GetID())
            composite.SetLinkedControl(1)
        self._logic.map.apply(self._logic.getParameterNode())
        return scans

    def _answersOf(self, identity):
        """task -> answer about scans of one study alone; the sequences are not compared."""
        results = self._logic.answers.results(create=False)
        nodes = self._logic.study.studies().get(identity, [])
        found = {}
        for record in results.records() if results else []:
            scans = results.scansOf(record).values()
            if record["task"] != SEQUENCE_TASK and all(node in nodes for node in scans):
                if not self._logic.answers.staleness(record):
                    found[record["task"]] = record
        return found


def difference(before, after):
    """The change in words, with the interval that both intervals leave."""
    if before["provenance"]["model"] != after["provenance"]["model"]:
        return _("by different models: not compared")
    if before["value"] is None or after["value"] is None:
        if before["label"] == after["label"]:
            return _("the same")
        return _("{before} → {after}").format(before=before["label"], after=after["label"])
    text = f"{after['value'] - before['value']:+.1f} {after['unit']}"
    intervals = [one.get("trust", {}).get("prediction_interval") for one in (before, after)]
    if None in intervals:
        return text + _(" (no interval is known)")
    first, last = intervals
    coverage = max(0.0, first["coverage"] + last["coverage"] - 1)  # both hold at once at least so often
    low, high = last["low"] - first["high"], last["high"] - first["low"]
    return text + _(" (at least {coverage:.0%}: {low:+.1f} to {high:+.1f})").format(
        coverage=coverage, low=low, high=high
    )


def _alike(study, before, after):
    """A scan of each list, of the same sequence where there is one."""
    for first in before:
        for last in after:
            if study.sequence(first)[0] and study.sequence(first)[0] == study.sequence(last)[0]:
                return first, last
    return before[0], after[0]
