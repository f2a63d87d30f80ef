"""The rows of a manifest: ``scan`` (relative to the manifest), best with ``patient``; what further columns say is kept.

Columns that have a meaning are found in any case of letters: ``scan``, ``patient``, ``session``, ``sequence``,
``dataset``, ``site``, ``role``, ``age_years``. A sequence is called by its name in ``BrainIACLib.sequences``, where it
is a synonym of one.
"""

from __future__ import annotations

import contextlib
import gc
import os
import unicodedata
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from BrainIACLib.errors import ManifestError
from BrainIACLib.manifests.csv_files import read_rows
from BrainIACLib.sequences import sequence_named

KNOWN = ("scan", "patient", "session", "sequence", "dataset", "site", "role", "age_years")
PROBLEMS_SHOWN = 5


class Row(NamedTuple):
    """One scan: the line that names it (0: none does), where it lies, and what is known of it. A tuple with
    text, since a manifest may have a million."""

    line: int
    place: str
    facts: dict[str, str]

    @property
    def path(self) -> Path:
        """Where it lies."""
        return Path(self.place)


@contextlib.contextmanager
def collecting_later() -> Iterator[None]:
    """Without Python's search for cycles of objects, which would look at all rows again and again as more come."""
    if not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
    finally:
        gc.enable()


@collecting_later()
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
    renamed = any(old != new for old, new in called.items())
    folder = "" if path.parent == Path() else os.path.join(path.parent, "")
    kinds: dict[str, str] = {}  # what the manifest writes -> the name of the sequence
    found = []
    for line, cells in rows:
        facts = {called[name]: cell for name, cell in cells.items()} if renamed else cells
        if said := facts.get("sequence"):
            if said not in kinds:
                kind = sequence_named(said)
                kinds[said] = said if kind is None else kind.name
            facts["sequence"] = kinds[said]
        found.append(Row(line, _joined(folder, facts["scan"]), facts))
    refuse_problems(path, check_rows(found, needed))
    return found


def absolute_places(rows: Sequence[Row]) -> list[str]:
    """``os.path.abspath`` of where each row's scan lies."""
    here = os.path.join(os.path.abspath(""), "")
    return [_normal(_joined(here, row.place)) for row in rows]


# the two below are os.path.join and os.path.normpath, which take a second each over a million paths that need nothing


def _joined(folder: str, place: str) -> str:
    return folder + place if os.sep == "/" and not place.startswith("/") else os.path.join(folder, place)


def _normal(place: str) -> str:
    plain = os.sep == "/" and "//" not in place and "/." not in place and not place.endswith("/")
    return place if plain else os.path.normpath(place)


def check_rows(rows: Sequence[Row], needed: Sequence[str] = ("scan",)) -> list[tuple[int, str]]:
    """(line, what is wrong with it): an empty cell of a needed column, one file or folder in two rows, one person
    spelled in two ways."""
    problems: list[tuple[int, str]] = []
    scans: dict[str, int] = {}
    people: dict[tuple[str, str], tuple[str, int]] = {}
    checked: set[tuple[str, str]] = set()  # dataset and patient, as they were spelled first
    for row, place in zip(rows, absolute_places(rows), strict=True):
        line, _, facts = row
        problems += [(line, f"{name} is empty") for name in needed if not facts.get(name)]
        if facts.get("scan"):
            first = scans.setdefault(os.path.normcase(place), line)
            if first != line:
                problems.append((line, f"the scan '{facts['scan']}' stands in line {first} already"))
        patient, dataset = facts.get("patient", ""), facts.get("dataset", "")
        if patient and (dataset, patient) not in checked:
            plain = unicodedata.normalize("NFC", patient).casefold().removeprefix("sub-")
            spelled, first = people.setdefault((dataset, plain), (patient, line))
            if spelled == patient:
                checked.add((dataset, patient))
            else:
                problems.append((line, f"the patient '{patient}' is spelled '{spelled}' in line {first}"))
    return problems


def refuse_problems(name: Path | str, problems: Sequence[tuple[int, str]]) -> None:
    """Raises ManifestError with the first of the problems and their lines, if there are any."""
    if not problems:
        return
    ordered = sorted(problems)
    shown = "; ".join(f"line {line}: {text}" for line, text in ordered[:PROBLEMS_SHOWN])
    more = f"; {len(ordered) - PROBLEMS_SHOWN} more" if len(ordered) > PROBLEMS_SHOWN else ""
    raise ManifestError(f"'{name}' cannot be used: {shown}{more}. Correct the table and run the command again.")
