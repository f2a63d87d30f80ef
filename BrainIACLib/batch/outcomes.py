"""The latest outcome of each of millions of cases: sorted arrays of the index, and what came since.

Outcomes of a case have turns, counted from 1. Each outcome has a higher turn than all before it, and so does a wish to
try a failure again. So neither a clock nor the order in which journals are read decides which is the latest.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

UNKNOWN = 0
FAILED_KIND, AGAIN_KIND, DONE_KIND = 0, 1, 2  # of one turn, the highest counts
KINDS = 4  # a code is KINDS times the turn, and the kind


def next_turn(code: int) -> int:
    """The turn of the outcome that comes after one of this code."""
    return code // KINDS + 1


def is_open(codes: np.ndarray | int) -> np.ndarray:
    """Where there is something to do: nothing is known, or a failure is to be tried again."""
    return np.equal(codes, UNKNOWN) | np.equal(np.mod(codes, KINDS), AGAIN_KIND)


def is_failed(codes: np.ndarray | int) -> np.ndarray:
    """Where it failed, and nobody has asked for another try."""
    return np.greater(codes, UNKNOWN) & np.equal(np.mod(codes, KINDS), FAILED_KIND)


def is_without(codes: np.ndarray | int) -> np.ndarray:
    """Where the latest try failed, whether or not somebody has asked for another."""
    return is_failed(codes) | np.equal(np.mod(codes, KINDS), AGAIN_KIND)


def is_done(code: int) -> bool:
    """Whether there are results."""
    return code % KINDS == DONE_KIND


class Latest(NamedTuple):
    """Outcome of a case: what was ``asked`` of it under settings, the ``token`` of that and of the state of its input,
    and a ``code`` of turn and kind."""

    asked: int
    token: int
    code: int


NOTHING = Latest(0, 0, UNKNOWN)


class LatestOutcomes:
    """case, a number -> its latest outcome; 28 bytes a case of the base."""

    def __init__(self) -> None:
        none = np.empty(0, np.int64)
        self.set_base(none, none, none, none)

    def set_base(self, cases: np.ndarray, asked: np.ndarray, tokens: np.ndarray, codes: np.ndarray) -> None:
        """What the index says, and nothing else: what the journals say is to be taken anew."""
        order = np.argsort(cases, kind="stable")
        self._cases, self._asked, self._tokens = cases[order], asked[order], tokens[order]
        self._codes = codes[order].astype(np.int32)
        self._since: dict[int, Latest] = {}
        self._since_arrays: tuple[np.ndarray, ...] | None = None

    def take(self, case: int, outcome: Latest) -> None:
        """Of a journal."""
        if outcome.code >= self.of_one(case).code:
            self._since[case] = outcome
            self._since_arrays = None

    def of_one(self, case: int) -> Latest:
        """Its latest outcome."""
        found = self._since.get(case)
        if found is None:
            place = int(np.searchsorted(self._cases, case))
            if place == len(self._cases) or self._cases[place] != case:
                return NOTHING
            found = Latest(int(self._asked[place]), int(self._tokens[place]), int(self._codes[place]))
        return found

    def by_asked(self, cases: np.ndarray, asked: np.ndarray) -> np.ndarray:
        """(n,) codes of the cases; ``UNKNOWN`` where the latest outcome is under other settings."""
        found_asked, _, codes = self._of(cases)
        return np.where(found_asked == asked, codes, UNKNOWN)

    def by_token(self, cases: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """(n,) codes of the cases; ``UNKNOWN`` where the latest outcome is under other settings or of another input."""
        _, found_tokens, codes = self._of(cases)
        return np.where(found_tokens == tokens, codes, UNKNOWN)

    def _of(self, cases: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        base = _found((self._cases, self._asked, self._tokens, self._codes), cases)
        if not self._since:
            return base
        if self._since_arrays is None:
            columns = np.array(list(self._since.values()), np.int64).T
            numbers = np.fromiter(self._since, np.int64, len(self._since))
            order = np.argsort(numbers)
            self._since_arrays = tuple(column[order] for column in (numbers, *columns))
        newer = _found(self._since_arrays, cases)
        is_newer = newer[2] != UNKNOWN
        asked, tokens, codes = (np.where(is_newer, late, early) for late, early in zip(newer, base, strict=True))
        return asked, tokens, codes


def _found(known: tuple[np.ndarray, ...], cases: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """asked, tokens and codes of the cases; zeros where nothing is known."""
    numbers, *columns = known
    if not len(numbers):
        none = np.zeros(len(cases), np.int64)
        return none, none, none
    place = np.minimum(np.searchsorted(numbers, cases), len(numbers) - 1)
    there = numbers[place] == cases
    asked, tokens, codes = (np.where(there, column[place], 0) for column in columns)
    return asked, tokens, codes
