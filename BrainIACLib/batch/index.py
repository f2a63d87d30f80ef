"""The tables of a batch: ``index.parquet``, one row a scan, and ``embeddings.parquet``, which ``train-head`` reads."""

from __future__ import annotations

import contextlib
import csv
import io
import json
import typing
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from BrainIACLib.batch.cases import BatchCase
from BrainIACLib.batch.layout import Names
from BrainIACLib.batch.ledger import DONE, INDEX, ROOM, ROWS_OF_A_JOURNAL, Ledger, case_number, code_of
from BrainIACLib.embeddings.files import write_table
from BrainIACLib.embeddings.table import table_of
from BrainIACLib.foreign_text import spreadsheet_row
from BrainIACLib.head_training.decisions import STUDY, rejected_in
from BrainIACLib.publishing import Busy, locked, replacing, write_text

if typing.TYPE_CHECKING:
    import pyarrow

EMBEDDINGS, FAILURES, DECISIONS = "embeddings.parquet", "failures.csv", "decisions.csv"
# of no use in other tables
OWN = "id path case asked token turn status identity embedded files doubts not_answered".split()
FOUND = b"found"  # in the index's metadata: which columns no manifest said
MOST_EMBEDDINGS = 200_000  # of one table: 1.6 GB of numbers
SECONDS_TO_WAIT = 600.0  # for another run that writes the index
FEWEST_ROWS, SHARE = 20_000, 0.05  # of finished journals that are worth writing the index anew, the larger of both


def fold(out: Path) -> None:
    """Bring finished journals into the index, if they are many and nobody else does: then no start reads long."""
    import pyarrow.parquet

    waiting = ROWS_OF_A_JOURNAL * len(Ledger(out, read=False).finished_journals())
    if waiting < FEWEST_ROWS:
        return
    rows = pyarrow.parquet.read_metadata(out / INDEX).num_rows if (out / INDEX).is_file() else 0
    if waiting >= SHARE * rows:
        with contextlib.suppress(Busy):
            update_index(out, wait=0.0)


def update_index(out: Path, wait: float = SECONDS_TO_WAIT) -> "pyarrow.Table":
    """Bring the journals into the index and return it; finished journals are removed, once it is there.

    Raises
    ------
    Busy : another process has been at it for ``wait`` seconds.
    """
    busy = f"Another process is writing '{out / INDEX}'; wait for it."
    with locked(out / ROOM / "index.lock", busy, wait):
        ledger = Ledger(out, read=False)
        finished = ledger.finished_journals()
        rows: dict[str, dict[str, Any]] = {}
        for row in ledger.new_rows():
            other = rows.get(row["id"])
            if other is None or code_of(row) >= code_of(other):
                rows[row["id"]] = row
        before = read_index(out)
        _drop_older(rows, before)
        found = {name for row in rows.values() for name in row.get("facts", {})}
        table = _merged(before, [_flat(row) for row in rows.values()], found)
        if rows:
            _write(table, out / INDEX)
        for journal in finished:
            with contextlib.suppress(OSError):  # another process reads it: the next one removes it
                journal.unlink(missing_ok=True)
    return table


def _drop_older(rows: dict[str, dict[str, Any]], index: "pyarrow.Table") -> None:
    """Take away the rows of which the index has a later outcome: of a journal that was read before and is there yet."""
    import pyarrow
    import pyarrow.compute

    known = pyarrow.compute.is_in(index["id"], value_set=pyarrow.array(list(rows), pyarrow.string()))
    for row in index.select(["id", "status", "turn"]).filter(known).to_pylist():
        if code_of(row) > code_of(rows[row["id"]]):
            del rows[row["id"]]


def read_index(out: Path) -> "pyarrow.Table":
    """The index as it is; empty where there is none."""
    import pyarrow
    import pyarrow.parquet

    if (out / INDEX).is_file():
        return pyarrow.parquet.read_table(out / INDEX)
    return pyarrow.table({name: pyarrow.array([], kind) for name, kind in _base().items()})


def write_embeddings(out: Path, index: "pyarrow.Table") -> int:
    """``embeddings.parquet`` of all scans that are done and were not rejected in ``decisions.csv``; how many.

    Of a study these are the scans that were used.
    """
    import pyarrow.compute

    rejected = rejected_in(out / DECISIONS) if (out / DECISIONS).is_file() else set()
    rows: list[dict[str, str]] = []
    vectors = []
    done = index.filter(pyarrow.compute.equal(index["status"], DONE)).drop_columns(["failure"])
    for row in done.slice(0, MOST_EMBEDDINGS + len(rejected)).to_pylist():
        if row["scan"] in rejected or len(rows) >= MOST_EMBEDDINGS:
            continue
        texts = {name: "" if value is None else str(value) for name, value in row.items() if name not in OWN}
        for facts in embedded_scans(row):
            try:
                vectors.append(np.load(out / facts.pop("file"), allow_pickle=False))
            except (OSError, ValueError):  # taken away since
                continue
            rows.append({**texts, **facts})
    if rows:
        write_table(table_of(rows, vectors), out / EMBEDDINGS)
    return len(rows)


