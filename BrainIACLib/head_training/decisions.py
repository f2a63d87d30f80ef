"""What a person decided on the quality page of a batch: which scans are fit to learn from."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from BrainIACLib.embeddings.table import EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.manifests import read_rows

STUDY = "of_study"  # column of a batch by study: as the quality page calls it
ACCEPT, REJECT = "accept", "reject"


def decisions_in(path: Path) -> dict[str, str]:
    """scan -> "accept" or "reject", of ``decisions.csv`` (columns ``scan`` and ``decision``).

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
    decided = {}
    for line, cells in rows:
        decision = cells["decision"].casefold()
        if decision not in ("", ACCEPT, REJECT):
            raise BrainIACError(
                f"Line {line} of '{path}' says '{cells['decision']}'; a decision is {ACCEPT}, {REJECT} or empty."
            )
        if decision:
            decided[cells["scan"]] = decision
    return decided


def rejected_in(path: Path) -> set[str]:
    """The scans that were rejected. Raises as ``decisions_in``."""
    return {scan for scan, decision in decisions_in(path).items() if decision == REJECT}


def accepted_rows(table: EmbeddingTable, path: Path) -> EmbeddingTable:
    """The table without the scans, or the scans of the studies, that were rejected; those without a decision stay.

    Raises
    ------
    BrainIACError : as ``rejected_in``, or no scan of the table is left.
    """
    rejected = sorted(rejected_in(path))
    kept = ~np.isin(table.columns["scan"], rejected)
    if STUDY in table.columns:
        kept &= ~np.isin(table.columns[STUDY], rejected)
    if not kept.any():
        raise BrainIACError(f"'{path}' rejects every scan of the table of embeddings; nothing is left to learn from.")
    return table.rows(kept)
