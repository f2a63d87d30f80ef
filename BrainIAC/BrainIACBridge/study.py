"""The scans of the scene, whose and of which day they are, and what each of them shows.

One study is one patient and one date, by the subject hierarchy and the UIDs that DICOM gave it. What is known of a scan
is kept on its volume node: it is saved with the scene, and stays with the volume when scenes are joined.
"""

from __future__ import annotations

import contextlib

import slicer
import slicer.util

from BrainIACBridge.patient_age import ageAt, ageInHeaders
from BrainIACBridge.results import RESULT
from BrainIACBridge.study_identity import StudyIdentity, identityOf
from BrainIACLib.sequences import ALL_NAMES, OTHER

SEQUENCE, CONFIDENCE, WARNINGS, EXCLUDED, PROBLEM, AGE, AGE_OF, PREFERRED = (
    "BrainIAC.Sequence",  # one of SEQUENCES; detected, or set by the person
    "BrainIAC.SequenceConfidence",  # as text; absent where the person set the sequence
    "BrainIAC.SequenceWarnings",  # one a line; absent where there are none
    "BrainIAC.Excluded",  # "1": not part of the study
    "BrainIAC.Problem",  # why the scan could not be analyzed; absent where it could
    "BrainIAC.AgeYears",  # typed by the person; absent where the headers are right
    "BrainIAC.AgeOf",  # the mark of the patient and date for whom it was typed; absent where there is neither
    "BrainIAC.Preferred",  # "1": the person's choice among scans of one sequence
)
SEQUENCES = (*ALL_NAMES, OTHER)


