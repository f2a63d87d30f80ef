"""What a head is to learn: classes, a number, or survival times, read from text columns and checked."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from BrainIACLib.errors import BrainIACError

KINDS = ("classification", "regression", "survival")
MOST_CLASSES_OF_NUMBERS = 10  # a column of numbers with more distinct values is a measurement
LEAST_PATIENTS, LEAST_PER_CLASS = 10, 3
UNITS = ("years", "months", "weeks", "days", "mm", "ml")


@dataclass(frozen=True)
class Target:
    """``values``: (n,) class numbers, numbers, or times; ``events``: (n,) bool for survival, else None."""

    name: str
    kind: str
    values: np.ndarray
    classes: tuple[str, ...] = ()
    events: np.ndarray | None = None
    unit: str | None = None

    def rows(self, keep: np.ndarray) -> Target:
        """The target of some cases."""
        events = None if self.events is None else self.events[keep]
        return Target(self.name, self.kind, self.values[keep], self.classes, events, self.unit)


def read_target(name: str, texts: Sequence[str], kind: str, events: Sequence[str] | None, names: Sequence[str]):
    """The target of cases that all have one.

    Parameters
    ----------
    texts, events : (n,) cells; ``events`` is 1 for died, 0 for censored, and only used for survival.
    kind : one of ``KINDS``, or ``auto``: numbers with more than ten distinct values are measurements, all else classes.
    names : (n,) of the cases, for error messages.

    Raises
    ------
    BrainIACError : a cell that is no number where one is needed; too few classes.
    """
    if kind not in ("auto", *KINDS):
        raise BrainIACError(f"The kind '{kind}' does not exist; choose one of: auto, {', '.join(KINDS)}.")
    if kind == "auto":
        many = len(set(texts)) > MOST_CLASSES_OF_NUMBERS
        kind = "regression" if many and all(_is_number(text) for text in texts) else "classification"
    if kind == "classification":
        classes = tuple(sorted(set(texts), key=lambda text: (not _is_number(text), _sort_key(text))))
        if len(classes) < 2:
            raise BrainIACError(f"The column '{name}' says '{classes[0]}' for every case; two classes are needed.")
        if len(classes) > len(texts) / 3 and all(map(_is_number, classes)):
            raise BrainIACError(
                f"The column '{name}' has {len(classes)} different numbers in {len(texts)} cases, too many for "
                "classes; learn it as a measurement (kind 'regression')."
            )
        if len(classes) > len(texts) / 3:
            raise BrainIACError(
                f"The column '{name}' has {len(classes)} different words in {len(texts)} cases, too many for classes "
                "and not all numbers; correct it."
            )
        return Target(name, kind, np.array([classes.index(text) for text in texts]), classes)
    values = _numbers(name, texts, names)
    unit = next((unit for unit in UNITS if re.search(rf"(^|_){unit}$", name)), "years" if name == "age" else None)
    if kind == "regression":
        if np.ptp(values) == 0:
            raise BrainIACError(f"The column '{name}' has the same value in every case; there is nothing to learn.")
        return Target(name, kind, values, unit=unit or f"units of {name}")
    died = _numbers("event", events or [], names) if events else None
    if died is None or not np.isin(died, (0, 1)).all() or (values <= 0).any():
        raise BrainIACError("Survival needs times above 0 and a column of events with 1 (happened) or 0 (censored).")
    if died.sum() < LEAST_PER_CLASS:
        raise BrainIACError(f"Only {int(died.sum())} cases have an event; survival cannot be learned from them.")
    return Target(name, kind, values, events=died == 1, unit=unit or "months")


def _is_number(text: str) -> bool:
    try:
        return np.isfinite(float(text))
    except ValueError:
        return False


def _sort_key(text: str):
    return (float(text), text) if _is_number(text) else (0.0, text)


def _numbers(column: str, texts: Sequence[str], names: Sequence[str]) -> np.ndarray:
    for text, name in zip(texts, names, strict=True):
        if not _is_number(text):
            raise BrainIACError(
                f"'{text}' in the column '{column}' (case {name}) is not a number; correct or empty it."
            )
    return np.array([float(text) for text in texts])
