"""New heads: embed cases, train on them, install the head."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.checkpoints.store import user_folders
from BrainIACLib.embeddings.cohort import Case
from BrainIACLib.embeddings.files import read_table
from BrainIACLib.embeddings.store import Embedded, embed_cohort
from BrainIACLib.embeddings.table import EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.scans import Scan, read_scan
from BrainIACLib.worker.answering import answer
from BrainIACLib.worker.device import pick_device
from BrainIACLib.worker.requests import EmbedCases, InstallHead, TrainHead
from BrainIACLib.worker.scan_files import read_handed_over
from BrainIACLib.worker.session import Session


@answer.register
def embed(request: EmbedCases, session: Session, job: Job) -> dict[str, Any]:
    """Cases become a table of embeddings."""
    originals = {case.path: case.original for case in request.cases}
    cases = [Case(case.path, dict(case.facts)) for case in request.cases]
    finished = delivered = 0

    def read(path: Path) -> Scan:
        return read_handed_over(path, originals[path], request.series, request.frame)[0]

    def done(case: Case, failure: str | None) -> None:
        nonlocal finished, delivered
        finished += 1
        if finished > delivered:  # not again where the work begins again on the CPU
            delivered = finished
            job.deliver({"file": str(case.path), "error": failure})

    def told(step: str, fraction: float) -> None:
        where = f"scan {min(finished + 1, len(cases))} of {len(cases)}: {step}"
        job.progress(where, (finished + fraction) / len(cases))

    def on(device: str) -> Embedded:
        nonlocal finished
        finished = 0  # those that are done already are read from the journal
        return embed_cohort(
            cases,
            request.out,
            Predictor(device, session.models),
            model_id=request.model,
            options=request.options,
            mask=read_scan(request.mask).image if request.mask else None,
            series_uid=request.series,
            frame=request.frame,
            replace=request.replace,
            read=read,
            done=done,
            job=Job(told, job.cancelled),
        )

    embedded = session.on_device(pick_device(request.device).name, on)
    return {
        "scans": 0 if embedded.table is None else len(embedded.table),
        "computed": embedded.computed,
        "reused": embedded.reused,
        "failures": dict(embedded.failures),
        "model": find_encoder(session.models, request.model).contract.id,
        "size": 0 if embedded.table is None else embedded.table.embeddings.shape[1],
    }


@answer.register
def train(request: TrainHead, session: Session, job: Job) -> dict[str, Any]:
    """A head on a table of embeddings; it is remembered until it is installed or another one is trained."""
    from BrainIACLib.head_training.decisions import accepted_rows
    from BrainIACLib.head_training.labels import with_labels
    from BrainIACLib.head_training.report import report_to_json
    from BrainIACLib.head_training.training import train_head

    session.trained = None
    table = with_facts(read_table(request.table), request.facts)
    if request.decisions is not None:
        table = accepted_rows(table, request.decisions)
    for path in request.labels:
        table = with_labels(table, path)
    prepared = ("table", "facts", "labels", "decisions")
    names = [field.name for field in dataclasses.fields(request) if field.name not in prepared]
    session.trained = train_head(table, job=job, **{name: getattr(request, name) for name in names})
    return report_to_json(session.trained.report)


@answer.register
def install(request: InstallHead, session: Session, job: Job) -> dict[str, Any]:
    """The trained head becomes a task."""
    if session.trained is None:
        raise BrainIACError("No head is trained yet; train one first.")
    store = request.store or user_folders()[0]
    folder = session.trained.install(store, folders=session.models, replace=request.replace)
    cases = session.trained.cases
    return {"id": folder.name, "folder": str(folder), "slots": list(cases.slots), "complete": cases.complete}


def with_facts(table: EmbeddingTable, facts: Sequence[Mapping[str, str]]) -> EmbeddingTable:
    """The rows of the table that ``facts`` names under "scan", with these facts instead of the table's.

    Labels may be corrected after the embeddings were computed. Without facts, the table as it is.

    Raises
    ------
    BrainIACError : no row of the table is named.
    """
    if not facts:
        return table
    known = {row["scan"]: row for row in facts}
    keep = np.flatnonzero([scan in known for scan in table.columns["scan"]])
    if not len(keep):
        raise BrainIACError("None of these scans is in the embeddings file; click Embed first.")
    table = table.rows(keep)
    rows = [known[scan] for scan in table.columns["scan"]]
    names = dict.fromkeys(name for row in rows for name in row)
    columns = {name: np.array([row.get(name, "") for row in rows], dtype=np.str_) for name in names}
    return EmbeddingTable({**table.columns, **columns}, table.embeddings)
