"""The manifest: one CSV row a scan, checked as a whole before any work starts (PROTOCOL P-02, C-08).

Columns: ``scan`` (path relative to the manifest), ``patient`` (one name per person over all datasets), ``dataset``, and
optionally ``session``, ``sequence``, ``age_years``, ``role``, ``idh`` (1 mutant, 0 wild type), ``survival_months``,
``event`` (1 died, 0 censored). Further columns are kept, as text; of them ``same_person_as`` (ids of the same person in
other datasets, separated by ";") joins people in every split and overlap check (C-09).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import pandera.pandas as pa

from BrainIACLib.errors import ManifestError
from BrainIACLib.manifests import read_manifest as read_rows_of
from BrainIACLib.manifests import refuse_problems
from BrainIACLib.sequences import ALL_NAMES, OTHER
from Training.tasks import TASKS
from Training.tasks.task import LabelColumn

SEQUENCES = (*ALL_NAMES, OTHER)
ROLES = ("pretrain", "train", "validation", "test")
REQUIRED = ("scan", "patient", "dataset")
TEXT_COLUMNS = (*REQUIRED, "session", "sequence", "role")


def read_manifest(path: Path | str, *, check_files: bool = True) -> pd.DataFrame:
    """The checked manifest.

    Parameters
    ----------
    check_files : also look whether every scan is there.

    Returns
    -------
    One row a scan, index 0..n-1. ``scan`` is an absolute path; text columns hold ``""`` and number columns NaN where
    nothing is known, and every optional column is there.

    Raises
    ------
    ManifestError : unreadable, a column missing, a value out of its range, a scan twice, a file missing, or one patient
        in two roles; with the line of the file.
    """
    path = Path(path)
    rows = read_rows_of(path, REQUIRED)
    table = check_manifest(pd.DataFrame([row.facts for row in rows]), str(path), [row.line for row in rows])
    folder = path.resolve().parent
    table["scan"] = [str(folder / scan) for scan in table["scan"]]
    if check_files:
        refuse_problems(path, [(rows[row].line, f"the file '{scan}' does not exist") for row, scan in _missing(table)])
    return table


def check_manifest(table: pd.DataFrame, name: str, lines: Sequence[int] | None = None) -> pd.DataFrame:
    """A copy with every column of the right type, or ManifestError with the line of each problem.

    Parameters
    ----------
    table : cells of any type, as read from a CSV file or made by a program.
    name : how messages call the table.
    lines : of the file, one a row; by default the rows follow a first line that names the columns.
    """
    absent = [column for column in REQUIRED if column not in table]
    if absent:
        raise ManifestError(
            f"'{name}' has no column '{absent[0]}'; the first line must name at least {', '.join(REQUIRED)}."
        )
    if table.empty:
        raise ManifestError(f"'{name}' has no rows; add one line a scan.")
    table = table.reset_index(drop=True).copy()
    lines = lines or range(2, len(table) + 2)
    problems: list[tuple[int, str]] = []
    for column in TEXT_COLUMNS:
        table[column] = _cells(table, column)
    labels = label_columns()
    for column in labels:
        cells = _cells(table, column)
        table[column] = pd.to_numeric(cells.mask(cells == ""), errors="coerce").astype(float)
        broken = (table[column].isna() & (cells != "")) | np.isinf(table[column])
        problems += [(row, f"{column} is '{cells[row]}', which is no number") for row in table.index[broken]]
    try:
        _schema(labels).validate(table, lazy=True)
    except pa.errors.SchemaErrors as found:
        for case in found.failure_cases.itertuples():
            row = 0 if case.index is None else int(case.index)
            problems.append((row, f"{case.column} is '{case.failure_case}', but {case.check}"))
    problems += _contradictions(table, lines)
    refuse_problems(name, [(lines[row], text) for row, text in problems])
    return table


def _cells(table: pd.DataFrame, column: str) -> pd.Series:
    """The column as text, "" where nothing is known."""
    if column not in table:
        return pd.Series("", index=table.index, dtype=str)
    return table[column].astype(object).where(table[column].notna(), "").astype(str).str.strip()


def _column(kind: type, check: pa.Check, **options) -> pa.Column:
    return pa.Column(kind, check, nullable=kind is float, **options)


def _one_of(allowed: tuple[str, ...]) -> pa.Check:
    return pa.Check.isin([*allowed, ""], error=f"must be empty or one of {', '.join(allowed)}")


FILLED = pa.Check(lambda cells: cells != "", error="must not be empty")


def label_columns() -> dict[str, LabelColumn]:
    """The columns of numbers that the tasks bring, by name."""
    return {column.name: column for task in TASKS.values() for column in task.columns}


def near_names(table: pd.DataFrame, labels: Iterable[str]) -> Iterator[str]:
    """A sentence for each label that nobody has, while a column is there whose name shares its first word."""
    for label in labels:
        if label in table and table[label].notna().any():
            continue
        for other in table:
            if other not in label_columns() and label.split("_")[0] in re.split("[^a-z]+", str(other).lower()):
                yield f"The column '{other}' is not read: this label is read from '{label}'."


def _schema(labels: dict[str, LabelColumn]) -> pa.DataFrameSchema:
    return pa.DataFrameSchema(
        {
            **{column: _column(str, FILLED) for column in REQUIRED},
            "sequence": _column(str, _one_of(SEQUENCES)),
            "role": _column(str, _one_of(ROLES)),
            **{name: _column(float, _allowed(column)) for name, column in labels.items()},
        }
    )


def _allowed(column: LabelColumn) -> pa.Check:
    if column.values is not None:
        return pa.Check.isin(column.values, error=column.says)
    return pa.Check.in_range(column.low, column.high, error=column.says)


def _contradictions(table: pd.DataFrame, lines: Sequence[int]) -> list[tuple[int, str]]:
    problems = []
    for row in table.index[table["scan"].duplicated() & (table["scan"] != "")]:
        first = int((table["scan"] == table["scan"][row]).idxmax())
        problems.append((row, f"the scan '{table['scan'][row]}' stands in line {lines[first]} already"))
    with_role = table[(table["role"] != "") & (table["patient"] != "")]
    for patient, rows in with_role.groupby("patient", sort=False):
        if rows["role"].nunique() > 1:
            first = rows["role"].iloc[0]
            other = rows[rows["role"] != first]
            problems.append(
                (
                    int(other.index[0]),
                    f"the patient '{patient}' has the role {other['role'].iloc[0]}, but {first} in line "
                    f"{lines[int(rows.index[0])]}; one patient must not be in two roles",
                )
            )
    half = table["survival_months"].isna() != table["event"].isna()
    problems += [(row, "survival_months and event belong together, and one is empty") for row in table.index[half]]
    return problems


def _missing(table: pd.DataFrame) -> list[tuple[int, str]]:
    return [(row, scan) for row, scan in enumerate(table["scan"]) if not Path(scan).exists()]
