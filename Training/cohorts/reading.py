"""What the readers of public cohorts share: finding scans by their names, clinical tables, writing the manifest."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from BrainIACLib.errors import ManifestError
from BrainIACLib.publishing import write_text
from Training.data.manifest import read_manifest
from Training.tasks import TASKS

BRATS_2021 = r"BraTS2021_\d{5}"
TCIA_CROSSWALK = ("BraTS2021_MappingToTCIA*.csv", "PatientID on TCIA Radiology Portal", "BraTS2021 ID")
"""TCIA's table of who is who in BraTS 2021: file name, column of the collections' own ids, column of BraTS 2021 ids."""
NO_CROSSWALK = ("no crosswalk to BraTS: people who are in BraTS, too, are not named (see this cohort's page)",)
FACTS = ("scan", "patient", "dataset", "session", "sequence", "role", "age_years", "same_person_as")
LABELS = tuple(dict.fromkeys(column.name for task in TASKS.values() for column in task.columns))
COLUMNS = tuple(dict.fromkeys((*FACTS, *LABELS)))


@dataclass(frozen=True)
class Found:
    """What a reader found: one dictionary a scan with some of ``COLUMNS`` (``scan`` a path), and remarks on it."""

    rows: list[dict]
    remarks: tuple[str, ...]


def files_matching(folder: Path, pattern: re.Pattern, cohort: str) -> Iterator[tuple[Path, re.Match]]:
    """Every file below ``folder`` whose name matches, in the order of the paths.

    Raises
    ------
    ManifestError : the folder is missing, or no file matches; the message names an expected file name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise ManifestError(f"There is no folder '{folder}'; give the one that the {cohort} archive was unpacked into.")
    found = False
    for path in sorted(folder.rglob("*.nii*")):
        match = pattern.fullmatch(path.name)
        if match is not None:
            found = True
            yield path, match
    if not found:
        raise ManifestError(
            f"'{folder}' holds no scan of {cohort}: no file name is like {pattern.pattern}; give the folder that the "
            "archive was unpacked into."
        )


def clinical_table(
    path: Path | None, folder: Path, patterns: Iterable[str], columns: Iterable[str], option: str = "--clinical"
) -> pd.DataFrame:
    """The clinical table as text: ``path``, or the one file below ``folder`` with a name like ``patterns``.

    ``option`` is the one that gives ``path``, for the messages.

    Raises
    ------
    ManifestError : not there, several, unreadable, or without one of ``columns``.
    """
    if path is None:
        found = sorted({file for pattern in patterns for file in Path(folder).rglob(pattern)})
        if len(found) != 1:
            what = f"{len(found)} tables" if found else "no table"
            raise ManifestError(
                f"'{folder}' holds {what} like {' or '.join(patterns)}; say which one with {option} FILE."
            )
        path = found[0]
    path = Path(path)
    try:
        if path.suffix.lower() in (".xls", ".xlsx"):
            table = pd.read_excel(path, dtype=str, keep_default_na=False)
        else:
            separator = "\t" if path.suffix.lower() in (".tsv", ".txt") else ","
            table = pd.read_csv(path, dtype=str, keep_default_na=False, sep=separator, encoding="utf-8-sig")
    except ImportError:
        raise ManifestError(f"'{path}' is an Excel file; save it as CSV and give that with {option}.") from None
    except (OSError, ValueError) as error:
        raise ManifestError(f"The table '{path}' cannot be read ({error}).") from None
    table.columns = [str(name).strip() for name in table.columns]
    missing = [name for name in columns if name not in table]
    if missing:
        raise ManifestError(
            f"The table '{path}' has no column '{missing[0]}' (it has {', '.join(table.columns[:8])} ...); "
            "take the table that the cohort's page names."
        )
    return table.apply(lambda column: column.str.strip())


def crosswalk(path: Path | None, folder: Path, pattern: str, key: str, name: str) -> dict[str, str] | None:
    """Column ``key`` of a table of names -> the BraTS 2021 ids in its column ``name``, joined by ";" (C-09).

    None where ``path`` is not given and ``folder`` has no CSV like ``pattern``: the table is another download.
    """
    if path is None and not any(Path(folder).rglob(pattern)):
        return None
    table = clinical_table(path, folder, (pattern,), (key, name), "--crosswalk")
    table = table[table[name].str.fullmatch(BRATS_2021) & (table[key] != "")]
    return table.groupby(key)[name].agg(lambda ids: ";".join(sorted(set(ids)))).to_dict()


def number(text: str) -> float | str:
    """A finite number, or "" for anything else that tables write where nothing is known."""
    try:
        value = float(text)
    except ValueError:
        return ""
    return value if abs(value) < float("inf") else ""


def one_row_each(table: pd.DataFrame, key: str) -> tuple[dict[str, dict], int]:
    """The rows by ``key``, and how many keys were dropped because their rows contradict each other."""
    rows, dropped = {}, 0
    for name, group in table.drop_duplicates().groupby(key, sort=False):
        if len(group) > 1:
            dropped += 1
        else:
            rows[str(name)] = group.iloc[0].to_dict()
    return rows, dropped


def write_manifest(found: Found, out: Path) -> pd.DataFrame:
    """Write the manifest with paths relative to it, check it as every reader of it will, and return the table."""
    out = Path(out)
    out.parent.mkdir(parents=True, exist_ok=True)
    table = pd.DataFrame(found.rows, columns=list(COLUMNS), dtype=object).fillna("")
    base = out.resolve().parent
    table["scan"] = [Path(os.path.relpath(Path(scan).resolve(), base)).as_posix() for scan in table["scan"]]
    write_text(table.to_csv(index=False), out)
    return read_manifest(out)


def remark(count: int, what: str) -> tuple[str, ...]:
    """One remark, or none where the count is zero."""
    return (f"{count} {what}",) if count else ()
