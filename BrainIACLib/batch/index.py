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
from BrainIACLib.batch.index_file import INDEX, base_columns, read_index
from BrainIACLib.batch.layout import Names
from BrainIACLib.batch.ledger import DONE, ROOM, ROWS_OF_A_JOURNAL, Ledger, case_number, code_of, turn_of
from BrainIACLib.embeddings.files import write_table
from BrainIACLib.embeddings.table import table_of
from BrainIACLib.foreign_text import spreadsheet_row
from BrainIACLib.head_training.decisions import STUDY, Decisions, decisions_in
from BrainIACLib.publishing import Busy, locked, replacing, write_text

if typing.TYPE_CHECKING:
    import pyarrow

EMBEDDINGS, FAILURES, DECISIONS = "embeddings.parquet", "failures.csv", "decisions.csv"
# of no use in other tables
OWN = "id path case asked token turn status identity embedded files doubts not_answered".split()
OWN += "later_asked later_token later_turn later_status".split()
RESERVED = {*OWN, "failure"} - {"files"}  # the last one says of a study what its files are called
FOUND = b"found"  # in the index's metadata: which columns no manifest said
MOST_EMBEDDINGS = 200_000  # of one table: 1.6 GB of numbers
SECONDS_TO_WAIT = 600.0  # for another run that writes the index
FEWEST_ROWS, SHARE = 20_000, 0.05  # of finished journals that are worth writing the index anew, the larger of both


def fold(out: Path) -> None:
    """Bring finished journals into the index, if they are many and nobody else does: then no start reads long."""
    waiting = ROWS_OF_A_JOURNAL * len(Ledger(out, read=False).finished_journals())
    if waiting < FEWEST_ROWS:
        return
    if waiting >= SHARE * len(read_index(out, ["turn"])):
        with contextlib.suppress(Busy):
            update_index(out, wait=0.0)


def update_index(out: Path, wait: float = SECONDS_TO_WAIT) -> "pyarrow.Table":
    """Bring the journals into the index and return it; finished journals are removed, once it is there.

    Raises
    ------
    Busy : another process has been at it for ``wait`` seconds.
    BrainIACError : as ``read_index``.
    """
    busy = f"Another process is writing '{out / INDEX}'; wait for it."
    with locked(out / ROOM / "index.lock", busy, wait):
        ledger = Ledger(out, read=False)
        finished = ledger.finished_journals()
        rows: dict[str, dict[str, Any]] = {}
        finished_rows: dict[str, dict[str, Any]] = {}
        for row in ledger.new_rows():
            for latest in (rows, finished_rows) if row["status"] == DONE else (rows,):
                other = latest.get(row["id"])
                if other is None or code_of(row) >= code_of(other):
                    latest[row["id"]] = row
        before = read_index(out)
        _drop_older(rows, before)
        found = {name for row in (*rows.values(), *finished_rows.values()) for name in row.get("facts", {})}
        table = _merged(before, _with_results(rows, finished_rows, before), found)
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
    for row in index.select(["id", "status", "turn", "later_status", "later_turn"]).filter(known).to_pylist():
        if code_of(row) > code_of(rows[row["id"]]):
            del rows[row["id"]]


def _with_results(
    rows: dict[str, dict[str, Any]], finished: dict[str, dict[str, Any]], index: "pyarrow.Table"
) -> list[dict[str, object]]:
    """The rows of the index; a failure under other settings becomes part of the row of the results, which stay.

    Parameters
    ----------
    finished : id -> the latest row of the journals with results.
    """
    import pyarrow
    import pyarrow.compute

    flat = {case_id: _flat(row) for case_id, row in rows.items()}
    failed = [case_id for case_id, row in rows.items() if row["status"] != DONE]
    if not failed:
        return list(flat.values())
    done = {case_id: _flat(finished[case_id]) for case_id in failed if case_id in finished}
    known = pyarrow.compute.is_in(index["id"], value_set=pyarrow.array(failed, pyarrow.string()))
    for row in index.filter(known).to_pylist():
        other = finished.get(row["id"])
        if row["status"] == DONE and (other is None or code_of(row) >= code_of(other)):
            done[row["id"]] = {name: value for name, value in row.items() if value is not None}
    for case_id, row in done.items():
        if row["asked"] != flat[case_id]["asked"]:
            failure = flat[case_id]
            later = {f"later_{name}": failure[name] for name in ("asked", "token", "turn", "status")}
            flat[case_id] = {**row, **later, "failure": failure.get("failure")}
    return list(flat.values())


