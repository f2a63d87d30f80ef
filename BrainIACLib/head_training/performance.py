"""What the out-of-fold answers are worth: figures with intervals by patient, and in words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from BrainIACLib.errors import StatisticsError
from BrainIACLib.head_training.cases import Cases
from BrainIACLib.head_training.logistic import probabilities
from BrainIACLib.head_training.targets import Target
from BrainIACLib.statistics.bootstrap import bootstrap, bootstrap_difference, paired_permutation_p
from BrainIACLib.statistics.metrics import auc, balanced_accuracy, c_index, mae

RESAMPLES = 1000
NEGLIGIBLE = {"AUC": 0.01, "balanced accuracy": 0.01, "C-index": 0.01}  # of MAE: 2 % of it


def main_figure(target: Target) -> tuple[str, Callable, Callable[[Target, np.ndarray], tuple]]:
    """Name, metric, and the metric's columns from a target and outputs (n, k)."""
    if target.kind == "regression":
        return "MAE", mae, lambda of, outputs: (of.values, outputs[:, 0])
    if target.kind == "survival":
        return "C-index", c_index, lambda of, outputs: (of.values, of.events.astype(float), outputs[:, 0])
    if len(target.classes) == 2:
        return "AUC", auc, lambda of, outputs: (of.values, outputs[:, 0])
    return "balanced accuracy", balanced_accuracy, lambda of, outputs: (of.values, decisions(outputs))


def decisions(outputs: np.ndarray) -> np.ndarray:
    """(n,) class numbers from outputs (n, k)."""
    return (outputs[:, 0] >= 0).astype(int) if outputs.shape[1] == 1 else outputs.argmax(axis=1)


def performance(cases: Cases, outputs: np.ndarray, fold: np.ndarray, seed: int) -> dict[str, dict]:
    """name -> value, low, high (95 % bootstrap by patient), and what it means."""
    target, figures = cases.target, {}

    def add(name: str, metric: Callable, columns: tuple, meaning: str) -> None:
        try:
            found = bootstrap(metric, *columns, groups=cases.groups, resamples=RESAMPLES, seed=seed)
        except StatisticsError as error:
            figures[name] = {
                "value": float(metric(*columns)),
                "low": None,
                "high": None,
                "meaning": f"{meaning}; {error}",
            }
            return
        figures[name] = {"value": found.value, "low": found.low, "high": found.high, "meaning": meaning}

    name, metric, columns = main_figure(target)
    if target.kind == "regression":
        add(name, metric, columns(target, outputs), f"mean absolute error in {target.unit}; 0 is perfect")
        blind = _means_of_others(target.values, fold)
        add("MAE of the mean", mae, (target.values, blind), "what always answering the mean of the others errs by")
        add(
            "R2",
            _explained,
            (target.values, outputs[:, 0]),
            "share of the variance explained; 1 is perfect, 0 is blind",
        )
        errors = [np.abs(target.values - answers) for answers in (outputs[:, 0], blind)]
        p = paired_permutation_p(*errors, groups=cases.groups, seed=seed)
        figures["MAE"]["p_against_the_mean"] = p
        return figures
    if target.kind == "survival":
        add(
            name,
            metric,
            columns(target, outputs),
            "chance that of two people the one who had the event first had the higher risk; 0.5 is blind",
        )
        return figures
    if len(target.classes) == 2:
        add(
            name,
            metric,
            columns(target, outputs),
            f"chance that a case of '{target.classes[1]}' scores above one of '{target.classes[0]}'; 0.5 is blind",
        )
    chance = 1 / len(target.classes)
    said = decisions(outputs)
    add(
        "balanced accuracy",
        balanced_accuracy,
        (target.values, said),
        f"mean accuracy of the classes; {chance:.2f} is blind",
    )
    add("accuracy", _accuracy, (target.values, said), "share of cases that are answered right")
    return figures


def learning_verdict(cases: Cases, fewer: np.ndarray, full: np.ndarray, share: float, seed: int) -> str:
    """Whether more cases would help, from out-of-fold outputs with a share of the training cases and with all."""
    name, metric, columns = main_figure(cases.target)
    found = bootstrap_difference(
        metric,
        columns(cases.target, full),
        columns(cases.target, fewer),
        groups=cases.groups,
        resamples=RESAMPLES,
        seed=seed,
    ).interval
    sign = -1.0 if name == "MAE" else 1.0
    low, high = sorted((sign * found.low, sign * found.high))
    negligible = NEGLIGIBLE.get(name, 0.02 * float(metric(*columns(cases.target, full))))
    gain = f"{sign * found.value:+.3f} ({low:+.3f} to {high:+.3f})"
    against = f"from {share:.0%} of the cases to all, the {name} improved by {gain}"
    if low > 0:
        return f"More cases would help: {against}."
    if high < negligible:
        return f"More cases like these would hardly help: {against}."
    return f"Whether more cases would help cannot be told: {against}."


def confusion(cases: Cases, outputs: np.ndarray) -> list[list[int]]:
    """Rows are the true classes, columns the answers."""
    count = len(cases.target.classes)
    table = np.zeros((count, count), int)
    np.add.at(table, (cases.target.values, decisions(outputs)), 1)
    return table.tolist()


def difficulty(cases: Cases, outputs: np.ndarray) -> np.ndarray:
    """(n,) how wrong each answer is: 1 - probability of the truth, absolute error, or risk against the outcome."""
    target = cases.target
    if target.kind == "classification":
        return 1 - probabilities(outputs)[np.arange(len(cases)), target.values]
    if target.kind == "regression":
        return np.abs(outputs[:, 0] - target.values)
    ranks = np.argsort(np.argsort(outputs[:, 0])) / max(1, len(cases) - 1)
    times = np.argsort(np.argsort(-target.values)) / max(1, len(cases) - 1)
    return np.where(target.events | (ranks > times), np.abs(ranks - times), 0.0)


def _means_of_others(values: np.ndarray, fold: np.ndarray) -> np.ndarray:
    return np.array([values[fold != number].mean() for number in fold])


def _explained(truth: np.ndarray, prediction: np.ndarray, weights: np.ndarray | None = None):
    """1 - squared errors / variance; with weights (resamples, n), one a row."""
    truth, prediction = np.asarray(truth, float), np.asarray(prediction, float)
    shares = np.ones((1, len(truth))) if weights is None else weights
    shares = shares / shares.sum(axis=1, keepdims=True)
    variance = shares @ truth**2 - (shares @ truth) ** 2
    with np.errstate(invalid="ignore", divide="ignore"):
        explained = 1 - (shares @ (truth - prediction) ** 2) / variance
    return explained if weights is not None else float(explained[0])


def _accuracy(truth: np.ndarray, said: np.ndarray, weights: np.ndarray | None = None):
    right = (np.asarray(truth) == np.asarray(said)).astype(float)
    return float(right.mean()) if weights is None else weights @ right / weights.sum(axis=1)
