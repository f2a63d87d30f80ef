"""A folder of scans, asked of the worker: the queue of ``brainiac batch``, which either goes on with."""

from __future__ import annotations

import time
from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("pyarrow", reason="needs the 'parquet' extra")

from BrainIACLib.batch import cases, local_engine, work
from BrainIACLib.batch.status import status_of
from BrainIACLib.batch.work import Work, last_run
from BrainIACLib.checkpoints.installed import find_model
from BrainIACLib.errors import BrainIACError, Cancelled, ManifestError, ScanError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.worker.handlers import batches
from BrainIACLib.worker.requests import Request, RunBatch
from BrainIACLib.worker.service import Service


def analyzed(case):
    """Instead of an analysis: a file that says "bad" fails."""
    if Path(case.path).read_bytes() == b"bad":
        raise ScanError(f"'{case.path}' is bad.")
    Here.analyzed.append(case.path)
    return {}


class Here:
    """In the place of the processes: the same cases one after the other."""

    analyzed: ClassVar[list] = []

    def __init__(self, work, run, jobs):
        self.work, self.run, self.jobs = work, run, jobs

    def go(self, numbers, told):
        work = Work(self.work.out, self.run, analyzed)
        for number in numbers:
            told(work.one(number))
        work.ledger.close()


@pytest.fixture
def ask(tmp_path, monkeypatch):
    """Five files, the second of which is bad; asks the worker's service for the folder."""
    monkeypatch.setattr(local_engine, "LocalPool", Here)
    Here.analyzed.clear()
    (tmp_path / "scans").mkdir()
    for number in range(5):
        (tmp_path / "scans" / f"scan{number}.nii.gz").write_bytes(b"bad" if number == 1 else b"good")
    (tmp_path / "private").mkdir()
    service = Service(tmp_path / "private")

    def ask(job=UNATTENDED, **changes):
        request = RunBatch(**{"source": tmp_path / "scans", "out": tmp_path / "out", **changes})
        return service.answer(Request.from_json(**request.to_json()), job)

    return ask


def test_progress_counts_scans_and_failures_and_the_end_names_page_and_reasons(ask, tmp_path):
    told = []
    found = ask(Job(lambda step, fraction: told.append((step, fraction))))
    assert (found["scans"], found["done"], found["failed"]) == (5, 4, 1)
    assert found["failures"] == [["the file is bad.", 1]]
    assert found["page"] == str(tmp_path / "out" / "report.html")
    assert (tmp_path / "out" / "index.parquet").is_file()
    assert told[1] == ("0 of 5 scans", 0.0)
    assert told[-1] == ("5 of 5 scans, 1 failed", 1.0)
    assert "left" in told[2][0]


def test_what_was_stopped_goes_on_where_it_was(ask, tmp_path):
    done = []
    with pytest.raises(Cancelled):
        ask(Job(lambda step, fraction: done.append(step), lambda: len(done) > 3))
    before = status_of(tmp_path / "out")
    assert 0 < before.left < 5
    ask()
    assert len(Here.analyzed) == len(set(Here.analyzed)) == 4  # none twice


def test_the_command_sees_what_the_worker_did(ask, tmp_path):
    ask()
    work = Work(tmp_path / "out", last_run(tmp_path / "out"))
    assert list(work.left()) == []
    work.try_failed_again()
    assert len(list(work.left())) == 1


def test_a_failed_scan_is_tried_again_where_that_is_wanted(ask, tmp_path):
    ask()
    assert ask()["failed"] == 1
    (tmp_path / "scans" / "scan1.nii.gz").write_bytes(b"mended")
    assert ask(retry_failed=True)["failed"] == 0


def test_the_models_that_the_client_chose_answer(ask, tmp_path):
    """The panel offers the first model of a task; without its id, two imported ones would be refused."""
    with pytest.raises(BrainIACError, match="No model 'imported-second' for the task 'sequence'"):
        ask(models={"sequence": "imported-second"})
    ask(models={"sequence": find_model("sequence").contract.id})


def test_a_walk_and_tables_that_take_long_are_no_silence(ask, monkeypatch):
    """The panel ends a worker that says nothing for long."""

    def slow(act):
        return lambda *arguments: (time.sleep(0.1), act(*arguments))[1]

    monkeypatch.setattr(cases, "cases_of", slow(cases.cases_of))
    monkeypatch.setattr(work, "update_index", slow(work.update_index))
    monkeypatch.setattr(batches, "SECONDS_BETWEEN_SIGNS", 0.01)
    told = []
    ask(Job(lambda step, fraction: told.append(step)))
    assert "looking for scans for a minute" in told
    assert "writing the tables and the quality page for a minute" in told


def test_an_empty_folder_is_said(ask, tmp_path):
    for path in (tmp_path / "scans").glob("*"):
        path.unlink()
    with pytest.raises(ManifestError, match="no scan"):
        ask()
    assert not (tmp_path / "out").exists()


def test_results_inside_the_folder_of_scans_are_refused_because_they_would_be_taken_for_scans(ask, tmp_path):
    with pytest.raises(BrainIACError, match="outside"):
        ask(out=tmp_path / "scans" / "results")