def write_embeddings(out: Path, index: "pyarrow.Table") -> int:
    """``embeddings.parquet`` of all scans that are done and were not rejected in ``decisions.csv``; how many.

    Of a study these are the scans that were used.
    """
    import pyarrow.compute

    decisions = decisions_in(out / DECISIONS) if (out / DECISIONS).is_file() else Decisions({})
    rows: list[dict[str, str]] = []
    vectors = []
    done = index.filter(pyarrow.compute.equal(index["status"], DONE)).drop_columns(["failure"])
    accepted = done.filter(pyarrow.array(~decisions.rejects(people_of(done)), pyarrow.bool_()))
    for row in accepted.slice(0, MOST_EMBEDDINGS).to_pylist():
        if len(rows) >= MOST_EMBEDDINGS:
            break
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


def people_of(index: "pyarrow.Table") -> list[tuple[str, str]]:
    """Of each row the name of its scan, and its patient, as decisions have them."""
    patients = (patient or "" for patient in index["patient"].to_pylist())
    return list(zip(index["scan"].to_pylist(), patients, strict=True))


def embedded_scans(row: dict[str, Any]) -> list[dict[str, str]]:
    """The file of each embedding of a row of the index, and what is known of this scan alone."""
    if row.get("embedded"):
        return [{STUDY: row.get("scan", ""), **facts} for facts in json.loads(row["embedded"])]
    case = BatchCase(row["id"], row["path"], {})
    return [{"file": f"{case.folder}/{Names(case).embedding}", "sha256": row.get("identity") or ""}]


def write_failures(out: Path, index: "pyarrow.Table") -> int:
    """``failures.csv``: which scans have no results, and why; how many.

    Also in the file: scans whose results stand, since what failed later was under other settings.
    """
    import pyarrow.compute

    without = pyarrow.compute.not_equal(index["status"], DONE)
    rows = index.filter(_has_failed(index)).select(["scan", "path", "failure"]).to_pylist()
    if not rows:
        (out / FAILURES).unlink(missing_ok=True)
        return 0
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["scan", "file", "reason"])
    for row in rows:
        writer.writerow(spreadsheet_row(row[name] or "" for name in ("scan", "path", "failure")))
    write_text(text.getvalue(), out / FAILURES)
    return int(pyarrow.compute.sum(without).as_py() or 0)


def failures_told(out: Path) -> dict[int, tuple[str, str]]:
    """What was asked -> of the failure that came of it, as index and journals say it: the file, and the sentence."""
    columns = ["asked", "later_asked", "status", "later_status", "path", "failure"]
    rows = read_index(out, columns)
    found = {
        (row["asked"] if row["later_asked"] is None else row["later_asked"]): (row["path"], row["failure"] or "")
        for row in rows.filter(_has_failed(rows)).to_pylist()
    }
    for row in Ledger(out, read=False).new_rows():
        if row["status"] != DONE:
            found[row["asked"]] = row["path"], str(row["facts"]["failure"])
    return found


def _has_failed(index: "pyarrow.Table") -> "pyarrow.ChunkedArray":
    """(n,) whether the latest try failed; there may be results of an earlier one, under other settings."""
    import pyarrow.compute

    later = pyarrow.compute.is_valid(index["later_status"])
    return pyarrow.compute.or_(pyarrow.compute.not_equal(index["status"], DONE), later)


def _of_manifest(facts: dict[str, Any]) -> dict[str, str]:
    """What a manifest says, by column of the index: one that is called as a column of ours gets a name of its own."""
    return {f"manifest_{name}" if name in RESERVED else name: str(text) for name, text in facts.items()}


def _flat(row: dict[str, Any]) -> dict[str, object]:
    """One row of the index: the manifest's texts, and what was found, which no column of a manifest hides."""
    manifest = _of_manifest(row["manifest"])
    found = {
        name: float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else str(value)
        for name, value in row.get("facts", {}).items()
    }
    own: dict[str, object] = {"id": row["id"], "path": row["path"], "status": row["status"]}
    own |= {"asked": int(row["asked"]), "token": int(row["token"]), "turn": turn_of(row)}
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
    kinds = {**{name: _kind(rows, name, old) for name in names}, **base_columns()}
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
        ids = index["id"].to_pylist()
        facts = [_of_manifest(json.loads(said[case_id])) if case_id in said else None for case_id in ids]
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
