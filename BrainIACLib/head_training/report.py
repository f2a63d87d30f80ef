"""The run as a plain dictionary: figures, calibration, out-of-fold answers, hardest cases, map."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

import BrainIACLib
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.cross_validation import CrossValidated
from BrainIACLib.head_training.embedding_map import embedding_map
from BrainIACLib.head_training.logistic import balanced_weights, probabilities
from BrainIACLib.head_training.performance import confusion, decisions, difficulty, main_figure, performance
from BrainIACLib.head_training.targets import Target
from BrainIACLib.statistics.calibration import calibration_error
from BrainIACLib.statistics.conformal import prediction_sets
from BrainIACLib.statistics.survival import log_rank
from BrainIACLib.trust.conformal import Conformal
from BrainIACLib.trust.temperature import unseen_temperatures

HARDEST = 10
FEW_PATIENTS = 20


def make_report(
    cases: Cases,
    done: CrossValidated,
    temperature: float | None,
    conformal: Conformal | None,
    coverage: float,
    balanced: bool,
    chance_p: float,
    shuffles: int,
    curve: dict,
    seed: int,
    cancelled: Callable[[], bool] | None,
) -> dict:
    """Everything that a person needs to judge a head. All numbers are of cases that the answering head had not seen."""
    target = cases.target
    patients = len(set(cases.groups))
    notes = list(cases.notes)
    if patients < FEW_PATIENTS:
        notes.append(f"{patients} patients are very few: every figure here may change with the next few.")
    method, places = embedding_map(cases.embeddings, cancelled)
    hard = difficulty(cases, done.outputs)
    order = np.argsort(-hard, kind="stable")[:HARDEST]
    report = {
        "library": BrainIACLib.__version__,
        "kind": target.kind,
        "target": target.name,
        "classes": list(target.classes),
        "unit": target.unit,
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
        "out_of_fold": _answers(cases, done, temperature),
        "hardest": [{"case": cases.names[i], "difficulty": float(hard[i])} for i in order],
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
        high = done.outputs[:, 0] > np.median(done.outputs[:, 0])
        report["median_split_log_rank_p"] = float(log_rank(target.values, target.events, high).p)
    return report


def _chance_in_words(p: float) -> str:
    if p < 0.05:
        return f"The embedding says something of the labels: shuffled labels do as well with p = {p:.3g}."
    return f"Shuffled labels do as well with p = {p:.2f}: there is no evidence that this head is better than chance."


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


def _calibration(target: Target, done: CrossValidated, temperature: float, balanced: bool) -> dict:
    """``error_after`` is with temperatures of the other folds, not with the one that was fitted on these very cases."""
    weights = balanced_weights(target.values, len(target.classes)) if balanced else None
    errors = []
    for divisor in (1.0, unseen_temperatures(done.outputs, target.values, done.fold, weights)):
        shares = probabilities(done.outputs / divisor)
        errors.append(calibration_error(shares.argmax(axis=1) == target.values, shares.max(axis=1)))
    return {"temperature": temperature, "error_before": errors[0], "error_after": errors[1]}


def _conformal(cases: Cases, done: CrossValidated, temperature, conformal: Conformal | None, coverage: float) -> dict:
    if cases.target.kind == "survival":
        return {"coverage": None, "meaning": "None: censored times have no conformal score here."}
    if conformal is None:
        return {"coverage": None, "meaning": f"None: too few cases for a coverage of {coverage:.0%}."}
    facts = {"coverage": conformal.coverage, "measured": conformal.measured, "quantile": conformal.quantile}
    if cases.target.kind == "regression":
        return {**facts, "meaning": f"the answer plus or minus {conformal.quantile:.3g} {cases.target.unit}"}
    sets = prediction_sets(probabilities(done.outputs / temperature), conformal.quantile)
    return {**facts, "mean_set_size": float(sets.sum(axis=1).mean()), "meaning": "classes that cannot be excluded"}
