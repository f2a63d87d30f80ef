"""Metrics that take case weights, so that thousands of bootstrap resamples are a few array operations.

Each function takes columns (cases,) and ``weights`` (resamples, cases), how often each case is in each resample, and
returns (resamples,); without ``weights`` it returns one float. A resample in which the metric is not defined (a class
is missing) gives NaN there, and ``bootstrap`` leaves it out; without weights that is a StatisticsError.
"""

from __future__ import annotations

from typing import overload

import numpy as np
from numpy.typing import ArrayLike

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.columns import both_classes, numbers, zeros_and_ones


def mae(truth: ArrayLike, prediction: ArrayLike, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Mean absolute error, ``mean |prediction - truth|`` (PROTOCOL P-30).

    >>> mae([10.0, 20.0], [12.0, 19.0])
    1.5
    """
    truth = numbers("truth", truth)
    error = np.abs(numbers("prediction", prediction, len(truth)) - truth)
    if weights is None:
        return float(error.mean())
    return weights @ error / weights.sum(axis=1)


def balanced_accuracy(truth: ArrayLike, predicted: ArrayLike, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Mean over the classes of ``truth`` of the share of their cases that are predicted right (PROTOCOL P-25).

    Classes are labels of any kind. A class that only ``predicted`` holds counts as an error, not as a class.

    >>> balanced_accuracy(["T1", "T1", "T1", "T2"], ["T1", "T1", "T2", "T2"])
    0.8333333333333333
    """
    truth, right = _right(truth, predicted)
    classes = np.unique(truth)
    if weights is None:
        return float(np.mean([right[truth == name].mean() for name in classes]))
    total = np.zeros(len(weights))
    with np.errstate(invalid="ignore"):  # 0 / 0 where a class is missing from a resample
        for name in classes:
            of_class = weights[:, truth == name]
            total += of_class @ right[truth == name] / of_class.sum(axis=1)
    return total / len(classes)


def balanced_accuracy_shares(truth: ArrayLike, predicted: ArrayLike) -> np.ndarray:
    """What each case adds to the balanced accuracy, (cases,): 1 / (classes * cases of its class) if right, else 0."""
    truth, right = _right(truth, predicted)
    _, index, counts = np.unique(truth, return_inverse=True, return_counts=True)
    return right / (len(counts) * counts[index])


@overload
def auc(labels: ArrayLike, scores: ArrayLike, weights: None = None) -> float: ...


@overload
def auc(labels: ArrayLike, scores: ArrayLike, weights: np.ndarray) -> np.ndarray: ...


def auc(labels: ArrayLike, scores: ArrayLike, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Area under the ROC curve: the share of (positive, negative) pairs ranked right, ties counting half.

    Source: Hanley and McNeil, Radiology 143, 1982.

    >>> auc([0, 1, 0, 1], [0.1, 0.4, 0.4, 0.9])
    0.875
    """
    if weights is None:
        labels = both_classes("labels", labels)
        return float(auc(labels, scores, np.ones((1, len(labels))))[0])
    labels = zeros_and_ones("labels", labels)
    scores = numbers("scores", scores, len(labels))
    order = np.argsort(scores, kind="stable")
    ascending, positive = scores[order], labels[order]
    weights = weights[:, order]
    # negatives that score less than each positive, and those that score at most as much
    less = np.searchsorted(ascending, ascending[positive], side="left")
    at_most = np.searchsorted(ascending, ascending[positive], side="right")
    negatives = np.zeros((len(weights), len(scores) + 1))
    np.cumsum(weights * ~positive, axis=1, out=negatives[:, 1:])
    below = (negatives[:, less] + negatives[:, at_most]) / 2
    of_positive = weights[:, positive]
    with np.errstate(invalid="ignore"):  # 0 / 0 where a class is missing from a resample
        return (of_positive * below).sum(axis=1) / (of_positive.sum(axis=1) * negatives[:, -1])


def c_index(
    time: ArrayLike, event: ArrayLike, risk: ArrayLike, weights: np.ndarray | None = None
) -> float | np.ndarray:
    """Harrell's concordance index (PROTOCOL P-40): of the comparable pairs, the share in which the one who died first
    had the higher ``risk``, ties in risk counting half.

    A pair is comparable if the shorter time ended in death; with equal times, if exactly one of both died. Source:
    Harrell, Lee and Mark, Statistics in Medicine 15, 1996.

    Raises
    ------
    StatisticsError : no pair is comparable (everyone censored, everyone died at once).

    >>> c_index([5, 8, 12, 12], [1, 1, 0, 1], [0.9, 0.3, 0.3, 0.4])
    0.75
    """
    time = numbers("time", time)
    event = zeros_and_ones("event", event, len(time))
    risk = numbers("risk", risk, len(time))
    comparable = event[:, None] & ((time[:, None] < time) | ((time[:, None] == time) & ~event))
    concordant = np.where(risk[:, None] > risk, 1.0, 0.5 * (risk[:, None] == risk)) * comparable
    if not comparable.any():
        raise StatisticsError("no two cases can be compared: nobody is known to have died before another")
    if weights is None:
        return float(concordant.sum() / comparable.sum())
    # float32 holds these pair counts exactly enough, and halves the time of the two big products
    single = weights.astype(np.float32)
    with np.errstate(invalid="ignore"):
        right, all_pairs = (
            ((single @ table.astype(np.float32)) * single).sum(axis=1, dtype=float)
            for table in (concordant, comparable)
        )
        return right / all_pairs


def _right(truth: ArrayLike, predicted: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    truth, predicted = np.asarray(truth), np.asarray(predicted)
    if truth.ndim != 1 or truth.size == 0 or truth.shape != predicted.shape:
        raise StatisticsError("truth and predicted must be lists of one class for each case, equally long")
    return truth, (truth == predicted).astype(float)
