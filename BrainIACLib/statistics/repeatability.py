"""Agreement of repeated measurements of the same people: the intraclass correlation of one-way random effects."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy.stats import f

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.columns import confidence_level, group_numbers, numbers
from BrainIACLib.statistics.interval import Interval


def intraclass_correlation(values: ArrayLike, people: ArrayLike, level: float = 0.95) -> Interval:
    """ICC(1) of single measurements, with the interval of the F distribution; people measured once are left out.

    ``(MSB - MSW) / (MSB + (k - 1) MSW)`` of the mean squares between and within people; 1 is perfect agreement, 0 or
    less none beyond chance. With unequal counts ``k`` is their ``(N - sum k_i^2 / N) / (n - 1)``, and the interval is
    approximate. Sources: Shrout and Fleiss, Psychological Bulletin 86, 1979, ICC(1, 1); Searle, Linear Models, 1971.

    Raises
    ------
    StatisticsError : fewer than two people have two measurements, or all measurements are the same.

    >>> print(f"{intraclass_correlation([1.0, 1.2, 3.0, 2.8, 5.0, 5.4], ['a', 'a', 'b', 'b', 'c', 'c']):.3f}")
    0.991 (0.859-1.000)
    """
    everything = numbers("values", values)
    person, _ = group_numbers(people, len(everything))
    repeated = np.bincount(person)[person] > 1
    measured, index = everything[repeated], np.unique(person[repeated], return_inverse=True)[1]
    counts = np.bincount(index) if len(index) else np.zeros(0)
    people_count, total = len(counts), len(measured)
    if people_count < 2:
        raise StatisticsError("agreement of repeated measurements needs two people with two measurements each")
    means = np.bincount(index, measured) / counts
    between = float(counts @ (means - measured.mean()) ** 2) / (people_count - 1)
    within = float(((measured - means[index]) ** 2).sum()) / (total - people_count)
    if between + within == 0:
        raise StatisticsError("all measurements are the same: their agreement is not defined")
    k = (total - (counts**2).sum() / total) / (people_count - 1)

    def coefficient(ratio: float) -> float:
        return (ratio - 1) / (ratio + k - 1)

    if within == 0:
        return Interval(1.0, 1.0, 1.0, level)
    tail = (1 - confidence_level(level)) / 2
    freedom, ratio = (people_count - 1, total - people_count), between / within
    low, high = ratio / f.ppf(1 - tail, *freedom), ratio * f.ppf(1 - tail, *freedom[::-1])
    return Interval(coefficient(ratio), coefficient(low), coefficient(high), level)
