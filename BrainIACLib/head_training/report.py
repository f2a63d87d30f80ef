"""The run as a plain dictionary: figures, calibration, out-of-fold answers, hardest cases, map."""

from __future__ import annotations

import numpy as np

import BrainIACLib
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.cross_validation import CrossValidated
from BrainIACLib.head_training.embedding_map import embedding_map
from BrainIACLib.head_training.logistic import balanced_weights, probabilities
from BrainIACLib.head_training.performance import confusion, decisions, difficulty, main_figure, performance
from BrainIACLib.head_training.permutation import LEAST_DISTINCT, SIGNIFICANT
from BrainIACLib.head_training.risk_calibration import RiskCalibration, reliability, unseen_probabilities
from BrainIACLib.head_training.targets import Target
from BrainIACLib.job import Job
from BrainIACLib.predictor import RESEARCH_USE_ONLY
from BrainIACLib.statistics.calibration import calibration_error
from BrainIACLib.statistics.conformal import prediction_sets
from BrainIACLib.statistics.survival import log_rank
from BrainIACLib.trust.conformal import Conformal
from BrainIACLib.trust.temperature import unseen_temperatures

HARDEST = 10
UNTESTED = (
    f"too few patients have equally many cases, and their labels can be shuffled in fewer than {LEAST_DISTINCT} ways"
)
FEW_PATIENTS = 20


def make_report(
    cases: Cases,
    done: CrossValidated,
    temperature: float | None,
    conformal: Conformal | None,
    risk: RiskCalibration | None,
    coverage: float,
    balanced: bool,
    chance_p: float | None,
    shuffles: int,
    curve: dict,
    seed: int,
    job: Job,
) -> dict:
    """Everything that a person needs to judge a head. All numbers are of cases that the answering head had not seen."""
    target = cases.target
    patients = len(set(cases.groups))
    notes = list(cases.notes)
    if patients < FEW_PATIENTS:
        notes.append(f"{patients} patients are very few: every figure here may change with the next few.")
    method, places = embedding_map(cases.embeddings, job)
    answers = _answers(cases, done, temperature)
    hard = difficulty(cases, done.outputs)
    order = np.argsort(-hard, kind="stable")[:HARDEST]
    report = {
        "notice": RESEARCH_USE_ONLY,
        "library": BrainIACLib.__version__,
        "kind": target.kind,
        "target": target.name,
        "classes": list(target.classes),
        "unit": target.unit,
        "labels_in_words": _labels_in_words(target),
        "cases": len(cases),
        "patients": patients,
        "scans": sum(map(len, cases.scans)),
        "slots": list(cases.slots),
        "folds": len(set(done.fold)),
        "penalties_of_folds": list(done.penalties),
        "seed": seed,
        "notes": notes,
        "main_figure": main_figure(target)[0],
        "metrics": performance(cases, done.outputs, done.fold, seed),
        "permutation": {"p": chance_p, "shuffles": shuffles, "meaning": _chance_in_words(chance_p)},
        "learning_curve": curve,
        "out_of_fold": answers,
        "hardest": [
            {
                "case": cases.names[i],
                "scans": list(cases.scans[i]),
                "difficulty": float(hard[i]),
                "in_words": _answer_in_words(answers[i], target),
            }
            for i in order
        ],
        "map": {"method": method, "coordinates": np.round(places, 4).tolist()},
        "conformal": _conformal(cases, done, temperature, conformal, coverage),
    }
    if target.kind == "classification":
        report["class_sizes"] = np.bincount(target.values, minlength=len(target.classes)).tolist()
        report["confusion"] = confusion(cases, done.outputs)
        report["calibration"] = _calibration(target, done, temperature, balanced)
    elif target.kind == "regression":
        report["scatter"] = {"truth": target.values.tolist(), "answer": done.outputs[:, 0].tolist()}
    else:
        report["median_split"] = median_split_test(target, done.outputs[:, 0])
        report["calibration"] = _risk_calibration(target, done, risk)
    return report


def _chance_in_words(p: float | None) -> str:
    if p is None:
        return f"It cannot be tested whether this head is better than chance: {UNTESTED}."
    if p < SIGNIFICANT:
        return f"The embedding says something of the labels: shuffled labels do as well with p = {p:.3g}."
    return f"Shuffled labels do as well with p = {p:.2f}: there is no evidence that this head is better than chance."


def doubt_of_worth(p: float | None) -> str | None:
    """What every answer of the head must say after "Unverified:", or None where the labels beat the shuffled ones."""
    if p is None:
        return f"that it is better than chance: no test was possible, as {UNTESTED}"
    if p < SIGNIFICANT:
        return None
    return f"that it is better than chance: in its own cross-validation shuffled labels did as well (p = {p:.2f})"


def _answers(cases: Cases, done: CrossValidated, temperature: float | None) -> list[dict]:
    target, rows = cases.target, []
    shares = probabilities(done.outputs / temperature) if target.kind == "classification" else None
    said = decisions(done.outputs)
    for i, name in enumerate(cases.names):
        row = {"case": name, "scans": list(cases.scans[i]), "fold": int(done.fold[i])}
        if shares is not None:
            row |= {"truth": target.classes[target.values[i]], "answer": target.classes[said[i]]}
            row |= {"probabilities": dict(zip(target.classes, shares[i].tolist(), strict=True))}
        else:
            row |= {"truth": float(target.values[i]), "answer": float(done.outputs[i, 0])}
            if target.events is not None:
                row["event"] = bool(target.events[i])
        rows.append(row)
    return rows


