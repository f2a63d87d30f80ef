"""What a trained head is worth: the facts of its report, all from cases that the answering head had not seen."""

from __future__ import annotations

from typing import Any

import numpy as np

from BrainIACLib.errors import StatisticsError
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.cross_validation import CrossValidated
from BrainIACLib.head_training.embedding_map import embedding_map
from BrainIACLib.head_training.logistic import balanced_weights, probabilities
from BrainIACLib.head_training.performance import confusion, decisions, difficulty
from BrainIACLib.head_training.report import (
    Answered,
    Coverage,
    EmbeddingMap,
    Figure,
    HardCase,
    Labels,
    Repeatability,
    RiskCalibration,
    RiskGroup,
    RiskGroups,
    TemperatureCalibration,
)
from BrainIACLib.head_training.risk_calibration import RiskCalibration as FittedRisk
from BrainIACLib.head_training.risk_calibration import reliability, unseen_probabilities
from BrainIACLib.head_training.targets import Target
from BrainIACLib.job import Job
from BrainIACLib.statistics.calibration import calibration_error
from BrainIACLib.statistics.conformal import prediction_sets
from BrainIACLib.statistics.repeatability import intraclass_correlation
from BrainIACLib.statistics.survival import log_rank
from BrainIACLib.trust.conformal import Conformal
from BrainIACLib.trust.temperature import unseen_temperatures

HARDEST = 10
FEW_PATIENTS = 20


def few_patients(cases: Cases) -> list[str]:
    """A note where nearly nothing can be told."""
    patients = len(set(cases.groups))
    if patients >= FEW_PATIENTS:
        return []
    return [f"{patients} patients are very few: every figure here may change with the next few."]


def labels_of(target: Target) -> Labels:
    """What there is to learn from."""
    if target.kind == "classification":
        return Labels(tuple(np.bincount(target.values, minlength=len(target.classes)).tolist()))
    lowest, highest, median = float(target.values.min()), float(target.values.max()), float(np.median(target.values))
    return Labels((), lowest, highest, median, None if target.events is None else int(target.events.sum()))


def map_of(cases: Cases, job: Job) -> EmbeddingMap:
    """For a picture."""
    method, places = embedding_map(cases.embeddings, job)
    return EmbeddingMap(method, tuple((float(x), float(y)) for x, y in np.round(places, 4)))


def answers_of(cases: Cases, done: CrossValidated, temperature: float | None) -> tuple[Answered, ...]:
    """One a case; probabilities are calibrated."""
    target = cases.target
    shares = probabilities(done.outputs / temperature) if temperature is not None else None
    said = decisions(done.outputs)
    rows = []
    for i, name in enumerate(cases.names):
        where = (name, cases.scans[i], int(done.fold[i]))
        if shares is not None:
            of_classes = dict(zip(target.classes, shares[i].tolist(), strict=True))
            rows.append(Answered(*where, target.classes[target.values[i]], target.classes[said[i]], of_classes))
        else:
            event = None if target.events is None else bool(target.events[i])
            rows.append(Answered(*where, float(target.values[i]), float(done.outputs[i, 0]), event=event))
    return tuple(rows)


def hardest_of(cases: Cases, done: CrossValidated) -> tuple[HardCase, ...]:
    """Worst first."""
    hard = difficulty(cases, done.outputs)
    order = np.argsort(-hard, kind="stable")[:HARDEST]
    return tuple(HardCase(cases.names[i], cases.scans[i], float(hard[i])) for i in order)


def coverage_of(
    cases: Cases, done: CrossValidated, temperature: float | None, conformal: Conformal | None, asked: float
) -> Coverage | None:
    """None for survival: censored times have no score."""
    if cases.target.kind == "survival":
        return None
    if conformal is None:
        return Coverage(asked)
    size = None
    if temperature is not None:
        sets = prediction_sets(probabilities(done.outputs / temperature), conformal.quantile)
        size = float(sets.sum(axis=1).mean())
    return Coverage(conformal.coverage, conformal.measured, conformal.quantile, size)


def facts_of_kind(
    cases: Cases,
    done: CrossValidated,
    temperature: float | None,
    risk: FittedRisk | None,
    threshold: float | None,
    balanced: bool,
) -> dict[str, Any]:
    """The fields of the report that only classes, or only survival, have."""
    target = cases.target
    if temperature is not None:
        return {
            "confusion": confusion(cases, done.outputs),
            "calibration": _calibration(target, done, temperature, balanced),
        }
    if risk is None or threshold is None or done.high is None:
        return {}
    return {
        "risk_calibration": _risk_calibration(target, done, risk),
        "median_split": median_split_test(target, done.high, threshold),
    }


def _calibration(target: Target, done: CrossValidated, temperature: float, balanced: bool) -> TemperatureCalibration:
    """``error_after`` is with temperatures of the other folds, not with the one that was fitted on these very cases."""
    weights = balanced_weights(target.values, len(target.classes)) if balanced else None
    errors = []
    for divisor in (1.0, unseen_temperatures(done.outputs, target.values, done.fold, weights)):
        shares = probabilities(done.outputs / divisor)
        errors.append(calibration_error(shares.argmax(axis=1) == target.values, shares.max(axis=1)))
    return TemperatureCalibration(temperature, *errors)


def _risk_calibration(target: Target, done: CrossValidated, risk: FittedRisk) -> RiskCalibration:
    """Errors are of probabilities that were calibrated on the other folds; before: with their baseline alone."""
    curves = []
    for slope in (1.0, None):
        scores = done.outputs[:, 0]
        unseen = unseen_probabilities(scores, target.values, target.happened, done.fold, risk.end, slope)
        curves.append(reliability(target.values, target.happened, unseen, risk.end))
    before, after = curves
    # the mean distance of binomial shares from their probability, were every probability right and nobody censored
    by_chance = np.sqrt(2 / np.pi * after.predicted * (1 - after.predicted) / after.count)
    groups = zip(after.predicted, after.observed, after.count, strict=True)
    return RiskCalibration(
        slope=risk.slope,
        baseline=risk.baseline,
        error_before=before.error,
        error_after=after.error,
        error_by_chance=float(after.count @ by_chance / after.count.sum()),
        groups=tuple(RiskGroup(float(said), float(seen), int(count)) for said, seen, count in groups),
    )


def median_split_test(target: Target, high: np.ndarray, threshold: float) -> RiskGroups:
    """The log-rank test between the cases of high risk and the others; ``threshold`` is that of the installed head."""
    p = None if high.all() or not high.any() else float(log_rank(target.values, target.happened, high).p)
    return RiskGroups(int(high.sum()), int((~high).sum()), p, threshold)


def repeatability_of(cases: Cases, done: CrossValidated) -> Repeatability | None:
    """Agreement of the answers about people with several cases; None without two such people, or of several classes."""
    if done.outputs.shape[1] > 1:
        return None
    counts = np.bincount(cases.groups)
    repeated = counts[cases.groups] > 1
    try:
        found = intraclass_correlation(done.outputs[:, 0], cases.groups)
    except StatisticsError:
        return None
    return Repeatability(int((counts > 1).sum()), int(repeated.sum()), Figure(found.value, found.low, found.high))
