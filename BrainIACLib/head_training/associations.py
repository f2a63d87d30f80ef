"""The label against every other column of the table: what a head may have learned in its place."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from typing import Any

import numpy as np

from BrainIACLib.errors import StatisticsError
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.cox import martingale_residuals
from BrainIACLib.head_training.labels import is_known
from BrainIACLib.head_training.performance import figure_of
from BrainIACLib.head_training.report import Association, Figure
from BrainIACLib.statistics.association import cramers_v, eta_squared, rank_correlation
from BrainIACLib.statistics.metrics import auc, c_index

# measure -> from where on its interval says that the label can be read off the column (large effects: Cohen 1988)
MEASURES = {"AUC": 0.8, "C-index": 0.75, "Cramér's V": 0.5, "eta squared": 0.25, "rank correlation": 0.5}
OF_NUMBERS: dict[str, tuple[str, Callable[..., Any]]] = {
    "survival": ("C-index", c_index),
    "regression": ("rank correlation", rank_correlation),
    "classification": ("AUC", auc),
}
MOST_NAMES = 10  # a column of numbers with more distinct values is measured, any other is counted
LEAST_CASES = 10
RARE = 3  # cases, below which a name is pooled with the other rare ones
LEAST_MISSING = 3  # empty cells from which on it is asked whether their being empty tells the label


def label_against_columns(cases: Cases, seed: int) -> tuple[Association, ...]:
    """One for each column that varies, strongest first; of a column with gaps also whether the gaps tell the label."""
    found = []
    for name, texts in cases.columns.items():
        known = is_known(texts)
        values = numbers_in(texts[known])
        if values is not None and len(set(values.tolist())) > MOST_NAMES:
            found.append(_of_numbers(cases, name, known, values, seed))
            if LEAST_MISSING <= np.count_nonzero(~known) <= len(texts) - LEAST_MISSING:
                gaps = np.where(known, "given", "empty")
                found.append(_of_names(cases, f"whether {name} is given", gaps, seed))
        else:
            found.append(_of_names(cases, name, np.where(known, texts, "(empty)"), seed))
    there = [association for association in found if association is not None]
    return tuple(sorted(there, key=lambda one: (not one.strong, -_share_of_limit(one))))


def _share_of_limit(one: Association) -> float:
    return one.figure.value / MEASURES[one.measure]


def numbers_in(texts: np.ndarray) -> np.ndarray | None:
    """(n,) numbers, or days of ISO dates; None where a cell is neither."""
    try:
        values = [float(text) for text in texts]
    except ValueError:
        try:
            values = [float(date.fromisoformat(text[:10]).toordinal()) for text in texts]
        except ValueError:
            return None
    return np.array(values) if values and np.isfinite(values).all() else None


def _of_numbers(cases: Cases, name: str, known: np.ndarray, values: np.ndarray, seed: int) -> Association | None:
    target = cases.target
    if known.sum() < LEAST_CASES:
        return None
    truth = target.values[known]
    if target.kind == "classification" and len(target.classes) != 2:
        return _measured(cases, name, "eta squared", eta_squared, (truth, values), known, seed)
    measure, metric = OF_NUMBERS[target.kind]
    columns = (truth,) if target.events is None else (truth, target.events[known].astype(float))
    try:  # the column counts either way round
        turned = metric(*columns, values) < (0 if measure == "rank correlation" else 0.5)
    except StatisticsError:
        return None
    return _measured(cases, name, measure, metric, (*columns, -values if turned else values), known, seed)


def _of_names(cases: Cases, name: str, texts: np.ndarray, seed: int) -> Association | None:
    names, index, counts = np.unique(texts, return_inverse=True, return_counts=True)
    groups = np.where(counts[index] < RARE, "(rare)", texts)
    names, counts = np.unique(groups, return_counts=True)
    if len(names) < 2 or (names[counts == counts.max()] == "(rare)").any():
        return None  # constant, or a name for nearly every case
    target, everybody = cases.target, np.ones(len(cases), bool)
    if target.kind == "classification":
        return _measured(cases, name, "Cramér's V", cramers_v, (target.values, groups), everybody, seed)
    values = target.values if target.kind == "regression" else martingale_residuals(target.values, target.happened)
    return _measured(cases, name, "eta squared", eta_squared, (groups, values), everybody, seed)


def _measured(
    cases: Cases,
    name: str,
    measure: str,
    metric: Callable[..., Any],
    columns: tuple[np.ndarray, ...],
    rows: np.ndarray,
    seed: int,
) -> Association | None:
    try:
        figure = figure_of(metric, columns, cases.groups[rows], seed)
    except StatisticsError:
        return None
    return Association(name, measure, figure, int(rows.sum()), _is_strong(measure, figure))


def _is_strong(measure: str, figure: Figure) -> bool:
    return (figure.value if figure.low is None else figure.low) >= MEASURES[measure]
