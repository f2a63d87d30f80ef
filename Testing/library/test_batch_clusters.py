"""The same batch on a real Dask cluster of this computer, and on submitit's local executor."""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import types
from collections import Counter
from concurrent.futures import CancelledError
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="needs the 'cluster' extra")

from batch_cases import COUNTED, TRIED, counting, dying, trying, waiting

from BrainIACLib.batch.cases import cases_of
from BrainIACLib.batch.index import update_index
from BrainIACLib.batch.layout import begin_dataset
from BrainIACLib.batch.settings import Settings
from BrainIACLib.batch.status import status_of
from BrainIACLib.batch.work import Work, begin
from BrainIACLib.errors import BrainIACError

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills processes by signals")


@pytest.fixture
def batch(tmp_path, monkeypatch):
    """Eight cases, of which one is bad."""
    monkeypatch.setattr(Settings, "key", lambda self: "key")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join((str(Path(__file__).parent), *sys.path)))
    for number in range(8):
        (tmp_path / f"{number}.nii").write_bytes(b"bad" if number == 5 else b"scan %d" % number)
    (tmp_path / "cohort.csv").write_text("scan,patient\n" + "".join(f"{n}.nii,p{n}\n" for n in range(8)))
    out = tmp_path / "out"
    begin_dataset(out, tmp_path / "cohort.csv")
    return out, begin(out, cases_of(tmp_path / "cohort.csv"), Settings())


def check(out, run, outcomes):
    assert len(outcomes) == 8  # "known" where the worker that held an outcome died, and another one looked
    assert {outcome.status for outcome in outcomes} <= {"done", "failed", "known"}
    done = (out / COUNTED).read_text().split()
    assert sorted(done) == sorted(set(done)) == [f"{number}.nii" for number in range(8) if number != 5]
    assert list(Work(out, run).left()) == []


def test_on_submitit(batch):
    pytest.importorskip("submitit", reason="needs the 'cluster' extra")
    from BrainIACLib.batch.slurm_engine import run_on_slurm

    out, run = batch
    work, outcomes = Work(out, run), []
    numbers = list(work.left())
    run_on_slurm(work, run, numbers, outcomes.append, "cluster=local,jobs=2,mem_gb=1", process=counting)
    check(out, run, outcomes)


@pytest.fixture
def failures(batch):
    """All eight failed; by now the trouble is over, and two of the scans are bad."""
    out, run = batch
    (out.parent / "2.nii").write_bytes(b"bad")
    (out / "trouble").touch()
    first = Work(out, run, trying)
    assert Counter(first.one(number).status for number in first.left()) == {"failed": 8}
    first.ledger.close()
    (out / "trouble").unlink()
    (out / TRIED).unlink()
    return out, run


def tries(out) -> set:
    return set(Counter((out / TRIED).read_text().split()).items())


ONCE_EACH = {(f"{number}.nii", 1) for number in range(8)}


def test_an_array_tries_each_failure_once_more(failures):
    pytest.importorskip("submitit", reason="needs the 'cluster' extra")
    from BrainIACLib.batch.slurm_engine import run_on_slurm

    out, run = failures
    work, outcomes = Work(out, run), []
    work.try_failed_again()
    assert (status_of(out).failed, status_of(out).left) == (0, 8)
    run_on_slurm(work, run, list(work.left()), outcomes.append, "cluster=local,jobs=2,mem_gb=1", process=trying)
    assert Counter(outcome.status for outcome in outcomes) == {"done": 6, "failed": 2}
    assert tries(out) == ONCE_EACH
    assert work.counts() == (2, 0)


@pytest.mark.parametrize("folded", [False, True])
def test_a_task_that_begins_late_tries_no_failure_a_second_time(failures, folded):
    from BrainIACLib.batch.slurm_engine import take_part

    out, run = failures
    work = Work(out, run)
    work.try_failed_again()
    work.try_failed_again()  # of a second command at once
    work.ledger.close()
    if folded:
        assert set(update_index(out)["status"].to_pylist()) == {"again"}
    for part in (0, 1):
        take_part(part, str(out), run, 2, 1, trying)
        if folded:
            update_index(out)
    assert tries(out) == ONCE_EACH
    assert work.counts() == (2, 0)
    rows = update_index(out).to_pylist()
    assert Counter((row["status"], row["turn"]) for row in rows) == {("done", 2): 6, ("failed", 2): 2}
    work.try_failed_again()  # and once more, where that is asked for
    again = Work(out, run, trying)
    assert [again.one(number).status for number in again.left()] == ["failed", "failed"]


