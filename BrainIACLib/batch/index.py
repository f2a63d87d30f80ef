"""The tables of a batch: ``index.parquet``, one row a scan, and ``embeddings.parquet``, which ``train-head`` reads."""

from __future__ import annotations

import csv
import io
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from BrainIACLib.batch.cases import BatchCase
from BrainIACLib.batch.layout import Names
from BrainIACLib.batch.ledger import INDEX, ROOM, Ledger
from BrainIACLib.batch.work import DONE, FAILED
from BrainIACLib.embeddings.files import write_table
from BrainIACLib.embeddings.table import table_of
from BrainIACLib.foreign_text import spreadsheet_row
from BrainIACLib.manifests import read_rows
from BrainIACLib.publishing import locked, replacing, write_text

if typing.TYPE_CHECKING:
    import pyarrow

EMBEDDINGS, FAILURES, DECISIONS = "embeddings.parquet", "failures.csv", "decisions.csv"
MOST_EMBEDDINGS = 200_000  # of one table: 1.6 GB of numbers
SECONDS_TO_WAIT = 600.0  # for another run that writes the index


def update_index(out: Path) -> "pyarrow.Table":
    """Bring the journals into the index and return it; journals of finished processes are removed, once it is there."""
    busy = f"Another process is writing '{out / INDEX}'; wait for it."
    with locked(out / ROOM / "index.lock", busy, SECONDS_TO_WAIT):
        ledger = Ledger(out, read=False)
        finished = ledger.finished_journals()
        rows: dict[str, dict[str, Any]] = {}
        for row in ledger.new_rows():
            before = rows.get(row["id"])
            if before is None or before["status"] != DONE or row["status"] == DONE:
                rows[row["id"]] = row
        table = _merged(out / INDEX, [_flat(row) for row in rows.values()])
        if rows:
            _write(table, out / INDEX)
        for journal in finished:
            journal.unlink(missing_ok=True)
    return table


def read_index(out: Path) -> "pyarrow.Table":
    """The index as it is; empty where there is none."""
    import pyarrow
    import pyarrow.parquet

    if (out / INDEX).is_file():
        return pyarrow.parquet.read_table(out / INDEX)
    return pyarrow.table({name: pyarrow.array([], kind) for name, kind in _base().items()})


def write_embeddings(out: Path, index: "pyarrow.Table") -> int:
    """``embeddings.parquet`` of all scans that are done and were not rejected in ``decisions.csv``; how many."""
    rejected = rejected_scans(out)
    rows: list[dict[str, str]] = []
    vectors = []
    for row in index.select([name for name in index.column_names if name != "failure"]).to_pylist():
        if row["status"] != DONE or row["scan"] in rejected or len(rows) == MOST_EMBEDDINGS:
            continue
        case = BatchCase(row["id"], row["path"], {})
        try:
            vectors.append(np.load(out / case.folder / Names(case).embedding, allow_pickle=False))
        except (OSError, ValueError):  # taken away since
            continue
        texts = {name: "" if value is None else str(value) for name, value in row.items()}
        texts["sha256"] = texts.pop("identity", "")
        rows.append({name: text for name, text in texts.items() if name not in ("id", "path", "token", "status")})
    if rows:
        write_table(table_of(rows, vectors), out / EMBEDDINGS)
    return len(rows)


def rejected_scans(out: Path) -> set[str]:
    """The scans that a person rejected on the quality page (column ``decision``)."""
    if not (out / DECISIONS).is_file():
        return set()
    _, rows = read_rows(out / DECISIONS, "The table of decisions")
    return {cells.get("scan", "") for _, cells in rows if cells.get("decision", "").casefold() == "reject"}


def write_failures(out: Path, index: "pyarrow.Table") -> int:
    """``failures.csv``: which scans have no results, and why; how many."""
    rows = [row for row in index.select(["scan", "path", "failure", "status"]).to_pylist() if row["status"] == FAILED]
    if not rows:
        (out / FAILURES).unlink(missing_ok=True)
        return 0
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "file", "reason"])
    for row in rows:
        writer.writerow(spreadsheet_row(row[name] or "" for name in ("scan", "path", "failure")))
    write_text(text.getvalue(), out / FAILURES)
    return len(rows)


def _base() -> dict[str, Any]:
    import pyarrow

    texts = ("id", "scan", "path", "patient", "session", "sequence", "dataset", "site", "status", "failure")
    return {**{name: pyarrow.string() for name in texts}, "token": pyarrow.int64()}


def _flat(row: dict[str, Any]) -> dict[str, object]:
    """One row of the index: the manifest's texts, and what was found, which no column of a manifest hides."""
    manifest = {name: str(text) for name, text in row["manifest"].items()}
    found = {
        name: float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
        for name, value in row.get("facts", {}).items()
    }
    own = {"id": row["id"], "path": row["path"], "status": row["status"], "token": int(row["token"])}
    return {**manifest, **found, **own}


def _merged(path: Path, rows: list[dict[str, object]]) -> "pyarrow.Table":
    """The index with new rows instead of those of the same id."""
    import pyarrow
    import pyarrow.compute

    old = read_index(path.parent)
    if not rows:
        return old
    names = list(dict.fromkeys(name for row in rows for name in row))
    kinds = {**{name: _kind(rows, name, old) for name in names}, **_base()}
    columns = {name: pyarrow.array([_as(row.get(name), kind) for row in rows], kind) for name, kind in kinds.items()}
    new = pyarrow.table(columns)
    kept = old.filter(pyarrow.compute.invert(pyarrow.compute.is_in(old["id"], value_set=new["id"])))
    for name in set(kept.column_names) & set(new.column_names):
        if kept.schema.field(name).type != new.schema.field(name).type:  # text by now: a number can be told as text
            place = kept.column_names.index(name)
            kept = kept.set_column(place, name, kept[name].cast(pyarrow.string()))
    return pyarrow.concat_tables([kept, new], promote_options="default").combine_chunks()


def _kind(rows: Iterable[dict[str, object]], name: str, old: "pyarrow.Table") -> "pyarrow.DataType":
    import pyarrow

    numbers = all(isinstance(row[name], float) for row in rows if name in row)
    known = name in old.column_names and old.schema.field(name).type == pyarrow.string() and len(old)
    return pyarrow.float64() if numbers and not known else pyarrow.string()


def _as(value: object, kind: object) -> object:
    import pyarrow

    return str(value) if value is not None and kind == pyarrow.string() else value


def _write(table: "pyarrow.Table", path: Path) -> None:
    import pyarrow.parquet

    with replacing(path) as temporary:
        pyarrow.parquet.write_table(table, temporary)
