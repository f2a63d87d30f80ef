"""How the cross-validated figure grows with the number of patients."""

from __future__ import annotations

from typing import Any

import numpy as np

from BrainIACLib.errors import StatisticsError
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.cross_validation import CrossValidated, fit_on, held_out_outputs
from BrainIACLib.head_training.performance import gain_over, main_figure, negligible_gain
from BrainIACLib.head_training.report import Figure, LearningCurve
from BrainIACLib.job import UNATTENDED, Job

SHARES = (0.3, 0.5, 0.7)
FEWEST = 10  # patients to fit on
DRAWS = 3  # of the largest share: one draw decides nothing


def learning_curve(
    cases: Cases,
    done: CrossValidated,
    head: str,
    seed: int,
    balanced: bool,
    job: Job = UNATTENDED,
) -> LearningCurve:
    """With the penalty of each fold kept; the gain is from the largest share that could be fitted to everybody.

    That share is drawn ``DRAWS`` times, since which patients are drawn matters: the gain is the mean over the draws,
    and its interval holds those of all of them.
    """
    _, metric, columns = main_figure(cases.target)
    rng = np.random.default_rng(seed)
    points, draws, share_used = [], [], None

    def of_share(share: float) -> tuple[np.ndarray, int]:
        outputs, fitted_on = np.zeros_like(done.outputs), []
        for place, number in enumerate(np.unique(done.fold)):
            rows = _some_patients(cases, np.flatnonzero(done.fold != number), share, rng)
            fitted = fit_on(cases, rows, head, rng, balanced, penalty=done.penalties[place], job=job)
            outputs[done.fold == number] = held_out_outputs(fitted, cases, rows, done.fold == number)
            fitted_on.append(len(set(cases.groups[rows])))
        if min(fitted_on) < FEWEST:
            raise StatisticsError("too few patients to fit on")
        return outputs, int(np.mean(fitted_on))

    for share in SHARES:
        try:
            found = [of_share(share) for _ in range(DRAWS if share == SHARES[-1] else 1)]
            figures = [float(metric(*columns(cases.target, outputs))) for outputs, _ in found]
        except (StatisticsError, ValueError):  # a class or all events are missing from so few cases
            continue
        points.append((found[0][1], float(np.mean(figures))))
        draws, share_used = [outputs for outputs, _ in found], share
    everybody = int(np.mean([len(set(cases.groups[done.fold != number])) for number in np.unique(done.fold)]))
    points.append((everybody, float(metric(*columns(cases.target, done.outputs)))))
    if len(draws) < DRAWS:
        return LearningCurve(tuple(points))
    gains = [gain_over(cases, done.outputs, fewer, seed) for fewer in draws]
    limits = [(one.low, one.high) for one in gains if one.low is not None and one.high is not None]
    low, high = (min(one for one, _ in limits), max(one for _, one in limits)) if len(limits) == DRAWS else (None, None)
    gain = Figure(float(np.mean([one.value for one in gains])), low, high)
    return LearningCurve(tuple(points), share_used, gain, negligible_gain(cases, done.outputs))


def _some_patients(cases: Cases, rows: np.ndarray, share: float, rng: np.random.Generator) -> np.ndarray:
    """Rows of a share of the patients, of each class (and of those with and without an event) alike."""
    target = cases.target
    kinds = target.values if target.kind == "classification" else target.events
    kinds = np.zeros(len(cases)) if kinds is None else kinds
    patients = {cases.groups[row]: kinds[row] for row in rows}
    chosen: list[Any] = []
    for kind in sorted(set(patients.values())):
        of_kind = sorted(patient for patient, its in patients.items() if its == kind)
        chosen += list(rng.permutation(of_kind)[: max(1, round(share * len(of_kind)))])
    return rows[np.isin(cases.groups[rows], chosen)]
