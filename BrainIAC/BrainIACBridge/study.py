"""The scans of the scene and what each of them is; the sequence is kept on the volume node and saved with the scene."""

from __future__ import annotations

import slicer.util

from BrainIACLib.sequences import STANDARD_OR_OTHER

SEQUENCE, CONFIDENCE, WARNINGS, EXCLUDED, RESULT = (
    "BrainIAC.Sequence",  # one of SEQUENCES; detected, or set by the person
    "BrainIAC.SequenceConfidence",  # as text; absent where the person set the sequence
    "BrainIAC.SequenceWarnings",  # one a line; absent where there are none
    "BrainIAC.Excluded",  # "1": not part of the study
    "BrainIAC.Result",  # marks what this module made; never an input
)
SEQUENCES = STANDARD_OR_OTHER


class Study:
    """The scalar volumes of the scene, without this module's own results."""

    def volumes(self):
        """All volumes that could be scans, in the order of the scene."""
        return [
            node
            for node in slicer.util.getNodesByClass("vtkMRMLScalarVolumeNode")
            if node.GetClassName() == "vtkMRMLScalarVolumeNode"
            and node.GetImageData() is not None
            and not node.GetAttribute(RESULT)
            and not node.GetHideFromEditors()
        ]

    def included(self):
        """The volumes that the person left in."""
        return [node for node in self.volumes() if self.isIncluded(node)]

    def isIncluded(self, node):
        """Whether a volume takes part."""
        return not node.GetAttribute(EXCLUDED)

    def include(self, node, included):
        """Put a volume into the study or leave it out."""
        node.SetAttribute(EXCLUDED, None if included else "1")

    def sequence(self, node):
        """(sequence, confidence); ("", None) before it was detected, confidence None where the person set it."""
        confidence = node.GetAttribute(CONFIDENCE)
        return node.GetAttribute(SEQUENCE) or "", float(confidence) if confidence else None

    def sequenceWarnings(self, node):
        """The reasons to doubt the detected sequence, one a line; "" if there are none."""
        return node.GetAttribute(WARNINGS) or ""

    def setSequence(self, node, sequence, confidence=None, warnings=()):
        """Remember what a volume is; without a confidence it counts as set by the person."""
        node.SetAttribute(SEQUENCE, sequence or None)
        node.SetAttribute(CONFIDENCE, None if confidence is None else repr(confidence))
        node.SetAttribute(WARNINGS, "\n".join(warnings) or None)

    def fillSlots(self, slots):
        """The scans for a model's slots, and the slots without one.

        A slot takes the first included volume of its sequence; "any" takes the first included volume.
        """
        filled, missing = {}, []
        for slot in slots:
            fitting = [node for node in self.included() if slot == "any" or self.sequence(node)[0] == slot]
            if fitting:
                filled[slot] = fitting[0]
            else:
                missing.append(slot)
        return filled, missing
