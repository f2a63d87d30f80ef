"""The answers and maps that a scene holds, and whether each is about what the scene shows now."""

from __future__ import annotations

import json

import slicer
import slicer.util
from slicer.i18n import tr as _

from BrainIACBridge.result_nodes import CONTENT, STRUCTURES
from BrainIACBridge.results import ANSWER, PROVENANCE, RESULT, Results, findResult
from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.errors import BrainIACError


class SceneAnswers:
    """Looks into the scene; changes nothing but the one table of results.

    Parameters
    ----------
    study : the ``Study``.
    contents : the ``Contents`` of the volumes.
    parameterNode : gives the parameters of the scene.
    """

    def __init__(self, study, contents, parameterNode):
        self._study, self._contents, self._parameterNode = study, contents, parameterNode

    def results(self, create=True):
        """The results of this scene, in one table; None if there are none and none are to be made.

        With ``create``, tables of scenes that were added to this one are taken in.
        """
        tables = self._study.once("tables", _tables) if not create else _tables()
        if not tables and not create:
            return None
        if tables and not create:  # of a scene that is being added references still lead to volumes of this one
            return Results(tables[0], self.staleness)
        first = tables[0] if tables else slicer.mrmlScene.AddNewNodeByClass("vtkMRMLTableNode", "BrainIAC results")
        results = Results(first, self.staleness)
        if len(tables) > 1:  # of scenes that were added to this one
            results.absorb([Results(other) for other in tables[1:]])
        parameters = self._parameterNode()
        if parameters.resultTable is not first:
            parameters.resultTable = first
        return results

    def join(self):
        """Take in the answers of scenes that were added since; never while a scene is being read."""
        if self.results(create=False) is not None and not slicer.mrmlScene.IsBatchProcessing():
            self.results()

    def records(self):
        """All answers of the scene, oldest first."""
        results = self.results(create=False)
        return results.records() if results else []

    def about(self, scan):
        """The answers in which a scan took part."""
        results = self.results(create=False)
        return results.about(scan) if results else []

    def staleness(self, record):
        """Why an answer is not one about what the scene shows now, "" if it is."""
        return self._study.once(("staleness", record["id"]), lambda: self._staleness(record))

    def _staleness(self, record):
        scans = self.results(create=False).scansOf(record)
        if None in scans.values():
            return _("The scan is no longer in the scene; load it again.")
        for slot, node in scans.items():
            if self._contents.of(node) != record.get("contents", {}).get(slot):
                return _("'{name}' was changed since.").format(name=node.GetName())
            sequence = self._study.sequence(node)[0]
            if sequence not in (slot, record.get("sequences", {}).get(slot, sequence)):
                return _("'{name}' is no longer taken for {slot}.").format(name=node.GetName(), slot=slot)
        asked, (known, _typed) = record.get("ageYears"), self._study.ageAt(list(scans.values()))
        if record["task"] != SEQUENCE_TASK and asked != known:
            return _("The age of the person was changed since.")
        return ""

    def main(self, scans):
        """The current answer about ``scans`` that a person looks at first: of a study before that of one scan."""
        results = self.results(create=False)
        records = [
            record
            for record in (results.records() if results else [])
            if set(results.scansOf(record).values()) <= set(scans) and not self.staleness(record)
        ]
        of_study = [record for record in records if record["task"] != SEQUENCE_TASK]
        return (of_study or records or [None])[0]

    def targetOf(self, record):
        """slot -> volume of an answer. Raises BrainIACError if one is gone."""
        target = self.results().scansOf(record)
        if None in target.values():
            raise BrainIACError(_("The scan of this answer is no longer in the scene; load it again."))
        return target

    def saliencyOf(self, scan):
        """The saliency volume of a scan as it is now, or None; None too where what it explains is not current."""
        return self._study.once(("saliency", scan.GetID()), lambda: self._saliencyOf(scan))

    def _saliencyOf(self, scan):
        node = self.currentResult("vtkMRMLScalarVolumeNode", scan, "saliency")
        if node is None or node.GetImageData() is None:
            return None
        facts = _factsOf(node)
        explained = [record for record in self.about(scan) if _explains(facts, record)]
        return node if not all(map(self.staleness, explained)) else None  # none of an answer that is gone either

    def currentResult(self, className, scan, kind):
        """The result of that kind if it was made of the scan as it is now, or None."""
        node = findResult(className, scan, kind)
        return node if node is not None and node.GetAttribute(CONTENT) == self._contents.of(scan) else None

    def explained(self, scan):
        """(task, label) of the answer that the map of a scan explains, None without a map."""
        facts = self._factsOfMap(scan)
        return (facts["task"], facts["label"]) if facts else None

    def isExplained(self, record, scan):
        """Whether the map of a scan is that of this answer, with as many samples as are wanted."""
        facts = self._factsOfMap(scan)
        return _explains(facts, record) and facts["saliency"].get("samples") == self._parameterNode().samples

    def stepsOf(self, scan):
        """How a scan as it is now was prepared, where its steps were loaded; else nothing."""
        node = self.currentResult("vtkMRMLScalarVolumeNode", scan, "image")
        return json.loads(node.GetAttribute(PROVENANCE))["preprocessing"] if node is not None else []

    def structuresOf(self, scan):
        """(label map, found) of the brain structures of a scan as it is now; (None, None) if not measured."""
        node = self.currentResult("vtkMRMLLabelMapVolumeNode", scan, STRUCTURES)
        return (node, json.loads(node.GetAttribute(PROVENANCE))) if node is not None else (None, None)

    def _factsOfMap(self, scan):
        node = self.saliencyOf(scan)
        return _factsOf(node) if node is not None else {}


def _tables():
    return [node for node in slicer.util.getNodesByClass("vtkMRMLTableNode") if node.GetAttribute(RESULT) == "table"]


def _factsOf(saliency):
    return json.loads(saliency.GetAttribute(PROVENANCE) or "{}")


def _explains(facts, record):
    """Whether a map with these facts is of an answer; maps of earlier versions say which by task, label and model."""
    if ANSWER in facts:
        return facts[ANSWER] == record["id"]
    answer = record["task"], record["label"], record["provenance"]["model"]
    return (facts.get("task"), facts.get("label"), facts.get("model")) == answer
