"""Checks of what goes into a statistic, so that no NaN comes out of one."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from BrainIACLib.errors import StatisticsError


def numbers(name: str, values: ArrayLike, length: int | None = None) -> np.ndarray:
    """``values`` as a float vector of ``length`` (any if None).

    Raises
    ------
    StatisticsError : it is no vector, is empty, has another length, or holds NaN or infinity.
    """
    vector = np.asarray(values, dtype=float)
    if vector.ndim != 1 or vector.size == 0:
        raise StatisticsError(f"{name} must be a list of at least one number")
    if length is not None and len(vector) != length:
        raise StatisticsError(f"{name} has {len(vector)} entries where {length} are needed")
    bad = ~np.isfinite(vector)
    if bad.any():
        raise StatisticsError(f"{name} is not a finite number in case {int(np.argmax(bad)) + 1}")
    return vector


def zeros_and_ones(name: str, values: ArrayLike, length: int | None = None) -> np.ndarray:
    """``values`` as a boolean vector; StatisticsError if any is neither 0 nor 1."""
    vector = numbers(name, values, length)
    if not np.isin(vector, (0, 1)).all():
        raise StatisticsError(f"{name} must be 0 or 1 in every case")
    return vector == 1


def both_classes(name: str, values: ArrayLike, length: int | None = None) -> np.ndarray:
    """As ``zeros_and_ones``, and both are there; StatisticsError says which is missing."""
    vector = zeros_and_ones(name, values, length)
    if vector.all() or not vector.any():
        raise StatisticsError(f"{name} is {int(vector[0])} in all {len(vector)} cases: two classes are needed")
    return vector


def group_numbers(groups: ArrayLike | None, length: int) -> tuple[np.ndarray, int]:
    """(number of each case's group counted from 0, how many groups); without ``groups`` each case is its own."""
    if groups is None:
        return np.arange(length), length
    labels = np.asarray(groups)
    if labels.shape != (length,):
        raise StatisticsError(f"groups has {labels.size} entries where {length} are needed")
    names, index = np.unique(labels, return_inverse=True)
    return index, len(names)


def confidence_level(level: float) -> float:
    """``level``; StatisticsError unless it lies strictly between 0 and 1."""
    if not 0 < level < 1:
        raise StatisticsError(f"a confidence level lies between 0 and 1, not at {level}")
    return level
