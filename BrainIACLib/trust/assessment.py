"""What is known of one answer beyond itself: prediction set or interval, novelty, and doubts in plain words."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from BrainIACLib.contracts import HeadContract
from BrainIACLib.sequences import OTHER, STANDARD_NAMES, any_of
from BrainIACLib.trust.novelty import MEANING, Novelty

SURE = 0.9  # of the sequence model, where its contract names no gate


def prediction_set(head: HeadContract, label: str, probabilities: Mapping[str, float]) -> dict | None:
    """The classes that cannot be excluded at the contract's coverage; None if the head has no conformal quantile.

    The answer itself is always in it, so that a set is never empty.
    """
    if head.conformal is None or not probabilities:
        return None
    classes = [name for name, p in probabilities.items() if name == label or 1 - p <= head.conformal]
    return {"coverage": head.conformal_coverage, "classes": classes, "meaning": _coverage_in_words(head)}


def prediction_interval(head: HeadContract, value: float | None) -> dict | None:
    """The values that cannot be excluded, in the unit shown; None if the head has no conformal quantile."""
    if head.conformal is None or value is None:
        return None
    low, high = value - head.conformal, value + head.conformal
    return {
        "coverage": head.conformal_coverage,
        "low": low,
        "high": high,
        "unit": head.display_unit or head.unit,
        "meaning": _coverage_in_words(head),
    }


def _coverage_in_words(head: HeadContract) -> str:
    """What was asked for and on what it was measured: no more is known of other cases."""
    cases = f"held-out cases of the training's kind ({', '.join(head.training_sets) or 'its sets are not named'})"
    measured = (
        f"; not measured on {cases}"
        if head.conformal_measured is None
        else (f"; it did in {head.conformal_measured:.0%} of {cases}")
    )
    return f"is meant to hold the truth in {head.conformal_coverage:.0%} of cases like those of the training{measured}"


def set_doubt(found: dict | None) -> list[str]:
    """A warning where several classes remain."""
    if found is None or len(found["classes"]) < 2:
        return []
    names = ", ".join(found["classes"])
    return [f"Not decided: at {found['coverage']:.0%} coverage these cannot be told apart for this scan: {names}."]


def novelty_found(novelty: Novelty, embedding: np.ndarray) -> dict:
    """The score of one embedding (size,), its limit, and what it means."""
    score = float(novelty.scores(embedding[None])[0])
    return {"score": score, "warn_above": novelty.warn_above, "meaning": MEANING}


def novelty_doubt(found: dict) -> list[str]:
    """A warning beyond the limit."""
    if found["score"] <= found["warn_above"]:
        return []
    return [
        f"Unlike the training scans: the distance score is {found['score']:.2f}, above the limit of "
        f"{found['warn_above']:.2f}, and 95 % of the training cases lie below 1. Do not rely on the answer."
    ]


def age_doubt(head: HeadContract, age_years: float | None) -> list[str]:
    """A warning where the person is younger or older than all that the head was trained on."""
    if age_years is None or head.training_age_range is None:
        return []
    low, high = head.training_age_range
    if low <= age_years <= high:
        return []
    return [
        f"The person is {age_years:g} years old and the model was trained on ages {low:g} to {high:g}: do not rely on "
        "the answer."
    ]


def sequence_doubt(slot: str, sequence: str, confidence: float, gate: float | None) -> list[str]:
    """A warning where the sequence model is sure that the scan in ``slot`` is another one, or no brain MRI it knows."""
    if confidence < (SURE if gate is None else gate):
        return []
    if sequence == OTHER:
        return [
            f"The scan in the place of '{slot}' does not look like a {any_of()} scan of a brain: do not rely on the "
            "answer."
        ]
    if slot in STANDARD_NAMES and sequence != slot:
        return [
            f"The scan in the place of {slot} looks like {sequence} (probability {confidence:.2f}): check that it is "
            "the right one."
        ]
    return []
