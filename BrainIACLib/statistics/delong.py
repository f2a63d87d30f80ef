"""The area under the ROC curve with DeLong's variance, and the paired comparison of two.

DeLong, DeLong and Clarke-Pearson, Biometrics 44, 1988 (the paper's reference 35), by the midrank algorithm of Sun and
Xu, IEEE Signal Processing Letters 21, 2014, in O(n log n). With positives ``X`` (m), negatives ``Y`` (n) and

    psi(x, y) = 1 if x > y, 1/2 if x = y, 0 if x < y

    V10[i] = mean over Y of psi(X_i, y),   V01[j] = mean over X of psi(x, Y_j),   AUC = mean(V10) = mean(V01)

    Cov(AUC_a, AUC_b) = Cov(V10_a, V10_b) / m + Cov(V01_a, V01_b) / n

The test of equal areas is ``z = (AUC_a - AUC_b) / sqrt(Var_a + Var_b - 2 Cov)`` (PROTOCOL P-21, P-35, P-38).
Cases must be independent; where a patient has several, use ``bootstrap`` with groups.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtr, ndtri
from scipy.stats import beta, rankdata

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.columns import both_classes, confidence_level, numbers
from BrainIACLib.statistics.interval import Interval


def auc_with_interval(labels: ArrayLike, scores: ArrayLike, level: float = 0.95) -> Interval:
    """AUC with DeLong's normal interval, cut at 0 and 1.

    ``scores`` is (cases,), or (models, cases) for the mean AUC of several models of the same cases, such as seeds.

    Where DeLong's variance is 0 (perfect separation, constant scores) or not defined (one case of a class), the
    interval is Clopper and Pearson's for ``min(m, n)`` independent pairs: ten patients do not give an exact AUC.

    Raises
    ------
    StatisticsError : only one class, lengths that differ, or a score that is not finite.

    >>> print(f"{auc_with_interval([0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.35, 0.8, 0.2, 0.9]):.3f}")
    0.889 (0.581-1.000)
    """
    v10, v01 = _placements(labels, scores)
    value, deviation = float(v10.mean()), math.sqrt(_variance(v10, v01))
    confidence_level(level)
    if deviation > 0:
        reach = float(ndtri((1 + level) / 2)) * deviation
        return Interval(value, max(0.0, value - reach), min(1.0, value + reach), level)
    pairs = min(len(v10), len(v01))
    hits, tail = value * pairs, (1 - level) / 2
    low = float(beta.ppf(tail, hits, pairs - hits + 1)) if hits > 0 else 0.0
    high = float(beta.ppf(1 - tail, hits + 1, pairs - hits)) if hits < pairs else 1.0
    return Interval(value, low, high, level)


def compare_aucs(labels: ArrayLike, scores_a: ArrayLike, scores_b: ArrayLike) -> float:
    """Two-sided p value of equal AUCs of two models on the same cases.

    Scores are as in ``auc_with_interval``. p is 1 if the areas are the same; where the difference has no variance, it
    is that of a sign test on ``min(m, n)`` independent pairs.

    >>> round(compare_aucs([0, 0, 1, 1, 0, 1], [0.1, 0.4, 0.35, 0.8, 0.2, 0.9], [0.5, 0.2, 0.4, 0.3, 0.1, 0.6]), 3)
    0.724
    """
    (a10, a01), (b10, b01) = _placements(labels, scores_a), _placements(labels, scores_b)
    d10, d01 = a10 - b10, a01 - b01
    difference, variance = float(d10.mean()), _variance(d10, d01)
    if abs(difference) < 1e-12:
        return 1.0
    if variance == 0:
        return min(1.0, 2 * 0.5 ** min(len(d10), len(d01)))
    return float(2 * ndtr(-abs(difference) / math.sqrt(variance)))


def _placements(labels: ArrayLike, scores: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """V10 (positives,) and V01 (negatives,), averaged over models."""
    table = np.atleast_2d(np.asarray(scores, dtype=float))
    if table.ndim != 2 or len(table) == 0:
        raise StatisticsError("scores must be a list of cases, or a table (models, cases)")
    table = np.stack([numbers("scores", row) for row in table])
    positive = both_classes("labels", labels, table.shape[1])
    m, n = int(positive.sum()), int((~positive).sum())
    ranks = rankdata(table, axis=1)  # midranks among all cases
    v10 = (ranks[:, positive] - rankdata(table[:, positive], axis=1)) / n
    v01 = 1 - (ranks[:, ~positive] - rankdata(table[:, ~positive], axis=1)) / m
    return v10.mean(axis=0), v01.mean(axis=0)


def _variance(v10: np.ndarray, v01: np.ndarray) -> float:
    """Var(V10) / m + Var(V01) / n; 0 where it is not defined, with one case of a class."""
    if min(len(v10), len(v01)) < 2:
        return 0.0
    total = float(v10.var(ddof=1) / len(v10) + v01.var(ddof=1) / len(v01))
    return total if total > 1e-15 else 0.0