@pytest.mark.parametrize("what", ["changed", "failed"])
def test_an_array_that_ends_before_a_changed_scan_or_a_second_try_is_followed_by_another(batch, monkeypatch, what):
    from BrainIACLib.batch import slurm_engine

    out, run = batch
    first = Work(out, run, counting)
    assert [first.one(number).status for number in list(first.left())].count("done") == 7
    first.ledger.close()
    update_index(out)
    if what == "changed":
        (out.parent / "3.nii").write_bytes(b"another scan")
    rounds = []

    class Executor:  # whose first array ends at once
        def __init__(self, **_):
            rounds.append(len(rounds))

        update_parameters = staticmethod(lambda **_: None)
        batch = staticmethod(contextlib.nullcontext)

        def submit(self, *_):
            if rounds[-1]:
                again = Work(out, run, counting)
                for number in list(again.left()):
                    again.one(number)
                again.ledger.close()
            return types.SimpleNamespace(done=lambda: True)

    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=Executor))
    work, outcomes = Work(out, run), []
    if what == "failed":
        work.try_failed_again()
    numbers = list(work.left())
    slurm_engine.run_on_slurm(work, run, numbers, outcomes.append, "jobs=1")
    assert rounds == [0, 1]
    assert len(outcomes) == 1


def test_an_array_takes_no_outcome_of_another_runs_settings_for_its_own(batch, monkeypatch):
    from BrainIACLib.batch import slurm_engine

    out, run = batch
    with monkeypatch.context() as patch:
        patch.setattr(Settings, "key", lambda self: "another key")
        other = begin(out, cases_of(out.parent / "cohort.csv"), Settings(tasks=("age",)))

    def answer(run, process):
        work = Work(out, run, process)
        for number in list(work.left()):
            work.one(number)
        work.ledger.close()

    def failing(case):
        raise BrainIACError("No age.")

    class Executor:
        __init__ = update_parameters = staticmethod(lambda *_, **__: None)
        batch = staticmethod(contextlib.nullcontext)
        looks = 0

        def submit(self, *_):
            answer(other, failing)
            return types.SimpleNamespace(done=self.done)

        def done(self):
            self.looks += 1
            if self.looks == 2:  # once the outcomes of the other run were seen
                answer(run, counting)
            return self.looks == 2

    monkeypatch.setattr(slurm_engine, "SECONDS_BETWEEN_LOOKS", 0)
    monkeypatch.setitem(sys.modules, "submitit", types.SimpleNamespace(AutoExecutor=lambda **_: Executor()))
    work, outcomes = Work(out, run), []
    slurm_engine.run_on_slurm(work, run, list(work.left()), outcomes.append, "jobs=1")
    assert Counter(outcome.status for outcome in outcomes) == {"done": 7, "failed": 1}


@pytest.mark.parametrize("text", ["jobs", "jobs=none", "=3", "jobs=0"])
def test_options_of_slurm_that_cannot_be_read_are_named(text):
    from BrainIACLib.batch.slurm_engine import parameters_of

    with pytest.raises(BrainIACError, match="SLURM parameter"):
        parameters_of(text)


@pytest.fixture(scope="module")
def cluster():
    """Two workers, and a scheduler that blames a case for the first death."""
    distributed = pytest.importorskip("distributed", reason="needs the 'cluster' extra")
    import dask

    options = {"n_workers": 2, "threads_per_worker": 1, "dashboard_address": None, "host": "127.0.0.1"}
    with (
        pytest.MonkeyPatch.context() as patch,
        dask.config.set({"distributed.scheduler.allowed-failures": 0}),
    ):
        patch.setenv("PYTHONPATH", os.pathsep.join((str(Path(__file__).parent), *sys.path)))
        with distributed.LocalCluster(processes=True, **options) as cluster:
            yield cluster


def test_on_dask_also_where_a_worker_is_killed_in_the_middle(batch, cluster):
    from BrainIACLib.batch.dask_engine import run_on_dask

    out, run = batch
    work, outcomes = Work(out, run), []

    def told(outcome):
        if not outcomes:
            os.kill(next(iter(cluster.workers.values())).pid, signal.SIGKILL)
        outcomes.append(outcome)

    run_on_dask(work, run, list(work.left()), told, cluster.scheduler_address, process=waiting)
    check(out, run, outcomes)