def embedded_scans(row: dict[str, Any]) -> list[dict[str, str]]:
    """The file of each embedding of a row of the index, and what is known of this scan alone."""
    if row.get("embedded"):
        return [{STUDY: row.get("scan", ""), **facts} for facts in json.loads(row["embedded"])]
    case = BatchCase(row["id"], row["path"], {})
    return [{"file": f"{case.folder}/{Names(case).embedding}", "sha256": row.get("identity") or ""}]


def write_failures(out: Path, index: "pyarrow.Table") -> int:
    """``failures.csv``: which scans have no results, and why; how many."""
    import pyarrow.compute

    failed = index.filter(pyarrow.compute.not_equal(index["status"], DONE))
    rows = failed.select(["scan", "path", "failure"]).to_pylist()
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
    return {
        **{name: pyarrow.string() for name in texts},
        **dict.fromkeys(("case", "asked", "token", "turn"), pyarrow.int64()),
    }


def _flat(row: dict[str, Any]) -> dict[str, object]:
    """One row of the index: the manifest's texts, and what was found, which no column of a manifest hides."""
    manifest = {name: str(text) for name, text in row["manifest"].items()}
    found = {
        name: float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
        for name, value in row.get("facts", {}).items()
    }
    own: dict[str, object] = {"id": row["id"], "path": row["path"], "status": row["status"]}
    own |= {name: int(row[name]) for name in ("asked", "token", "turn")}
    own["case"] = case_number(row["id"])
    return {**manifest, **found, **own}


def _merged(old: "pyarrow.Table", rows: list[dict[str, object]], found: set[str]) -> "pyarrow.Table":
    """The index ``old`` with new rows instead of those of the same id.

    Parameters
    ----------
    found : columns of the rows that are no manifest's.
    """
    import pyarrow
    import pyarrow.compute

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
    merged = pyarrow.concat_tables([kept, new], promote_options="default").combine_chunks()
    return merged.replace_schema_metadata({FOUND: json.dumps(sorted(found | _found_columns(old)))})


def _found_columns(index: "pyarrow.Table") -> set[str]:
    return set(json.loads((index.schema.metadata or {}).get(FOUND, b"[]")))


def tell_manifest(out: Path, cases: "pyarrow.Table") -> "pyarrow.Table":
    """Give the rows of the index what the manifest says now, and return it: a label that was corrected, or a new
    column, needs no computing. The row of a scan that now is another case's goes: its patient, session or sequence was
    corrected, and its results have another name.

    Parameters
    ----------
    cases : of a run (``id``, ``path``, ``others``, and ``facts`` as JSON), or of several, the newest first.
    """
    import pyarrow
    import pyarrow.compute

    busy = f"Another process is writing '{out / INDEX}'; wait for it."
    with locked(out / ROOM / "index.lock", busy, SECONDS_TO_WAIT):
        whole = read_index(out)
        index = whole.filter(pyarrow.compute.invert(_renamed(whole, cases)))
        said = dict(zip(cases["id"].to_pylist(), cases["facts"].to_pylist(), strict=True))
        facts = [json.loads(said[case_id]) if case_id in said else None for case_id in index["id"].to_pylist()]
        names = dict.fromkeys(name for one in facts if one for name in one)
        changed = len(index) < len(whole)
        for name in [name for name in names if name not in OWN and name not in _found_columns(index)]:
            there = name in index.column_names
            before = index[name].cast(pyarrow.string()).to_pylist() if there else [None] * len(index)
            now = [old if one is None else one.get(name) for one, old in zip(facts, before, strict=True)]
            if now != before:
                changed, column = True, pyarrow.array(now, pyarrow.string())
                place = index.column_names.index(name) if there else len(index.column_names)
                index = index.set_column(place, name, column) if there else index.append_column(name, column)
        if changed:
            _write(index, out / INDEX)
    return index


def _renamed(index: "pyarrow.Table", cases: "pyarrow.Table") -> "pyarrow.ChunkedArray":
    """(n,) of the index: whether the first case that is read from the same file has another name."""
    import pyarrow
    import pyarrow.compute

    cases = cases.select(["id", "path", "others"]).combine_chunks()
    others = pyarrow.compute.list_flatten(cases["others"])
    parents = pyarrow.compute.list_parent_indices(cases["others"])
    owners = cases["id"].take(parents)
    order = np.concatenate([np.arange(len(cases)), parents.to_numpy()])  # of which case each path is
    paths = pyarrow.chunked_array([*cases["path"].chunks, *others.chunks], pyarrow.string()).combine_chunks()
    names = pyarrow.chunked_array([*cases["id"].chunks, *owners.chunks], pyarrow.string()).combine_chunks()
    first = pyarrow.array(np.argsort(order, kind="stable"))
    paths, names = paths.take(first), names.take(first)
    now = names.take(pyarrow.compute.index_in(index["path"], value_set=paths))
    return pyarrow.compute.fill_null(pyarrow.compute.not_equal(now, index["id"]), False)


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
