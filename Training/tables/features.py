"""Tables of what the largest models do: clusters, saliency, stability, agreement, calibration, survival."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import pandas as pd

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.agreement import agreement
from BrainIACLib.statistics.bootstrap import bootstrap
from BrainIACLib.statistics.calibration import brier_score, calibration_error
from BrainIACLib.statistics.survival import auc_at
from Training.evaluation.evaluation import Evaluation, constant_answers
from Training.evaluation.feature_clusters import feature_clusters
from Training.evaluation.risk_groups import risk_groups
from Training.runs.cell import HELD_OUT, INITIALISATIONS, percent
from Training.runs.layout import UNPERTURBED_LEVEL
from Training.runs.reading import Run
from Training.tables.table import NOTHING, Table, interval_text, no_width_note, p_text
from Training.tasks import AGE, SURVIVAL, TASKS

_ONE_SEED = "Of the first seed."
_MEDIAN = f"MAE of {AGE.without_image} (years)"


def cluster_table(evaluation: Evaluation) -> Table | None:
    """Davies-Bouldin indices of the largest models (T-03, T-05, T-06); lower is better separated."""
    rows = []
    for task, split, name, run in _largest(evaluation, _with_groups()):
        row = {"task": task, "split": split, "initialisation": name, "fraction": percent(run.cell.fraction)}
        try:
            found = feature_clusters(run, split)
        except StatisticsError as error:
            rows.append(row | {"k-means labels": NOTHING, "true labels": NOTHING, "cases": "0", "why not": str(error)})
            continue
        indices = {"k-means labels": f"{found.index_k_means:.3f}", "true labels": f"{found.index_labels:.3f}"}
        rows.append(row | indices | {"cases": str(len(found.labels)), "why not": ""})
    note = f"{_ONE_SEED} On the embeddings, k-means with K = 4; true labels are the sequences, or bins of ten years."
    return _table("davies_bouldin", "Davies-Bouldin index of the features", rows, note, evaluation, _with_groups())


def com_distance_table(evaluation: Evaluation) -> Table | None:
    """Mean distance of saliency and tumor (T-09, T-10), with its interval over patients."""
    rows, intervals = [], []
    for task, _, name, run in _largest(evaluation, tuple(TASKS), ("test",)):
        if run.centre_of_mass is None:
            continue
        for (sequence, threshold), found in run.centre_of_mass.groupby(["sequence", "threshold"]):
            interval = bootstrap(_mean, found["distance_mm"], groups=found["patient"])
            intervals.append((interval.low, interval.high))
            rows.append(
                {
                    "task": task,
                    "sequence": sequence,
                    "initialisation": name,
                    "mean distance in mm (95 % CI)": interval_text(interval.value, interval.low, interval.high, 1, 2),
                    "median": f"{found['distance_mm'].median():.2f}",
                    "patients": str(found["patient"].nunique()),
                    "saliency threshold": f"{threshold:g}",
                }
            )
    note = f"{_ONE_SEED} The paper states neither unit, threshold nor averaging. {no_width_note(intervals)}".strip()
    return _table("com_distance", "Distance of saliency from the tumor", rows, note, evaluation, tuple(TASKS))


def stability_table(evaluation: Evaluation) -> Table | None:
    """Each perturbation's strongest levels against no perturbation (P-42, T-19).

    The ends of the sweep, which every line has: the worst of many levels would be worse by chance than the worst of
    the few at which some lines are measured.
    """
    rows = []
    for task in TASKS:
        for name in INITIALISATIONS:
            table = evaluation.stability(task, name)
            if table is None:
                continue
            for (split, perturbation, metric), levels in table.groupby(["split", "perturbation", "metric"]):
                none = levels.loc[(levels["level"] - UNPERTURBED_LEVEL[perturbation]).abs().idxmin()]
                ends = levels[levels["level"].isin((levels["level"].min(), levels["level"].max()))]
                for _, end in ends[ends["level"] != none["level"]].sort_values("level").iterrows():
                    rows.append(
                        {
                            "task": task,
                            "split": split,
                            "initialisation": name,
                            "perturbation": perturbation,
                            "metric": metric,
                            "nearest to unperturbed": f"{none['value']:.3f} at {none['level']:g}",
                            "strongest level": f"{end['value']:.3f} at {end['level']:g}",
                            "change": f"{end['value'] - none['value']:+.3f}",
                        }
                    )
    return _table(
        "stability",
        "Stability of the largest models",
        rows,
        "Means over the seeds, at the ends of each sweep. All levels: the figures. No test compares the changes.",
        evaluation,
        tuple(TASKS),
    )


def agreement_table(evaluation: Evaluation) -> Table | None:
    """Predicted against true age of the largest models (P-31)."""
    rows = []
    for _, split, name, run in _largest(evaluation, (AGE.name,)):
        cases = run.rows(split)
        row = {"split": split, "initialisation": name, "fraction": percent(run.cell.fraction)}
        try:
            found = agreement(cases["truth"], cases["score"])
        except StatisticsError as error:
            rows.append(
                row
                | dict.fromkeys(("r", "slope", "bias (years)", "MAE (years)", _MEDIAN), NOTHING)
                | {"why not": str(error)}
            )
            continue
        numbers = {
            "r": NOTHING if found.r is None else f"{found.r:.3f}",
            "slope": f"{found.slope:.3f}",
            "bias (years)": f"{found.bias:+.2f}",
            "MAE (years)": f"{found.mae:.2f}",
            _MEDIAN: _error_of_the_median(run, cases),
        }
        rows.append(row | numbers | {"why not": ""})
    note = (
        f"{_ONE_SEED} A model that has learned something beats the median age of the training and validation cases, "
        "said of every case. The line Constant says their mean."
    )
    return _table("age_agreement", "Predicted against true age", rows, note, evaluation, (AGE.name,))


def _error_of_the_median(run: Run, cases: pd.DataFrame) -> str:
    """MAE in years of answering each case with the median age of the (fold's) training and validation cases."""
    answers = constant_answers(run, cases)
    return NOTHING if answers is None else f"{np.abs(cases['truth'].to_numpy() - answers).mean():.2f}"


def calibration_table(evaluation: Evaluation) -> Table | None:
    """Calibration of the largest classifiers: an extra, the paper gives none."""
    rows = []
    for task, split, name, run in _largest(evaluation, _with_probabilities()):
        cases = run.rows(split).dropna(subset=["truth"])
        if cases.empty:
            continue
        labels, probabilities = TASKS[task].outcome(cases)
        row = {"task": task, "split": split, "initialisation": name, "cases": str(len(cases))}
        try:
            error, brier = calibration_error(labels, probabilities), brier_score(labels, probabilities)
        except StatisticsError as reason:  # a risk that is no probability
            rows.append(row | {"calibration error": NOTHING, "Brier score": NOTHING, "why not": str(reason)})
            continue
        rows.append(row | {"calibration error": f"{error:.3f}", "Brier score": f"{brier:.3f}", "why not": ""})
    note = f"{_ONE_SEED} Ten bins; for the sequence, of the most probable class and whether it is right."
    return _table("calibration", "Calibration", rows, note, evaluation, _with_probabilities())


def survival_table(evaluation: Evaluation) -> Table | None:
    """Log-rank tests on the median split for each cell and set (T-15, T-16), and the censoring-weighted AUC (P-38)."""
    rows = []
    for run in evaluation.of(SURVIVAL.name):
        for split in HELD_OUT:
            cases = run.rows(split)
            if cases.empty:
                continue
            row = {
                "split": split,
                "initialisation": run.cell.initialisation,
                "fraction": percent(run.cell.fraction),
                "seed": str(run.cell.seed),
            }
            try:
                weighted = f"{auc_at(cases['time'], cases['event'], cases['score'], _horizon(run)):.2f}"
            except StatisticsError:
                weighted = NOTHING
            row["AUC weighted for censoring"] = weighted
            try:
                found = risk_groups(run, split)
            except StatisticsError as error:
                rows.append(
                    row
                    | dict.fromkeys(("high/low risk", "median", "chi-square", "p"), NOTHING)
                    | {"why not": str(error)}
                )
                continue
            medians = (NOTHING if m is None else f"{m:.1f}" for m in (found.curve_high.median, found.curve_low.median))
            rows.append(
                row
                | {
                    "high/low risk": f"{int(found.high.sum())}/{int((~found.high).sum())}",
                    "median": "/".join(medians),
                    "chi-square": f"{found.test.statistic:.2f}",
                    "p": p_text(found.test.p),
                    "why not": "",
                }
            )
    note = "Groups split at the median risk of the training cases; median survival in months, high/low risk."
    return _table("survival_log_rank", "Survival of high and low risk", rows, note, evaluation, (SURVIVAL.name,))


def _with_groups() -> tuple[str, ...]:
    return tuple(name for name, task in TASKS.items() if task.grouped_by)


def _with_probabilities() -> tuple[str, ...]:
    return tuple(name for name, task in TASKS.items() if task.probabilistic)


def _horizon(run: Run) -> float:
    return float(run.config.get("horizon_months", 12))


def _mean(values: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    return float(np.mean(values)) if weights is None else weights @ values / weights.sum(axis=1)


def _largest(
    evaluation: Evaluation, tasks: tuple[str, ...], splits: tuple[str, ...] = HELD_OUT
) -> Iterator[tuple[str, str, str, Run]]:
    for task in tasks:
        for split in splits:
            for name in INITIALISATIONS:
                run = evaluation.largest(task, name)
                if run is not None and len(run.rows(split)):
                    yield task, split, name, run


def _table(
    name: str, title: str, rows: list[dict], note: str, evaluation: Evaluation, tasks: tuple[str, ...]
) -> Table | None:
    if not rows:
        return None
    cells = pd.DataFrame(rows).fillna("")
    if "why not" in cells and (cells["why not"] == "").all():
        cells = cells.drop(columns="why not")
    if "task" in cells:
        cells["task"] = cells["task"].map(lambda name: TASKS[name].title)
    return Table(name, title, cells, note, any(evaluation.simulated(task) for task in tasks))
