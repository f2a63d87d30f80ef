"""How far one column can be read off another: effect sizes with case weights, so that ``bootstrap`` is fast.

As in ``metrics``, ``weights`` (resamples, cases) gives (resamples,), NaN where it is not defined.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import rankdata

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.columns import numbers


def cramers_v(first: ArrayLike, second: ArrayLike, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Cramér's V of two columns of categories, corrected for its bias with few cases; 0 is independent, 1 a function.

    With ``phi2 = chi2 / n`` of an r x c table: ``phi2' = max(0, phi2 - (r - 1)(c - 1) / (n - 1))``,
    ``r' = r - (r - 1)^2 / (n - 1)`` (c' alike), ``V = sqrt(phi2' / min(r' - 1, c' - 1))``. Source: Bergsma, Journal of
    the Korean Statistical Society 42, 2013.

    >>> cramers_v(["a", "a", "b", "b"] * 5, ["x", "x", "y", "y"] * 5)
    1.0
    """
    rows, columns = _one_hot(first), _one_hot(second)
    if len(rows) != len(columns):
        raise StatisticsError("two columns of an association must be equally long")
    shares = np.ones((1, len(rows))) if weights is None else weights
    table = (shares[:, :, None] * rows).transpose(0, 2, 1) @ columns  # (resamples, r, c)
    total = table.sum(axis=(1, 2))
    with np.errstate(invalid="ignore", divide="ignore"):
        expected = table.sum(axis=2)[:, :, None] * table.sum(axis=1)[:, None] / total[:, None, None]
        phi2 = np.where(expected > 0, (table - expected) ** 2 / expected, 0).sum(axis=(1, 2)) / total
        r, c = ((table.sum(axis=axis) > 0).sum(axis=1).astype(float) for axis in (2, 1))
        least = np.minimum(r - (r - 1) ** 2 / (total - 1), c - (c - 1) ** 2 / (total - 1)) - 1
        found = np.sqrt(np.maximum(phi2 - (r - 1) * (c - 1) / (total - 1), 0) / least)
    found = np.where(least > 0, np.minimum(found, 1), np.nan)
    return found if weights is not None else _one(found, "Cramér's V needs two categories in each column")


def eta_squared(categories: ArrayLike, values: ArrayLike, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Share of the variance of ``values`` between categories, corrected for their number (Kelley's epsilon squared).

    ``1 - (SS_within / (n - k)) / (SS_total / (n - 1))``, at least 0. Source: Kelley, PNAS 21, 1935.

    >>> round(eta_squared(["a", "a", "a", "b", "b", "b"], [1.0, 2.0, 3.0, 7.0, 8.0, 9.0]), 4)
    0.9138
    """
    groups, values = _one_hot(categories), numbers("values", values)
    if len(groups) != len(values):
        raise StatisticsError("two columns of an association must be equally long")
    shares = np.ones((1, len(values))) if weights is None else weights
    counts, centred = shares @ groups, values - values.mean()
    total = counts.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        means = np.where(counts > 0, (shares @ (groups * centred[:, None])) / counts, 0)
        squares = shares @ centred**2
        within = squares - (counts * means**2).sum(axis=1)
        around = squares - (shares @ centred) ** 2 / total
        k = (counts > 0).sum(axis=1)
        found = 1 - (within / (total - k)) / (around / (total - 1))
    found = np.where((around > 0) & (k > 1) & (total > k), np.clip(found, 0, 1), np.nan)
    return found if weights is not None else _one(found, "eta squared needs two categories and values that differ")


def rank_correlation(first: ArrayLike, second: ArrayLike, weights: np.ndarray | None = None) -> float | np.ndarray:
    """Spearman's r; with weights, Pearson's r of the ranks among all cases.

    >>> rank_correlation([1.0, 2.0, 3.0, 4.0], [1.0, 4.0, 9.0, 16.0])
    1.0
    """
    a, b = rankdata(numbers("first", first)), rankdata(numbers("second", second))
    if len(a) != len(b):
        raise StatisticsError("two columns of an association must be equally long")
    shares = np.ones((1, len(a))) if weights is None else weights
    shares = shares / shares.sum(axis=1, keepdims=True)
    a, b = a - a.mean(), b - b.mean()
    mean_a, mean_b = shares @ a, shares @ b
    spread_a, spread_b = shares @ a**2 - mean_a**2, shares @ b**2 - mean_b**2
    with np.errstate(invalid="ignore", divide="ignore"):
        found = (shares @ (a * b) - mean_a * mean_b) / np.sqrt(spread_a * spread_b)
    found = np.where((spread_a > 1e-12) & (spread_b > 1e-12), np.clip(found, -1, 1), np.nan)
    return found if weights is not None else _one(found, "a rank correlation needs values that differ")


def _one_hot(categories: ArrayLike) -> np.ndarray:
    """(n, k) of 0 and 1."""
    names, index = np.unique(np.asarray(categories), return_inverse=True)
    return np.eye(len(names))[index.ravel()]


def _one(found: np.ndarray, otherwise: str) -> float:
    if not np.isfinite(found[0]):
        raise StatisticsError(otherwise)
    return float(found[0])
