"""What the out-of-fold answers are worth: figures with intervals by patient."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from BrainIACLib.errors import StatisticsError
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.logistic import probabilities
from BrainIACLib.head_training.report import Figure
from BrainIACLib.head_training.targets import Target
from BrainIACLib.statistics.bootstrap import bootstrap, bootstrap_difference, paired_permutation_p
from BrainIACLib.statistics.metrics import auc, balanced_accuracy, c_index, mae

RESAMPLES = 1000
NEGLIGIBLE = {"AUC": 0.01, "balanced accuracy": 0.01, "C-index": 0.01}  # of MAE: 2 % of it


def main_figure(target: Target) -> tuple[str, Callable[..., Any], Callable[[Target, np.ndarray], tuple[Any, ...]]]:
    """Name, metric, and the metric's columns from a target and outputs (n, k)."""
    if target.kind == "regression":
        return "MAE", mae, lambda of, outputs: (of.values, outputs[:, 0])
    if target.kind == "survival":
        return "C-index", c_index, lambda of, outputs: (of.values, of.happened.astype(float), outputs[:, 0])
    if len(target.classes) == 2:
        return "AUC", auc, lambda of, outputs: (of.values, outputs[:, 0])
    return "balanced accuracy", balanced_accuracy, lambda of, outputs: (of.values, decisions(outputs))


def decisions(outputs: np.ndarray) -> np.ndarray:
    """(n,) class numbers from outputs (n, k)."""
    return (outputs[:, 0] >= 0).astype(int) if outputs.shape[1] == 1 else outputs.argmax(axis=1)


def figure_of(metric: Callable[..., Any], columns: tuple[Any, ...], groups: np.ndarray, seed: int) -> Figure:
    """With its 95 % bootstrap interval by patient; without limits where too few resamples hold all classes."""
    try:
        found = bootstrap(metric, *columns, groups=groups, resamples=RESAMPLES, seed=seed)
    except StatisticsError:
        return Figure(float(metric(*columns)))
    return Figure(found.value, found.low, found.high)


def gain_over(cases: Cases, ours: np.ndarray, theirs: np.ndarray, seed: int) -> Figure:
    """By how much the main figure of outputs (n, k) is better than that of others; positive is better."""
    name, metric, columns = main_figure(cases.target)
    sign = -1.0 if name == "MAE" else 1.0
    both = columns(cases.target, ours), columns(cases.target, theirs)
    value = sign * (float(metric(*both[0])) - float(metric(*both[1])))
    try:
        found = bootstrap_difference(metric, *both, groups=cases.groups, resamples=RESAMPLES, seed=seed).interval
    except StatisticsError:
        return Figure(value)
    low, high = sorted((sign * found.low, sign * found.high))
    return Figure(value, low, high)


def performance(cases: Cases, outputs: np.ndarray, fold: np.ndarray, seed: int) -> dict[str, Figure]:
    """name -> figure."""
    target = cases.target
    name, metric, columns = main_figure(target)
    figures = {name: figure_of(metric, columns(target, outputs), cases.groups, seed)}
    if target.kind == "regression":
        truth, blind = target.values, means_of_others(target.values, fold)
        figures["MAE of the mean"] = figure_of(mae, (truth, blind), cases.groups, seed)
        figures["R2"] = figure_of(_explained, (truth, outputs[:, 0]), cases.groups, seed)
        ours, theirs = (np.abs(truth - answers) for answers in (outputs[:, 0], blind))
        p = paired_permutation_p(ours, theirs, groups=cases.groups, seed=seed)
        figures["MAE"] = dataclasses.replace(figures["MAE"], p_against_the_mean=p)
    if target.kind == "classification":
        said = decisions(outputs)
        figures["balanced accuracy"] = figure_of(balanced_accuracy, (target.values, said), cases.groups, seed)
        figures["accuracy"] = figure_of(_accuracy, (target.values, said), cases.groups, seed)
    return figures


def negligible_gain(cases: Cases, outputs: np.ndarray) -> float:
    """A gain of the main figure that would help nobody."""
    name, metric, columns = main_figure(cases.target)
    return NEGLIGIBLE[name] if name in NEGLIGIBLE else 0.02 * float(metric(*columns(cases.target, outputs)))


def confusion(cases: Cases, outputs: np.ndarray) -> tuple[tuple[int, ...], ...]:
    """Rows are the true classes, columns the answers."""
    count = len(cases.target.classes)
    table = np.zeros((count, count), int)
    np.add.at(table, (cases.target.values, decisions(outputs)), 1)
    return tuple(map(tuple, table.tolist()))


def difficulty(cases: Cases, outputs: np.ndarray) -> np.ndarray:
    """(n,) how wrong each answer is: 1 - probability of the truth, absolute error, or risk against the outcome."""
    target = cases.target
    if target.kind == "classification":
        return 1 - probabilities(outputs)[np.arange(len(cases)), target.values]
    if target.kind == "regression":
        return np.abs(outputs[:, 0] - target.values)
    ranks = np.argsort(np.argsort(outputs[:, 0])) / max(1, len(cases) - 1)
    times = np.argsort(np.argsort(-target.values)) / max(1, len(cases) - 1)
    return np.where(target.happened | (ranks > times), np.abs(ranks - times), 0.0)


def means_of_others(values: np.ndarray, fold: np.ndarray) -> np.ndarray:
    """(n,) the mean of the other folds' values."""
    return np.array([values[fold != number].mean() for number in fold])


def _explained(truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    """1 - squared errors / variance; with weights (resamples, n), one a row."""
    truth, prediction = np.asarray(truth, float), np.asarray(prediction, float)
    shares = np.ones((1, len(truth))) if weights is None else weights
    shares = shares / shares.sum(axis=1, keepdims=True)
    variance = shares @ truth**2 - (shares @ truth) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = 1 - (shares @ (truth - prediction) ** 2) / variance
    return explained if weights is not None else float(explained[0])


def _accuracy(truth: np.ndarray, said: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
    right = (np.asarray(truth) == np.asarray(said)).astype(float)
    return float(right.mean()) if weights is None else weights @ right / weights.sum(axis=1)
