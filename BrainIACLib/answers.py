"""From a head's outputs to an answer with its meaning: which scans it takes, label, confidence, unit and warnings."""

from __future__ import annotations

import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from BrainIACLib.contracts import TWO_CLASS_LINKS, HeadContract
from BrainIACLib.errors import ModelError
from BrainIACLib.sequences import unlike_the_four
from BrainIACLib.trust.echo_planar import allow_for_echo_planar, echo_planar_doubt
from BrainIACLib.trust.findings import Doubt, Severity
from BrainIACLib.trust.words import probability

if typing.TYPE_CHECKING:
    import torch

SEQUENCE_TASK = "sequence"


@dataclass(frozen=True)
class Answer:
    """A class with its probabilities, or a ``value`` in ``unit``; ``label`` says either in words."""

    label: str
    confidence: float | None = None
    probabilities: Mapping[str, float] = field(default_factory=dict)
    value: float | None = None
    unit: str | None = None
    doubts: tuple[Doubt, ...] = ()


def fill_slots(head: HeadContract, scans: str | Mapping[str, str]) -> dict[str, str]:
    """slot -> scan name, in the order of the contract. Raises ModelError for scans that the head does not take."""
    if isinstance(scans, str):
        if len(head.slots) > 1:
            raise ModelError(
                f"The task '{head.task}' takes several scans: {', '.join(head.slots)}; say which is which."
            )
        scans = {head.slots[0]: scans}
    if len(set(scans.values())) != len(scans):
        raise ModelError(f"The task '{head.task}' takes different scans, and one was given twice.")
    unknown = sorted(set(scans) - set(head.slots))
    if unknown or not scans:
        raise ModelError(
            f"The task '{head.task}' takes {', '.join(head.slots)}, not {', '.join(unknown) or 'nothing'}."
        )
    return {slot: scans[slot] for slot in head.slots if slot in scans}


def missing_slots(head: HeadContract, slots: Mapping[str, object], accepted: bool) -> list[str]:
    """What to warn of where scans are missing. Raises ModelError if the head needs them all (U-03)."""
    missing = ", ".join(slot for slot in head.slots if slot not in slots)
    if not missing:
        return []
    if head.missing_policy == "refuse" and not accepted:
        raise ModelError(
            f"The task '{head.task}' needs {', '.join(head.slots)}; missing: {missing}. Accept missing scans "
            "to average the others (the model was not made for that).",
            "--accept-missing",
        )
    return [f"Missing: {missing}. The model was made for {', '.join(head.slots)}; the mean of the others was used."]


def probabilities_of(head: HeadContract, logits: "torch.Tensor", voxel_mm: float = 0.0) -> dict[str, float]:
    """Label shown -> probability, calibrated, from (outputs,) logits.

    voxel_mm : of the scan in its plane (``trust.echo_planar``): a sequence head must allow for echo-planar images.
    """
    from BrainIACLib.models.heads import linked

    values = linked(logits, head.link, head.temperature).tolist()
    probabilities = dict(zip(head.display_labels, values, strict=True))
    return allow_for_echo_planar(probabilities, voxel_mm) if head.task == SEQUENCE_TASK else probabilities


def worth_showing(probabilities: Mapping[str, float]) -> dict[str, float]:
    """Label -> probability, largest first: the first two, and what else has a hundredth.

    >>> worth_showing({"T1": 0.004, "T2": 0.98, "CT": 0.003, "PD": 0.013})
    {'T2': 0.98, 'PD': 0.013}
    """
    ranked = sorted(probabilities.items(), key=lambda item: -item[1])
    return {label: p for place, (label, p) in enumerate(ranked) if place < 2 or p >= 0.01}


def classification(head: HeadContract, logits: "torch.Tensor", voxel_mm: float = 0.0) -> Answer:
    """label, confidence, probabilities and doubts from (outputs,) logits; ``voxel_mm`` as in ``probabilities_of``."""
    probabilities = probabilities_of(head, logits, voxel_mm)
    ranked = sorted(probabilities, key=probabilities.__getitem__, reverse=True)
    label = ranked[0]
    if head.link in TWO_CLASS_LINKS:
        negative, positive = head.display_labels
        label = positive if probabilities[positive] >= (0.5 if head.threshold is None else head.threshold) else negative
    confidence = probabilities[label]
    doubts: list[Doubt] = []
    if head.confidence_gate is not None and confidence < head.confidence_gate:
        second = next(name for name in ranked if name != label)
        gate = max(f"{head.confidence_gate:.2f}", f"{head.confidence_gate:g}", key=len)
        text = (
            f"Uncertain: the confidence {probability(confidence)} is below {gate}; "
            f"the next candidate is {second} ({probability(probabilities[second])})."
        )
        doubts.append(Doubt(text))
    if head.task == SEQUENCE_TASK and (unlike := unlike_the_four(label)):
        doubts.append(Doubt(f"This {unlike}."))
    if head.task == SEQUENCE_TASK:
        doubts += echo_planar_doubt(label, voxel_mm)
    return Answer(label, confidence, probabilities, doubts=tuple(doubts))


def measurement(head: HeadContract, outputs: "torch.Tensor") -> Answer:
    """label, value, unit and doubts from (1,) output; refuses what cannot be (U-16)."""
    value = outputs[0].item() * (1.0 if head.conversion is None else head.conversion)
    unit = head.display_unit or head.unit
    low, high = head.plausible_range or (float("-inf"), float("inf"))
    if not low <= value <= high:
        raise ModelError(
            f"The model for '{head.task}' answered {value:.1f} {unit}, which cannot be ({low:g} to {high:g} {unit}), "
            "so no result is given. This scan is unlike those that the model was made for (a large lesion, a child, a "
            "brain that other software extracted), or it was prepared badly: look at the outline of its brain."
        )
    doubts: list[Doubt] = []
    if head.training_range is not None and not head.training_range[0] <= value <= head.training_range[1]:
        begin, end = head.training_range
        text = (
            f"The result {value:.1f} {unit} lies outside the range that the model was trained on "
            f"({begin:g} to {end:g} {unit}): do not rely on it."
        )
        doubts.append(Doubt(text, Severity.grave))
    return Answer(f"{value:.1f} {unit}", value=value, unit=unit, doubts=tuple(doubts))


def saliency_target(head: HeadContract, label: str) -> Callable[["torch.Tensor"], "torch.Tensor"]:
    """(B, outputs) -> (B,): the logit of the class; of a sigmoid, minus its logit for the first class."""
    if head.link == "identity":
        return lambda outputs: outputs[:, 0]
    index = head.display_labels.index(label)
    if head.link in TWO_CLASS_LINKS:
        return lambda outputs: outputs[:, 0] if index == 1 else -outputs[:, 0]
    return lambda outputs: outputs[:, index]
