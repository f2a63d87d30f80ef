"""Confidence intervals and paired comparisons by resampling patients (PROTOCOL P-21, C-12).

A patient's cases are drawn together, with replacement; the interval is the percentile interval of Efron and Tibshirani,
An Introduction to the Bootstrap, 1993, chapter 13. A resample is kept as a row of counts, so that a metric with a
``weights`` parameter (all of ``metrics``) is evaluated on hundreds of resamples at once. The draws depend only on the
seed and the groups: two models of the same cases meet the same resamples.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.columns import confidence_level, group_numbers, numbers
from BrainIACLib.statistics.interval import Interval

_CHUNK_CELLS = 2**22  # numbers of one array of a chunk of resamples: 32 MB
_DEFINED_SHARE = 0.5  # an interval from fewer resamples than this share would describe other cohorts than this one
_EXACT_GROUPS = 12  # 4,096 sign patterns


@dataclass(frozen=True)
class Difference:
    """Metric of a minus metric of b, with its interval, and the two-sided p value of no difference."""

    interval: Interval
    p: float


def bootstrap(
    metric: Callable[..., float | np.ndarray],
    *columns: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Interval:
    """``metric(*columns)`` with its percentile interval over patients.

    ``columns`` have one entry a case; ``groups`` is each case's patient (each case by itself if None). A metric with
    a ``weights`` parameter is called as ``metric(*columns, weights=(resamples, cases))``, any other one on each
    resample's columns, which is slow. Resamples where it is not defined are left out.

    Raises
    ------
    StatisticsError : the metric is not defined on the cases, or on fewer than half of the resamples; columns differ in
        length.

    >>> from BrainIACLib.statistics.metrics import mae
    >>> print(f"{bootstrap(mae, [10.0, 20.0, 30.0, 41.0], [12.0, 19.0, 31.0, 37.0], seed=1):.1f}")
    2.0 (1.0-3.2)
    """
    values = _resampled(metric, columns, groups, resamples, seed)
    return _interval(float(metric(*columns)), values, level)


def bootstrap_difference(
    metric: Callable[..., float | np.ndarray],
    columns_a: Sequence[ArrayLike],
    columns_b: Sequence[ArrayLike],
    *,
    groups: ArrayLike | None = None,
    resamples: int = 2000,
    seed: int = 0,
    level: float = 0.95,
) -> Difference:
    """``metric(*columns_a) - metric(*columns_b)`` of two models on the same cases, paired by patient.

    p is twice the smaller share of resampled differences on one side of 0, counting the observed one:
    ``2 (1 + #) / (1 + resamples)`` (Davison and Hinkley, Bootstrap Methods, 1997, section 4.4); ties count on both.
    """
    a, b = (_resampled(metric, columns, groups, resamples, seed) for columns in (columns_a, columns_b))
    differences = a - b
    observed = float(metric(*columns_a)) - float(metric(*columns_b))
    interval = _interval(observed, differences, level)
    defined = differences[np.isfinite(differences)]
    fewer = min(int((defined <= 0).sum()), int((defined >= 0).sum()))
    return Difference(interval, min(1.0, 2 * (1 + fewer) / (1 + len(defined))))


def paired_permutation_p(
    shares_a: ArrayLike,
    shares_b: ArrayLike,
    groups: ArrayLike | None = None,
    resamples: int = 10_000,
    seed: int = 0,
) -> float:
    """Two-sided p value that two models are exchangeable, for sums over cases (such as MAE, balanced accuracy).

    Within each patient the two models are swapped or not, with equal chance; p is the share of swaps whose summed
    difference is at least as large as the observed one. All swaps are tried for up to 12 patients, otherwise
    ``resamples`` random ones, ``(1 + #) / (1 + resamples)``. Source: Good, Permutation Tests, 2000, chapter 3.

    >>> paired_permutation_p([3.0, 4.0, 5.0, 6.0], [1.0, 2.0, 2.0, 1.0])  # all four one way: 2 of 16 patterns
    0.125
    """
    a = numbers("shares_a", shares_a)
    index, count = group_numbers(groups, len(a))
    difference = np.bincount(index, a - numbers("shares_b", shares_b, len(a)), minlength=count)
    observed = abs(difference.sum())
    tolerance = 1e-9 * np.abs(difference).sum()  # sums in another order may differ in the last bits
    if count <= _EXACT_GROUPS:
        patterns = (np.arange(2**count)[:, None] >> np.arange(count)) & 1
        return float((np.abs((1 - 2 * patterns) @ difference) >= observed - tolerance).mean())
    generator, larger = np.random.default_rng(seed), 0
    for size in _chunk_sizes(resamples, count):
        signs = 1 - 2 * generator.integers(0, 2, (size, count), dtype=np.int8)
        larger += int((np.abs(signs @ difference) >= observed - tolerance).sum())
    return (1 + larger) / (1 + resamples)


def resample_counts(cases: int, groups: ArrayLike | None, resamples: int, seed: int) -> Iterator[np.ndarray]:
    """Chunks (some resamples, cases) of how often each case is in each resample; together ``resamples`` rows."""
    index, count = group_numbers(groups, cases)
    generator = np.random.default_rng(seed)
    for size in _chunk_sizes(resamples, max(cases, count)):
        drawn = generator.integers(0, count, (size, count))
        drawn += np.arange(size)[:, None] * count
        counts = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count)
        yield counts[:, index].astype(float)


def _chunk_sizes(resamples: int, width: int) -> Iterator[int]:
    if resamples < 1:
        raise StatisticsError("at least one resample is needed")
    step = max(1, _CHUNK_CELLS // width)
    for start in range(0, resamples, step):
        yield min(step, resamples - start)


def _resampled(
    metric: Callable[..., Any], columns: Sequence[ArrayLike], groups: ArrayLike | None, resamples: int, seed: int
) -> np.ndarray:
    """The metric of each resample, (resamples,), NaN where it is not defined."""
    arrays = [np.asarray(column) for column in columns]
    lengths = {len(array) for array in arrays}
    if len(lengths) != 1 or 0 in lengths:
        raise StatisticsError("the columns of a bootstrap must be equally long, with at least one case")
    (cases,) = lengths
    weighted = "weights" in inspect.signature(metric).parameters
    parts = []
    for weights in resample_counts(cases, groups, resamples, seed):
        if weighted:
            parts.append(metric(*arrays, weights=weights))
        else:
            parts.append([_or_nan(metric, arrays, row) for row in weights.astype(int)])
    return np.concatenate(parts)


def _or_nan(metric: Callable[..., Any], arrays: list[np.ndarray], counts: np.ndarray) -> float:
    chosen = np.repeat(np.arange(len(counts)), counts)
    try:
        return float(metric(*(array[chosen] for array in arrays)))
    except StatisticsError:
        return math.nan


def _interval(value: float, values: np.ndarray, level: float) -> Interval:
    tail = (1 - confidence_level(level)) / 2
    defined = values[np.isfinite(values)]
    if not math.isfinite(value) or len(defined) < _DEFINED_SHARE * len(values):
        raise StatisticsError(
            f"the metric is defined in only {len(defined)} of {len(values)} resamples: too few cases of a class"
        )
    low, high = np.quantile(defined, (tail, 1 - tail))
    return Interval(value, float(low), float(high), level)
