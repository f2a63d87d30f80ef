"""What a person decided on the quality page of a batch: which scans are fit to learn from."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.embeddings.table import EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.manifests import read_rows

STUDY = "of_study"  # column of a batch by study: as the quality page calls it
ACCEPT, REJECT = "accept", "reject"


@dataclass(frozen=True)
class Decisions:
    """``by_person``: (scan, patient or "") -> "accept" or "reject". Scans of two people may have one name."""

    by_person: dict[tuple[str, str], str]

    def keys(self, rows: Sequence[tuple[str, str]]) -> list[tuple[str, str] | None]:
        """Of each row (scan, patient or "") of a whole table, whose decision holds for it.

        It is that of its scan and patient, else of its scan without a patient. Where neither file nor table has two
        people under the name of the scan, it is that of the name: a patient may have been corrected since.
        """
        if not self.by_person:
            return [None] * len(rows)
        decided, there = _people_by_scan(self.by_person), _people_by_scan(rows)
        return [self._key(scan, patient, decided.get(scan, []), len(there[scan]) == 1) for scan, patient in rows]

    def _key(self, scan: str, patient: str, people: list[str], alone: bool) -> tuple[str, str] | None:
        if patient in people or "" in people:
            return scan, patient if patient in people else ""
        return (scan, people[0]) if alone and len(people) == 1 else None

    def rejects(self, rows: Sequence[tuple[str, str]]) -> np.ndarray:
        """(n,) whether each row of a whole table was rejected."""
        return np.array([key is not None and self.by_person[key] == REJECT for key in self.keys(rows)], bool)


def _people_by_scan(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for scan, patient in dict.fromkeys(pairs):
        found.setdefault(scan, []).append(patient)
    return found


def decisions_in(path: Path) -> Decisions:
    """What ``decisions.csv`` says (columns ``scan`` and ``decision``, best with ``patient``).

    Raises
    ------
    BrainIACError : the file cannot be read, lacks a column, or holds a decision that the page does not write.
    """
    names, rows = read_rows(path, "The table of decisions")
    absent = [name for name in ("scan", "decision") if name not in names]
    if absent:
        raise BrainIACError(
            f"The table of decisions '{path}' has no column '{absent[0]}'; export it from the quality page again."
        )
    decided: dict[tuple[str, str], str] = {}
    for line, cells in rows:
        decision = cells["decision"].casefold()
        if decision not in ("", ACCEPT, REJECT):
            raise BrainIACError(
                f"Line {line} of '{path}' says '{cells['decision']}'; a decision is {ACCEPT}, {REJECT} or empty."
            )
        if decision:
            decided[cells["scan"], cells.get("patient", "")] = decision
    return Decisions(decided)


def accepted_rows(table: EmbeddingTable, path: Path) -> EmbeddingTable:
    """The table without the scans, or the scans of the studies, that were rejected; those without a decision stay.

    Raises
    ------
    BrainIACError : as ``decisions_in``, or no scan of the table is left.
    """
    decisions = decisions_in(path)
    patients = table.columns["patient"].tolist() if "patient" in table.columns else [""] * len(table)
    kept = ~decisions.rejects(list(zip(table.columns["scan"].tolist(), patients, strict=True)))
    if STUDY in table.columns:
        kept &= ~decisions.rejects(list(zip(table.columns[STUDY].tolist(), patients, strict=True)))
    if not kept.any():
        raise BrainIACError(f"'{path}' rejects every scan of the table of embeddings; nothing is left to learn from.")
    return table.rows(kept)
