"""Columns of labels joined to a table of embeddings, and which of their cells say nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from BrainIACLib.embeddings.cohort import COMPUTED
from BrainIACLib.embeddings.table import FACTS, EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.head_training.patients import same_name
from BrainIACLib.manifests import read_rows

ABSENT = ("", "nan", "na", "n/a", "#n/a", "<na>", "null")  # what spreadsheets and pandas write for nothing
MISSING_WORDS = ("?", "??", "-", "--", ".", "*", "unknown", "unk", "missing", "not available", "not known", "n.a.")
MISSING_NUMBERS = (-9999, -999, -888, -99, -88, -77, -9, -8, -7, -1, 888, 999, 9999)


def with_labels(table: EmbeddingTable, path: Path) -> EmbeddingTable:
    """The table with the columns of a CSV file, joined by ``scan``, or by ``patient`` (and ``session``).

    Patients and sessions are the same in any spelling of ``patients.same_name``; scans, which are paths, are not.

    Raises
    ------
    BrainIACError : the file cannot be read, has no such column, or says two things of one scan.
    """
    names, rows = read_rows(path, "The file of labels")
    keys = ["scan"] if "scan" in names else [name for name in ("patient", "session") if name in names]
    if not keys or keys == ["session"]:
        raise BrainIACError(
            f"The file of labels '{path}' has no column 'scan' or 'patient' that says whose they are; its columns are "
            f"{', '.join(names) or 'none'}."
        )

    def key_of(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(text if name == "scan" else same_name(text) for name, text in zip(keys, texts, strict=True))

    labels: dict[tuple[str, ...], Mapping[str, str]] = {}
    for number, row in rows:
        if not row[keys[0]]:  # otherwise all scans without a patient would get this label
            raise BrainIACError(f"Line {number} of '{path}' has an empty '{keys[0]}'; fill it in or take the line out.")
        if labels.setdefault(key_of([row[key] for key in keys]), row) is not row:
            raise BrainIACError(
                f"Line {number} of '{path}' gives labels to '{row[keys[0]]}' a second time; keep one of the two lines."
            )
    of_rows = [labels.get(key_of(texts), {}) for texts in zip(*(table.columns[key] for key in keys), strict=True)]
    columns = {
        name: np.array([row.get(name, "") for row in of_rows], dtype=np.str_)
        for name in names
        if name not in keys and name not in COMPUTED
    }
    for name in set(columns) & set(FACTS):  # an empty cell takes nothing away, least of all who the patient is
        columns[name] = np.where(columns[name] == "", table.columns[name], columns[name])
    return EmbeddingTable({**table.columns, **columns}, table.embeddings)


def is_known(texts: np.ndarray, missing: Sequence[str] | None = None) -> np.ndarray:
    """(n,) whether a cell says anything.

    Parameters
    ----------
    missing : further cells that mean "no value"; None: ``MISSING_WORDS``.
    """
    nothing = (*ABSENT, *(MISSING_WORDS if missing is None else (code.strip().lower() for code in missing)))
    return ~np.isin(np.char.lower(np.char.strip(texts)), nothing)


def missing_named(column: str, texts: np.ndarray, known: np.ndarray) -> str | None:
    """A note of the cells that count as missing although they are not empty, with their counts."""
    said = Counter(text.strip() for text in texts[~known].tolist() if text.strip())
    if not said:
        return None
    named = ", ".join(f"'{code}' {count} times" for code, count in said.most_common())
    return (
        f"Cells of '{column}' that count as missing: {named}; other codes can be named, too (on the command line with "
        "--missing)."
    )


def refuse_missing_numbers(column: str, texts: Sequence[str]) -> None:
    """Raises BrainIACError where a number is probably a code for a missing value (-999), which a person must decide."""
    try:
        values = np.array([float(text) for text in texts])
    except ValueError:
        return  # words; each number is a name then
    for code in MISSING_NUMBERS:
        at, others = values == code, values[values != code]
        if not at.any() or not len(others):
            continue
        width = float(np.subtract(*np.percentile(others, (95, 5)))) or 1.0
        far = min(abs(code - others.min()), abs(code - others.max())) > 2 * width
        alone = (code < 0 <= others.min()) or (code > 0 and others.max() < code)
        if alone and (far or (code < 0 and at.sum() > 1)):
            raise BrainIACError(
                f"The column '{column}' holds {code} in {int(at.sum())} of {len(values)} cells, which looks like a "
                f"code for a missing value. Empty these cells, or name {code} among the labels that are no value. If "
                "it is a value, name others or none at all.",
                f"--missing={code}; --missing= with nothing behind it if it is a value",
            )
