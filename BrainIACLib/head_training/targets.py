"""What a head is to learn: classes, a number, or survival times, read from text columns and checked."""

from __future__ import annotations

import re
from collections import Counter
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

    @property
    def happened(self) -> np.ndarray:
        """(n,) bool: the events of a target of survival."""
        assert self.events is not None
        return self.events

    def rows(self, keep: np.ndarray) -> Target:
        """The target of some cases."""
        events = None if self.events is None else self.events[keep]
        return Target(self.name, self.kind, self.values[keep], self.classes, events, self.unit)


def read_target(
    name: str, texts: Sequence[str], kind: str, events: Sequence[str] | None, names: Sequence[str]
) -> Target:
    """The target of cases that all have one.

    Parameters
    ----------
    texts, events : (n,) cells; ``events`` is 1 for died, 0 for censored, and only used for survival.
    kind : one of ``KINDS``, or ``auto``: numbers with more than ten distinct values are measurements, all else classes.
    names : (n,) of the cases, for error messages.

    Raises
    ------
    BrainIACError : a cell that is no number where one is needed, with its case; too few classes.
    """
    if kind not in ("auto", *KINDS):
        raise BrainIACError(f"The kind '{kind}' does not exist; choose one of: auto, {', '.join(KINDS)}.")
    if kind == "auto":
        many = len(set(map(_spelled, texts))) > MOST_CLASSES_OF_NUMBERS
        kind = "regression" if many and all(_is_number(text) for text in texts) else "classification"
    if kind == "classification":
        classes = tuple(sorted(set(texts), key=lambda text: (not _is_number(text), _sort_key(text))))
        if len(classes) < 2:
            raise BrainIACError(
                f"The column '{name}' says '{classes[0]}' for every case; two classes are needed. Choose another "
                "column, or add cases."
            )
        if len(classes) > len(texts) / 3 and all(map(_is_number, classes)):
            raise BrainIACError(
                f"The column '{name}' has {len(classes)} different numbers in {len(texts)} cases, too many for "
                "classes; learn it as a measurement (kind 'regression')."
            )
        if len(classes) > len(texts) / 3:
            odd = [f"'{text}' (case {case})" for text, case in zip(texts, names, strict=True) if not _is_number(text)]
            if len(odd) < len(texts) / 2:
                raise BrainIACError(
                    f"The column '{name}' holds numbers but for {len(odd)} of {len(texts)} cells: {', '.join(odd[:5])}"
                    f"{' ...' if len(odd) > 5 else ''}; correct or empty them."
                )
            raise BrainIACError(
                f"The column '{name}' has {len(classes)} different words in {len(texts)} cases, too many for classes "
                "and not all numbers; correct it."
            )
        return Target(name, kind, np.array([classes.index(text) for text in texts]), classes)
    values = _numbers(name, texts, names)
    unit = next((unit for unit in UNITS if re.search(rf"(^|_){unit}$", name)), "years" if name == "age" else None)
    if kind == "regression":
        if np.ptp(values) == 0:
            raise BrainIACError(
                f"The column '{name}' has the same value in every case; there is nothing to learn. Choose another "
                "column."
            )
        return Target(name, kind, values, unit=unit or f"units of {name}")
    if not events:
        raise BrainIACError(
            "Survival needs times above 0 and a column of events with 1 (happened) or 0 (censored); correct "
            "these columns."
        )
    died = _numbers("event", events, names)
    for wrong, what in ((~np.isin(died, (0, 1)), "an event is"), (values <= 0, "a time is")):
        if wrong.any():
            cell = events[int(np.argmax(wrong))] if what == "an event is" else texts[int(np.argmax(wrong))]
            raise BrainIACError(
                f"Survival needs times above 0 and a column of events with 1 (happened) or 0 (censored): {what} "
                f"'{cell}' (case {names[int(np.argmax(wrong))]})."
            )
    if died.sum() < LEAST_PER_CLASS:
        raise BrainIACError(
            f"Only {int(died.sum())} cases have an event; survival cannot be learned from them. Add cases with an "
            "event."
        )
    return Target(name, kind, values, events=died == 1, unit=unit or "months")


def one_spelling(name: str, texts: Sequence[str], notes: list[str]) -> list[str]:
    """The cells with one spelling for each class: "1" and "1.0" are one, and so are "Ill" and "ill".

    The most frequent spelling stands for all; ``notes`` gets those that differ in more than the form of a number.
    """
    spellings: dict[object, Counter[str]] = {}
    for text in texts:
        spellings.setdefault(_spelled(text), Counter())[text] += 1
    for counts in spellings.values():
        if len(counts) > 1 and not all(_is_number(text) for text in counts):
            notes.append(f"One class of '{name}': {' = '.join(repr(text) for text, _ in counts.most_common())}.")
    shown = {key: min(counts, key=lambda text: (-counts[text], len(text), text)) for key, counts in spellings.items()}
    return [shown[_spelled(text)] for text in texts]


def _spelled(text: str) -> object:
    return float(text) if _is_number(text) else " ".join(text.casefold().split())


def _is_number(text: str) -> bool:
    try:
        return bool(np.isfinite(float(text)))
    except ValueError:
        return False


def _sort_key(text: str) -> tuple[float, str]:
    return (float(text), text) if _is_number(text) else (0.0, text)


def _numbers(column: str, texts: Sequence[str], names: Sequence[str]) -> np.ndarray:
    for text, name in zip(texts, names, strict=True):
        if not _is_number(text):
            raise BrainIACError(
                f"'{text}' in the column '{column}' (case {name}) is not a number; correct or empty it."
            )
    return np.array([float(text) for text in texts])
