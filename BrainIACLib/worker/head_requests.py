"""The worker's actions around new heads: embed cases, train on them, install the head."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from BrainIACLib.checkpoints.store import user_folders
from BrainIACLib.embeddings.cohort import Case
from BrainIACLib.embeddings.files import read_table
from BrainIACLib.embeddings.table import EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.pipeline import PreprocessingOptions
from BrainIACLib.worker.device import pick_device
from BrainIACLib.worker.scan_files import read_handed_over


class HeadRequests:
    """Remembers the head that was trained last, until it is installed or another one is trained.

    Parameters
    ----------
    models : folders of installed models; the bundled and the imported ones if None.
    on_device : runs an act on a device, and again on the CPU if its memory was too small.
    """

    def __init__(self, models: Sequence[Path] | None, on_device: Callable):
        self._models, self._on_device = models, on_device
        self._trained = None
        self.actions = {
            "embed_cases": self._embed_cases,
            "train_head": self._train_head,
            "install_head": self._install_head,
        }

    def _embed_cases(
        self,
        progress,
        cancelled,
        cases: list[dict],
        out: str,
        model: str | None = None,
        device: str = "auto",
        bias_field: bool = True,
        brain_extraction: str = "auto",
        seed: int = 0,
    ) -> dict:
        from BrainIACLib.embeddings.store import embed_cohort

        originals = {Path(case["path"]): case.get("original") for case in cases}
        finished = 0

        def read(path: Path):
            return read_handed_over(str(path), originals[path])[0]

        def done(case: Case, failure: str | None) -> None:
            nonlocal finished
            finished += 1

        def report(step: str, fraction: float) -> None:
            progress(f"scan {min(finished + 1, len(cases))} of {len(cases)}: {step}", finished / len(cases))

        def embed(name: str):
            nonlocal finished
            finished = 0  # those that are done already are read from the journal
            return embed_cohort(
                [Case(Path(case["path"]), case["facts"]) for case in cases],
                Path(out),
                Predictor(name, self._models),
                model_id=model,
                options=PreprocessingOptions(bias_field, brain_extraction, seed=seed, device=name),
                replace=True,  # the panel's list of cases is the table: who takes a case out there means it
                read=read,
                done=done,
                progress=report,
                cancelled=cancelled,
            )

        embedded = self._on_device(pick_device(device).name, embed)
        return {
            "scans": 0 if embedded.table is None else len(embedded.table),
            "computed": embedded.computed,
            "reused": embedded.reused,
            "failures": dict(embedded.failures),
        }

    def _train_head(
        self,
        progress,
        cancelled,
        table: str,
        target: str,
        task: str,
        facts: list[dict] | None = None,
        kind: str = "auto",
        seed: int = 0,
    ) -> dict:
        from BrainIACLib.head_training.training import train_head

        self._trained = None
        labelled = with_facts(read_table(Path(table)), facts or [])
        self._trained = train_head(labelled, target, task, kind=kind, seed=seed, progress=progress, cancelled=cancelled)
        return self._trained.report

    def _install_head(self, progress, cancelled, replace: bool = False) -> dict:
        if self._trained is None:
            raise BrainIACError("No head is trained yet; train one first.")
        return {"id": self._trained.install(user_folders()[0], folders=self._models, replace=replace).name}


def with_facts(table: EmbeddingTable, facts: Sequence[dict]) -> EmbeddingTable:
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
