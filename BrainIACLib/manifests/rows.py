"""The rows of a manifest: ``scan`` (relative to the manifest), best with ``patient``; what further columns say is kept.

Columns that have a meaning are found in any case of letters: ``scan``, ``patient``, ``session``, ``sequence``,
``dataset``, ``site``, ``role``, ``age_years``. A sequence is called by its name in ``BrainIACLib.sequences``, where it
is a synonym of one.
"""

from __future__ import annotations

import os
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.errors import ManifestError
from BrainIACLib.manifests.csv_files import read_rows
from BrainIACLib.sequences import sequence_named

KNOWN = ("scan", "patient", "session", "sequence", "dataset", "site", "role", "age_years")
PROBLEMS_SHOWN = 5


@dataclass(frozen=True)
class Row:
    """One scan: the line that names it (0: none does), where it lies, and what is known of it."""

    line: int
    path: Path
    facts: dict[str, str]


def read_manifest(path: Path, needed: Sequence[str] = ("scan",)) -> list[Row]:
    """The rows of a CSV file, checked as ``check_rows`` does; whether the scans are there is not asked.

    Raises
    ------
    ManifestError : the file cannot be read, lacks a needed column, has no rows, or rows contradict each other.
    """
    names, rows = read_rows(path, "The manifest", ManifestError)
    called = {name: name.casefold() if name.casefold() in KNOWN else name for name in names}
    twice = next((name for name in called.values() if list(called.values()).count(name) > 1), None)
    if twice is not None:
        raise ManifestError(f"The manifest '{path}' has the column '{twice}' twice; rename or remove one of them.")
    for name in needed:
        if name not in called.values():
            raise ManifestError(
                f"The manifest '{path}' has no column '{name}'; its columns are {', '.join(names) or 'none'}. Add "
                "or rename it."
            )
    if not rows:
        raise ManifestError(f"The manifest '{path}' has no rows; add one line a scan.")
    found = []
    for line, cells in rows:
        facts = {called[name]: cell for name, cell in cells.items()}
        kind = sequence_named(facts.get("sequence", ""))
        if kind is not None:
            facts["sequence"] = kind.name
        found.append(Row(line, path.parent / facts["scan"], facts))
    refuse_problems(path, check_rows(found, needed))
    return found


def check_rows(rows: Sequence[Row], needed: Sequence[str] = ("scan",)) -> list[tuple[int, str]]:
    """(line, what is wrong with it): an empty cell of a needed column, one file or folder in two rows, one person
    spelled in two ways."""
    problems: list[tuple[int, str]] = []
    scans: dict[str, int] = {}
    people: dict[str, tuple[str, int]] = {}
    for row in rows:
        problems += [(row.line, f"{name} is empty") for name in needed if not row.facts.get(name)]
        if row.facts.get("scan"):
            first = scans.setdefault(os.path.normcase(os.path.abspath(row.path)), row.line)
            if first != row.line:
                problems.append((row.line, f"the scan '{row.facts['scan']}' stands in line {first} already"))
        if patient := row.facts.get("patient"):
            plain = unicodedata.normalize("NFC", patient).casefold().removeprefix("sub-")
            name = f"{row.facts.get('dataset', '')} {plain}"
            spelled, first = people.setdefault(name, (patient, row.line))
            if spelled != patient:
                problems.append((row.line, f"the patient '{patient}' is spelled '{spelled}' in line {first}"))
    return problems


def refuse_problems(name: Path | str, problems: Sequence[tuple[int, str]]) -> None:
    """Raises ManifestError with the first of the problems and their lines, if there are any."""
    if not problems:
        return
    ordered = sorted(problems)
    shown = "; ".join(f"line {line}: {text}" for line, text in ordered[:PROBLEMS_SHOWN])
    more = f"; {len(ordered) - PROBLEMS_SHOWN} more" if len(ordered) > PROBLEMS_SHOWN else ""
    raise ManifestError(f"'{name}' cannot be used: {shown}{more}. Correct the table and run the command again.")