def _answer_in_words(answer: dict, target: Target) -> str:
    if "probabilities" in answer:
        return f"is {answer['truth']}, answered {answer['answer']} ({answer['probabilities'][answer['answer']]:.2f})"
    if "event" in answer:
        fate = "event at" if answer["event"] else "censored at"
        return f"{fate} {answer['truth']:.4g} {target.unit}, log hazard ratio {answer['answer']:+.2f}"
    return f"is {answer['truth']:.4g}, answered {answer['answer']:.4g} {target.unit}"


def _labels_in_words(target: Target) -> str:
    """What there is to learn from: sizes of classes, range of numbers, events."""
    values = target.values
    if target.kind == "classification":
        counts = np.bincount(values, minlength=len(target.classes))
        return "cases: " + ", ".join(f"{name} {count}" for name, count in zip(target.classes, counts, strict=True))
    spread = f"{values.min():.4g} to {values.max():.4g} {target.unit}, median {np.median(values):.4g}"
    if target.kind == "survival":
        return f"{int(target.events.sum())} events in {len(values)} cases; times {spread}"
    return f"values {spread}"


def _calibration(target: Target, done: CrossValidated, temperature: float, balanced: bool) -> dict:
    """``error_after`` is with temperatures of the other folds, not with the one that was fitted on these very cases."""
    weights = balanced_weights(target.values, len(target.classes)) if balanced else None
    errors = []
    for divisor in (1.0, unseen_temperatures(done.outputs, target.values, done.fold, weights)):
        shares = probabilities(done.outputs / divisor)
        errors.append(calibration_error(shares.argmax(axis=1) == target.values, shares.max(axis=1)))
    return {"temperature": temperature, "error_before": errors[0], "error_after": errors[1]}


def _risk_calibration(target: Target, done: CrossValidated, risk: RiskCalibration) -> dict:
    """Errors are of probabilities that were calibrated on the other folds; before: with their baseline alone."""
    curves = []
    for slope in (1.0, None):
        scores = done.outputs[:, 0]
        unseen = unseen_probabilities(scores, target.values, target.events, done.fold, risk.end, slope)
        curves.append(reliability(target.values, target.events, unseen, risk.end))
    before, after = curves
    columns = (after.predicted, after.observed, after.count)
    # the mean distance of binomial shares from their probability, were every probability right and nobody censored
    by_chance = np.sqrt(2 / np.pi * after.predicted * (1 - after.predicted) / after.count)
    chance = float(after.count @ by_chance / after.count.sum())
    groups = f"{len(after.count)} groups by risk" if len(after.count) > 1 else "all cases"
    earlier = "" if risk.slope == 1 else f"; {before.error:.2f} before the spread of the risks was corrected"
    return {
        "slope": risk.slope,
        "baseline": risk.baseline,
        "error_before": before.error,
        "error_after": after.error,
        "error_by_chance": chance,
        "groups": [
            {"predicted": float(predicted), "observed": float(observed), "cases": int(count)}
            for predicted, observed, count in zip(*columns, strict=True)
        ],
        "meaning": f"The probability of an event by {risk.end:g} {target.unit}, held out, differs from Kaplan-Meier by "
        f"{after.error:.2f} on average in {groups} (chance alone: at least {chance:.2f}{earlier}).",
    }


def median_split_test(target: Target, scores: np.ndarray) -> dict:
    """The log-rank test between the cases above the median score and the others.

    ``p`` is None where nobody can be told apart. Where no score lies above the median, those at it are the high ones.
    """
    middle = np.median(scores)
    high = scores > middle if (scores > middle).any() else scores >= middle
    if high.all():
        return {"p": None, "meaning": "All cases have the same risk: no high and low group, and no log-rank test."}
    p = float(log_rank(target.values, target.events, high).p)
    sizes = f"{int(high.sum())} against {int((~high).sum())} cases"
    return {"p": p, "meaning": f"High against low risk, split at the median ({sizes}): log-rank p = {p:.3g}."}


def _counted(cases: Cases) -> str:
    """By what coverage is counted; with several cases a patient, by case is not by patient."""
    patients = len(set(cases.groups))
    if patients == len(cases):
        return "counted by case; every patient has one"
    return (
        f"counted by case, not by patient: {len(cases)} cases of {patients} patients, where a patient with several "
        "cases counts several times"
    )


def _conformal(cases: Cases, done: CrossValidated, temperature, conformal: Conformal | None, coverage: float) -> dict:
    if cases.target.kind == "survival":
        return {"coverage": None, "meaning": "prediction set: none for survival, as censored times have no score"}
    if conformal is None:
        return {
            "coverage": None,
            "meaning": f"prediction set or interval: none, too few cases for a coverage of {coverage:.0%}",
        }
    facts = {"coverage": conformal.coverage, "measured": conformal.measured, "quantile": conformal.quantile}
    facts["counted"] = _counted(cases)
    if cases.target.kind == "regression":
        meaning = f"prediction interval: the answer plus or minus {conformal.quantile:.3g} {cases.target.unit}"
        return {**facts, "meaning": meaning}
    sets = prediction_sets(probabilities(done.outputs / temperature), conformal.quantile)
    size = float(sets.sum(axis=1).mean())
    meaning = f"prediction set: the classes that cannot be excluded, on average {size:.1f} of {sets.shape[1]}"
    return {**facts, "mean_set_size": size, "meaning": meaning}


def coverage_in_words(conformal: dict) -> str:
    """The report's ``conformal`` in one sentence, without its full stop."""
    if conformal["coverage"] is None:
        return conformal["meaning"]
    return (
        f"{conformal['meaning']}; asked to hold the truth in {conformal['coverage']:.0%}, measured "
        f"{conformal['measured']:.0%}, {conformal['counted']}"
    )
