"""How the cross-validated figure grows with the number of patients."""

from __future__ import annotations

import numpy as np

from BrainIACLib.errors import StatisticsError
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.cross_validation import CrossValidated, fit_on, held_out_outputs
from BrainIACLib.head_training.performance import gain_over, main_figure, negligible_gain
from BrainIACLib.head_training.report import LearningCurve
from BrainIACLib.job import UNATTENDED, Job

SHARES = (0.3, 0.5, 0.7)
FEWEST = 10  # patients to fit on


def learning_curve(
    cases: Cases,
    done: CrossValidated,
    head: str,
    seed: int,
    balanced: bool,
    job: Job = UNATTENDED,
) -> LearningCurve:
    """With the penalty of each fold kept; the gain is from the largest share that could be fitted to everybody."""
    _, metric, columns = main_figure(cases.target)
    rng = np.random.default_rng(seed)
    points, fewer, share_used = [], None, None
    for share in SHARES:
        outputs, fitted_on = np.zeros_like(done.outputs), []
        try:
            for place, number in enumerate(np.unique(done.fold)):
                rows = _some_patients(cases, np.flatnonzero(done.fold != number), share, rng)
                fitted = fit_on(cases, rows, head, rng, balanced, penalty=done.penalties[place], job=job)
                outputs[done.fold == number] = held_out_outputs(fitted, cases, rows, done.fold == number)
                fitted_on.append(len(set(cases.groups[rows])))
            if min(fitted_on) < FEWEST:
                continue
            points.append((int(np.mean(fitted_on)), float(metric(*columns(cases.target, outputs)))))
        except (StatisticsError, ValueError):  # a class or all events are missing from so few cases
            continue
        fewer, share_used = outputs, share
    everybody = int(np.mean([len(set(cases.groups[done.fold != number])) for number in np.unique(done.fold)]))
    points.append((everybody, float(metric(*columns(cases.target, done.outputs)))))
    if fewer is None:
        return LearningCurve(tuple(points))
    gain = gain_over(cases, done.outputs, fewer, seed)
    return LearningCurve(tuple(points), share_used, gain, negligible_gain(cases, done.outputs))


def _some_patients(cases: Cases, rows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Rows of a share of the patients, of each class (and of those with and without an event) alike."""
    target = cases.target
    kinds = target.values if target.kind == "classification" else target.events
    kinds = np.zeros(len(cases)) if kinds is None else kinds
    patients = {cases.groups[row]: kinds[row] for row in rows}
    chosen: list = []
    for kind in sorted(set(patients.values())):
        of_kind = sorted(patient for patient, its in patients.items() if its == kind)
        chosen += list(rng.permutation(of_kind)[: max(1, round(share * len(of_kind)))])
    return rows[np.isin(cases.groups[rows], chosen)]
