"""How it stands with each of millions of numbers: sorted arrays of the index, and what came since.

A code says it: nothing known, failed in the n-th attempt, to be tried again after it, done. Codes of one input only
grow, so the order in which journals are read does not matter.
"""

from __future__ import annotations

from typing import Any

import numpy as np

UNKNOWN, DONE_CODE = 0, 32766


def failed_code(attempt: Any) -> Any:
    """Of what failed in that attempt, counted from 1 (a number or an array); one more where it is to be tried again."""
    return 2 * attempt


def next_attempt(code: int) -> int:
    """The number of the attempt that comes after this."""
    return code // 2 + 1


def is_open(codes: np.ndarray | int) -> np.ndarray:
    """Where there is something to do: never recorded, or to be tried again."""
    return np.equal(codes, UNKNOWN) | np.equal(np.mod(codes, 2), 1)


def is_failed(codes: np.ndarray | int) -> np.ndarray:
    """Where it failed, and nobody has asked for another attempt."""
    return np.logical_not(is_open(codes)) & np.not_equal(codes, DONE_CODE)


class Statuses:
    """number -> code; 10 bytes a number of the base."""

    def __init__(self) -> None:
        self._numbers, self._codes = np.empty(0, np.int64), np.empty(0, np.int16)
        self._since: dict[int, int] = {}
        self._since_arrays: tuple[np.ndarray, np.ndarray] | None = None

    def set_base(self, numbers: np.ndarray, codes: np.ndarray) -> None:
        """What the index says, and nothing else: what the journals say is to be taken anew."""
        order = np.argsort(numbers, kind="stable")
        self._numbers, self._codes = numbers[order], codes[order]
        self._since.clear()
        self._since_arrays = None

    def take(self, number: int, code: int) -> None:
        """Of a journal; the last one counts."""
        self._since[number] = code
        self._since_arrays = None

    def of(self, numbers: np.ndarray) -> np.ndarray:
        """(n,) codes."""
        found = _found(self._numbers, self._codes, numbers)
        if self._since:
            newer = _found(*self._sorted_since(), numbers)
            found = np.where(newer != UNKNOWN, newer, found)
        return found

    def of_one(self, number: int) -> int:
        """Its code."""
        return self._since.get(number) or int(_found(self._numbers, self._codes, np.array([number], np.int64))[0])

    def _sorted_since(self) -> tuple[np.ndarray, np.ndarray]:
        if self._since_arrays is None:
            numbers = np.fromiter(self._since, np.int64, len(self._since))
            codes = np.fromiter(self._since.values(), np.int16, len(self._since))
            order = np.argsort(numbers)
            self._since_arrays = numbers[order], codes[order]
        return self._since_arrays


def _found(known: np.ndarray, codes: np.ndarray, asked: np.ndarray) -> np.ndarray:
    if not len(known):
        return np.full(len(asked), UNKNOWN, np.int16)
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[place] == asked, codes[place], UNKNOWN).astype(np.int16)