class Study:
    """The scalar volumes of the scene, without this module's own results.

    The study that is analyzed is the one of ``scan``, if that is set; else the first of the scene.
    """

    def __init__(self):
        self.scan = None  # a volume of the study that is analyzed
        self.combined = False  # the person wants scans of all studies to be taken together
        self._seen = None  # what was seen of a scene that stands still
        self._held = None  # these volumes alone, whatever the person chooses meanwhile

    def heldTo(self, nodes):
        """A study of these volumes, whichever study the person chooses meanwhile."""
        held = Study()
        held._held = list(nodes)
        return held

    @contextlib.contextmanager
    def still(self):
        """Look at the scene once for all that is asked inside; nothing may change there."""
        self._seen = self._seen or {}
        try:
            yield
        finally:
            self._seen = None

    def volumes(self):
        """All volumes that could be scans, in the order of the scene."""
        return self.once("volumes", self._volumes)

    def _volumes(self):
        return [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if node.GetClassName() in ("vtkMRMLScalarVolumeNode", "vtkMRMLVectorVolumeNode")
            and node.GetImageData() is not None
            and not node.GetAttribute(RESULT)
            and not node.GetHideFromEditors()
        ]

    def studies(self):
        """Identity of each study of the scene -> its volumes."""
        return self.once("studies", self._studies)

    def once(self, name, look):
        """What ``look`` finds; inside ``still`` it looks only the first time that ``name`` is asked for."""
        if self._seen is None:
            return look()
        if name not in self._seen:
            self._seen[name] = look()
        return self._seen[name]

    def _studies(self):
        return _grouped(self.volumes())

    def current(self):
        """The identity of the study that is analyzed."""
        studies = self.studies()
        chosen = [identity for identity, nodes in studies.items() if self.scan in nodes]
        return (chosen or list(studies) or [StudyIdentity()])[0]

    def marks(self):
        """What stands for the study that is analyzed, or for all where they are combined (``StudyIdentity.mark``)."""
        return {identity.mark for identity in (self.studies() if self.combined else [self.current()])}

    def scans(self):
        """The volumes of the study that is analyzed, or of all where they are combined."""
        if self._held is not None:
            return [node for node in self._held if node.GetScene() is not None]
        if self.combined:
            return self.volumes()
        return self.studies().get(self.current(), [])

    def included(self):
        """Those that the person left in."""
        return [node for node in self.scans() if self.isIncluded(node)]

    def isIncluded(self, node):
        """Whether a volume takes part."""
        return not node.GetAttribute(EXCLUDED)

    def include(self, node, included):
        """Put a volume into the study or leave it out."""
        node.SetAttribute(EXCLUDED, None if included else "1")

    def titleOf(self, node):
        """The name of a volume, with a number where several of the study bear the same."""
        same = [other for other in self.scans() if other.GetName() == node.GetName()]
        if len(same) < 2 or node not in same:
            return node.GetName()
        return f"{node.GetName()} ({same.index(node) + 1})"

    def sequence(self, node):
        """(sequence, confidence); ("", None) before it was detected, confidence None where the person set it."""
        confidence = node.GetAttribute(CONFIDENCE)
        return node.GetAttribute(SEQUENCE) or "", float(confidence) if confidence else None

    def isSetByPerson(self, node):
        """Whether the person said what the volume is: no model changes that."""
        sequence, confidence = self.sequence(node)
        return bool(sequence) and confidence is None

    def isChosenByPerson(self, node):
        """Whether the person said what the volume is, or preferred it to others."""
        return self.isSetByPerson(node) or bool(node.GetAttribute(PREFERRED))

    def sequenceWarnings(self, node):
        """The reasons to doubt the detected sequence, one a line; "" if there are none."""
        return node.GetAttribute(WARNINGS) or ""

    def setSequence(self, node, sequence, confidence=None, warnings=()):
        """Remember what a volume is; without a confidence it counts as set by the person."""
        node.SetAttribute(SEQUENCE, sequence or None)
        node.SetAttribute(CONFIDENCE, None if confidence is None else repr(confidence))
        node.SetAttribute(WARNINGS, "\n".join(warnings) or None)

    def problem(self, node):
        """Why a scan could not be analyzed, "" if it could."""
        return node.GetAttribute(PROBLEM) or ""

    def setProblem(self, node, problem):
        """Remember it; "" after it went well."""
        node.SetAttribute(PROBLEM, problem or None)

    def age(self, shown=None):
        """(years, typed): the person's age at the study that is analyzed; (None, False) where nobody says it.

        Parameters
        ----------
        shown : of scans that say neither patient nor date, the one to tell about: they may be of several people.
        """
        return self.ageAt(self._ofOneAge(shown))

    def ageAt(self, scans):
        """(years, typed) of the person of some scans; of several people or dates the one age of all, if it is one.

        A study has one age, whichever of its scans are asked about. Scans without patient and date have each its own.
        """
        found = set()
        for identity, nodes in _grouped(scans).items():
            if any(identity.key):
                whole = (others for known, others in self.studies().items() if known.key == identity.key)
                found.add(_age(identity, next(whole, nodes)))
            else:
                found.update(_age(identity, [node]) for node in nodes)
        return found.pop() if len(found) == 1 else (None, False)

    def setAge(self, years, shown=None):
        """What the person typed, for all scans of the one study that is analyzed; None to go back to the headers.

        Scans without patient and date get it where they had the same age as ``shown`` before.
        """
        if not self.isMixed():
            for node in self._ofOneAge(shown):
                node.SetAttribute(AGE, None if years is None else f"{years:g}")
                node.SetAttribute(AGE_OF, (years is not None and identityOf(node).mark) or None)

    def _ofOneAge(self, shown):
        scans = self.scans()
        if shown not in scans or any(identityOf(shown).key):
            return scans
        return [node for node in scans if self.ageAt([node]) == self.ageAt([shown])]

    def isMixed(self):
        """Whether scans of several people or dates are taken together."""
        return len({identityOf(node).key for node in self.scans()}) > 1

    def prefer(self, node):
        """Take this scan before the others of its sequence."""
        for other in self.scans():
            if self.sequence(other)[0] == self.sequence(node)[0]:
                other.SetAttribute(PREFERRED, "1" if other is node else None)

    def choices(self, slots):
        """slot -> the scans among which the person must choose: several fit, and none is preferred."""
        found = {}
        for slot in slots:
            fitting = self._fitting(slot)
            if slot != "any" and len(fitting) > 1 and not any(node.GetAttribute(PREFERRED) for node in fitting):
                found[slot] = fitting
        return found

    def fillSlots(self, slots):
        """The scans for a model's slots, and the slots without one.

        A slot takes the preferred included volume of its sequence, else the first; "any" takes the first volume.
        """
        filled, missing = {}, []
        for slot in slots:
            fitting = sorted(self._fitting(slot), key=lambda node: not node.GetAttribute(PREFERRED))
            if fitting:
                filled[slot] = fitting[0]
            else:
                missing.append(slot)
        return filled, missing

    def _fitting(self, slot):
        usable = [node for node in self.included() if not self.problem(node)]
        return [node for node in usable if slot == "any" or self.sequence(node)[0] == slot]


def _grouped(nodes):
    """Identity of each study -> its volumes."""
    found = {}
    for node in nodes:
        identity = identityOf(node)
        known = next((one for one in found if one.key == identity.key), identity)
        found.setdefault(known, []).append(node)
    return found


def _age(identity, nodes):
    for node in nodes:
        if node.GetAttribute(AGE) and (node.GetAttribute(AGE_OF) or "") == identity.mark:  # typed for this person
            return float(node.GetAttribute(AGE)), True
    found = ageAt(identity.birthDate, identity.date)
    if found is None:
        found = next((age for age in map(ageInHeaders, nodes) if age is not None), None)
    return found, False