def test_a_case_that_kills_dask_workers_is_recorded(batch, cluster):
    from BrainIACLib.batch.dask_engine import run_on_dask

    out, run = batch
    (out.parent / "3.nii").write_bytes(b"deadly")
    work, outcomes = Work(out, run), []
    run_on_dask(work, run, list(work.left()), outcomes.append, cluster.scheduler_address, process=dying)
    assert len(outcomes) == 8
    assert status_of(out).failed == 2
    assert any("Dask workers died" in outcome.sentence for outcome in outcomes)


def test_an_outcome_that_is_lost_before_it_is_fetched_ends_no_run():
    from BrainIACLib.batch.dask_engine import _said

    class KilledWorker(Exception):
        pass

    def future(status, error):
        def result():
            raise error

        return types.SimpleNamespace(status=status, result=result)

    died = KilledWorker("a worker died")
    assert _said(future("finished", died)) == (None, died)
    assert _said(future("finished", CancelledError())) == (None, None)
    assert _said(future("lost", died)) == (None, None)


def dask_process(kind, *arguments):
    """A scheduler or worker of its own, as a cluster has them."""
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *arguments]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def test_a_scheduler_that_restarts_in_the_middle_is_asked_again(batch, monkeypatch):
    pytest.importorskip("distributed", reason="needs the 'cluster' extra")
    from BrainIACLib.batch import dask_engine

    monkeypatch.setattr(dask_engine, "SECONDS_TO_CONNECT", 120)
    out, run = batch
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    address, outcomes, running = f"tcp://127.0.0.1:{port}", [], []

    def start():
        running.append(dask_process("scheduler", "--host", "127.0.0.1", "--port", str(port), "--no-dashboard"))
        running.append(dask_process("worker", address, "--no-nanny", "--nthreads", "1", "--no-dashboard"))

    def told(outcome):
        outcomes.append(outcome)
        if len(outcomes) == 2:
            for process in running:
                process.kill()
                process.wait()
            start()

    try:
        start()
        work = Work(out, run)
        dask_engine.run_on_dask(work, run, work.left(), told, address, process=waiting)
    finally:
        for process in running:
            process.kill()
            process.wait()
    check(out, run, outcomes)


def test_a_claim_of_a_node_that_cannot_be_reached_is_taken_over_whatever_its_clock_says(batch, monkeypatch):
    """On a file system without locks: the node's sign of life stands still, in the future of our clock."""
    from BrainIACLib.publishing import lock

    def no_locks(handle):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock, "_lock", no_locks)
    monkeypatch.setattr(lock, "SECONDS_UNTIL_DEAD", 0.3)
    out, run = batch
    work = Work(out, run, counting)
    with work.ledger.claim(work.case(2).id):
        (held,) = (out / ".brainiac" / "claims").glob("*.held")
        text = held.read_text()
    held.write_text("00000000-1 " + text.partition(" ")[2])  # of another computer
    os.utime(held, (4e9, 4e9))
    assert work.one(2).status == "busy"
    assert work.ledger.running() == 1
    time.sleep(0.4)
    assert [work.one(2).status for _ in range(3)] == ["busy", "done", "known"]
    assert not list((out / ".brainiac" / "claims").iterdir())


def test_two_runs_on_dask_and_on_this_computer_share_one_output(batch, cluster):
    from BrainIACLib.batch.dask_engine import run_on_dask

    out, run = batch
    mine, outcomes, said = Work(out, run, waiting), [], []
    here = threading.Thread(target=lambda: said.extend(mine.one(number).status for number in list(mine.left())))
    here.start()
    work = Work(out, run)
    run_on_dask(work, run, list(work.left())[::-1], outcomes.append, cluster.scheduler_address, process=waiting)
    here.join()
    check(out, run, outcomes)
    assert "busy" not in {outcome.status for outcome in outcomes}


def test_a_scheduler_that_is_not_there_is_named(batch, monkeypatch):
    pytest.importorskip("distributed", reason="needs the 'cluster' extra")
    from BrainIACLib.batch import dask_engine

    monkeypatch.setattr(dask_engine, "SECONDS_TO_CONNECT", 1)
    out, run = batch
    with pytest.raises(BrainIACError, match=r"Dask scheduler 'tcp://127.0.0.1:1' cannot be reached"):
        dask_engine.run_on_dask(Work(out, run), run, [0], print, "tcp://127.0.0.1:1")
