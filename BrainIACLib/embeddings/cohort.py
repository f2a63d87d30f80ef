"""Which scans to embed: a manifest in CSV, or files that a person names."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.errors import BrainIACError

COMPUTED = ("sha256", "preprocessing_sha256", "model", "encoder_sha256", "preset", "warnings")


@dataclass(frozen=True)
class Case:
    """One scan to embed: where it lies, and what the table is to say of it (``scan``, ``patient``, labels, ...)."""

    path: Path
    facts: dict[str, str]


def cases_of_files(paths: Sequence[Path]) -> list[Case]:
    """Scans without a manifest: nothing is known of them."""
    return [Case(path, {"scan": str(path)}) for path in paths]


def read_cohort(manifest: Path) -> list[Case]:
    """The rows of a manifest: ``scan`` (relative to it), best with ``patient``; ``session``, ``sequence``, labels.

    Raises
    ------
    BrainIACError : the file cannot be read, has no column ``scan``, or a row names no scan or one that is not there.
    """
    try:
        with manifest.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file)
            rows, names = list(reader), list(reader.fieldnames or ())
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise BrainIACError(f"The manifest '{manifest}' cannot be read as CSV ({error}).") from None
    if "scan" not in names or len(set(names)) != len(names):
        raise BrainIACError(f"The manifest '{manifest}' needs a column 'scan' with paths, and each column once.")
    reserved = sorted(set(names) & set(COMPUTED)) + [name for name in names if name[:1] == "e" and name[1:].isdigit()]
    if reserved:
        raise BrainIACError(f"The manifest '{manifest}' has columns with names that mean something else: {reserved}.")
    if not rows:
        raise BrainIACError(f"The manifest '{manifest}' has no rows.")
    cases = []
    for number, row in enumerate(rows, start=2):
        facts = {name: (row[name] or "").strip() for name in names}
        if None in row or any(row[name] is None for name in names):
            raise BrainIACError(f"Line {number} of '{manifest}' has another number of cells than its first line.")
        path = manifest.parent / facts["scan"]
        if not facts["scan"] or not path.exists():
            raise BrainIACError(f"Line {number} of '{manifest}': the scan '{facts['scan']}' does not exist.")
        cases.append(Case(path, facts))
    return cases
