"""Numbers of 8 bytes that are done or failed, millions of them: sorted arrays of the index, and what came since."""

from __future__ import annotations

import numpy as np

UNKNOWN, DONE_CODE, FAILED_CODE = 0, 1, 2


class Statuses:
    """number -> ``DONE_CODE`` or ``FAILED_CODE``; 9 bytes a number of the base."""

    def __init__(self) -> None:
        self._numbers, self._codes = np.empty(0, np.int64), np.empty(0, np.int8)
        self._since: dict[int, int] = {}
        self._since_arrays: tuple[np.ndarray, np.ndarray] | None = None

    def set_base(self, numbers: np.ndarray, codes: np.ndarray) -> None:
        """What the index says; what came since and is no news any more is let go."""
        order = np.argsort(numbers, kind="stable")
        self._numbers, self._codes = numbers[order], codes[order]
        if self._since:
            since, said = self._sorted_since()
            news = _found(self._numbers, self._codes, since) != said
            self._since = dict(zip(since[news].tolist(), said[news].tolist(), strict=True))
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
            codes = np.fromiter(self._since.values(), np.int8, len(self._since))
            order = np.argsort(numbers)
            self._since_arrays = numbers[order], codes[order]
        return self._since_arrays


def _found(known: np.ndarray, codes: np.ndarray, asked: np.ndarray) -> np.ndarray:
    if not len(known):
        return np.full(len(asked), UNKNOWN, np.int8)
    place = np.minimum(np.searchsorted(known, asked), len(known) - 1)
    return np.where(known[place] == asked, codes[place], UNKNOWN).astype(np.int8)
