"""What is known of one answer beyond itself: prediction set or interval, novelty, and doubts in plain words."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np

from BrainIACLib.contracts import HeadContract
from BrainIACLib.sequences import STANDARD_NAMES, unlike_the_four
from BrainIACLib.trust.findings import Distance, Doubt, Measured, PredictionInterval, PredictionSet, Severity
from BrainIACLib.trust.novelty import Novelty
from BrainIACLib.trust.words import probability

SURE = 0.9  # of the sequence model, where its contract names no gate


def prediction_set(head: HeadContract, label: str, probabilities: Mapping[str, float]) -> PredictionSet | None:
    """The classes that cannot be excluded at the contract's coverage; None if the head has no conformal quantile.

    The answer itself is always in it, so that a set is never empty.
    """
    if head.conformal is None or not probabilities:
        return None
    classes = [name for name, p in probabilities.items() if name == label or 1 - p <= head.conformal]
    return PredictionSet(tuple(classes), _measured(head))


def prediction_interval(head: HeadContract, value: float | None) -> PredictionInterval | None:
    """The values that cannot be excluded, in the unit shown; None if the head has no conformal quantile.

    What no case can have, such as an age below 0, is cut off: that costs no coverage.
    """
    if head.conformal is None or value is None:
        return None
    unit = head.display_unit or head.unit or ""
    low, high = head.plausible_range or (-math.inf, math.inf)
    return PredictionInterval(
        max(value - head.conformal, low), min(value + head.conformal, high), unit, _measured(head)
    )


def _measured(head: HeadContract) -> Measured:
    assert head.conformal_coverage is not None  # a contract with a quantile has it
    return Measured(head.conformal_coverage, head.conformal_measured, head.training_sets)


def set_doubt(found: PredictionSet | None) -> list[Doubt]:
    """A warning where several classes remain."""
    if found is None or len(found.classes) < 2:
        return []
    names = ", ".join(found.classes)
    text = f"Not decided: at {found.coverage.asked:.0%} coverage these cannot be told apart for this scan: {names}."
    return [Doubt(text)]


def novelty_found(novelty: Novelty, embedding: np.ndarray) -> Distance:
    """The distance of one embedding (size,) from the training cases."""
    return Distance(float(novelty.scores(embedding[None])[0]), novelty.warn_above)


def novelty_doubt(found: Distance) -> list[Doubt]:
    """A warning beyond the limit."""
    if found.score <= found.warn_above:
        return []
    text = (
        f"Unlike the training scans: the distance score is {found.score:.2f}, above the limit of "
        f"{found.warn_above:.2f}, and 95% of the training cases lie below 1. Do not rely on the answer."
    )
    return [Doubt(text, Severity.grave)]


def standing_doubt(head: HeadContract) -> list[Doubt]:
    """What its makers doubt in every answer of the head."""
    found = head.standing_doubt
    return [] if found is None else [Doubt(found.text, Severity(found.severity))]


def age_doubt(head: HeadContract, age_years: float | None) -> list[Doubt]:
    """A warning where the person is younger or older than all that the head was trained on."""
    if age_years is None or head.training_age_range is None:
        return []
    low, high = head.training_age_range
    if low <= age_years <= high:
        return []
    text = (
        f"The person is {age_years:g} years old and the model was trained on ages {low:g} to {high:g}: do not rely on "
        "the answer."
    )
    return [Doubt(text, Severity.grave)]


def sequence_doubt(slot: str, sequence: str, confidence: float, gate: float | None) -> list[Doubt]:
    """A warning where the sequence model is sure that the scan in ``slot`` is another one, or no brain MRI it knows."""
    if confidence < (SURE if gate is None else gate):
        return []
    if unlike := unlike_the_four(sequence):
        text = f"The scan in the place of '{slot}' {unlike}: do not rely on the answer."
        return [Doubt(text, Severity.grave)]
    if slot in STANDARD_NAMES and sequence != slot:
        text = (
            f"The scan in the place of {slot} looks like {sequence} (probability {probability(confidence)}): check "
            "that it is the right one."
        )
        return [Doubt(text)]
    return []
