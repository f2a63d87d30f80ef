"""Which scans to embed: a manifest in CSV, or files that a person names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.embeddings.csv_rows import read_rows
from BrainIACLib.embeddings.image_measures import MEASURES
from BrainIACLib.errors import BrainIACError

COMPUTED = ("sha256", "preprocessing_sha256", "model", "encoder_sha256", "preset", "warnings", *MEASURES)


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
    names, rows = read_rows(manifest, "The manifest")
    if "scan" not in names:
        raise BrainIACError(
            f"The manifest '{manifest}' has no column 'scan'; its columns are {', '.join(names) or 'none'}."
        )
    reserved = sorted(set(names) & set(COMPUTED)) + [name for name in names if name[:1] == "e" and name[1:].isdigit()]
    if reserved:
        raise BrainIACError(f"The manifest '{manifest}' has columns with names that mean something else: {reserved}.")
    if not rows:
        raise BrainIACError(f"The manifest '{manifest}' has no rows.")
    cases = []
    for number, facts in rows:
        path = manifest.parent / facts["scan"]
        if not facts["scan"] or not path.exists():
            raise BrainIACError(f"Line {number} of '{manifest}': the scan '{facts['scan']}' does not exist.")
        cases.append(Case(path, facts))
    return cases
