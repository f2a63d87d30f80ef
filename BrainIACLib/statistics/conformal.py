"""Split conformal prediction: sets and intervals that hold the truth in a stated share of new cases.

With scores of ``n`` calibration cases that the model was not fitted on, the quantile is the ``k``-th smallest score,
``k = ceil((n + 1) * coverage)``; a new case that is exchangeable with them scores at most that with probability at
least ``coverage`` (and at most ``coverage + 1 / (n + 1)`` without ties). Source: Vovk, Gammerman, Shafer, Algorithmic
Learning in a Random World, 2005; Angelopoulos and Bates, arXiv:2107.07511, sections 1 and 2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.columns import confidence_level, numbers
from BrainIACLib.statistics.interval import Interval


def conformal_quantile(scores: ArrayLike, coverage: float = 0.9) -> float:
    """The ``ceil((n + 1) * coverage)``-th smallest calibration score.

    Infinity if there are fewer than ``coverage / (1 - coverage)`` cases: then nothing can be excluded at that coverage.

    >>> conformal_quantile([3.0, 1.0, 2.0, 5.0, 4.0, 9.0, 7.0, 6.0, 8.0], 0.8)
    8.0
    >>> conformal_quantile([1.0, 2.0], 0.9)
    inf
    """
    scores = numbers("scores", scores)
    # rounded, because (n + 1) * 0.9 of a whole number may come out a hair above it
    rank = math.ceil(round((len(scores) + 1) * confidence_level(coverage), 9))
    return float(np.partition(scores, rank - 1)[rank - 1]) if rank <= len(scores) else math.inf


def classification_scores(probabilities: ArrayLike, labels: ArrayLike) -> np.ndarray:
    """1 - the probability of the true class, (cases,), from a table (cases, classes) and class numbers (cases,)."""
    probabilities = _probabilities(probabilities)
    labels = numbers("labels", labels, len(probabilities)).astype(int)
    if labels.min() < 0 or labels.max() >= probabilities.shape[1]:
        raise StatisticsError(f"labels must be class numbers from 0 to {probabilities.shape[1] - 1}")
    return 1 - probabilities[np.arange(len(labels)), labels]


def prediction_sets(probabilities: ArrayLike, quantile: float) -> np.ndarray:
    """Which classes cannot be excluded, boolean (cases, classes).

    A set may be empty (the case is unlike the calibration cases) or hold all classes (nothing is known).

    >>> prediction_sets([[0.7, 0.25, 0.05], [0.4, 0.35, 0.25]], quantile=0.7)
    array([[ True, False, False],
           [ True,  True, False]])
    """
    return 1 - _probabilities(probabilities) <= quantile


def regression_scores(truth: ArrayLike, prediction: ArrayLike) -> np.ndarray:
    """The absolute errors of the calibration cases, (cases,)."""
    truth = numbers("truth", truth)
    return np.abs(truth - numbers("prediction", prediction, len(truth)))


def prediction_interval(prediction: float, quantile: float, coverage: float = 0.9) -> Interval:
    """``prediction`` plus or minus ``quantile``; infinitely wide if the quantile is.

    >>> prediction_interval(34.0, 5.5)
    Interval(value=34.0, low=28.5, high=39.5, level=0.9)
    """
    return Interval(prediction, prediction - quantile, prediction + quantile, confidence_level(coverage))


def _probabilities(values: ArrayLike) -> np.ndarray:
    array = np.asarray(values, dtype=float)
    if array.ndim != 2 or array.size == 0 or not np.isfinite(array).all() or array.min() < 0 or array.max() > 1:
        raise StatisticsError("probabilities must be a table (cases, classes) of numbers from 0 to 1")
    return array
