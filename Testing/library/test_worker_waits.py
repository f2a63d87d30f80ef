"""Every wait for the worker has an end, and the death of each thread is noticed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from BrainIACLib.errors import Cancelled, RequestError
from BrainIACLib.job import Job
from BrainIACLib.private_folder import new_private_folder
from BrainIACLib.worker import protocol
from BrainIACLib.worker.client import LIBRARY_ROOT, Client
from BrainIACLib.worker.conversation import Conversation, Reply, WorkerError
from BrainIACLib.worker.requests import Predict, Status, TrainHead

posix_only = pytest.mark.skipif(os.name != "posix", reason="sends POSIX signals")
LARGE = TrainHead(Path("t.csv"), "a", "b", facts=tuple({"scan": "x" * 100} for _ in range(20_000)))  # 2 MB: no pipe's


@contextlib.contextmanager
def running(*arguments: str):
    """A worker that has said hello."""
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen([sys.executable, *arguments], cwd=LIBRARY_ROOT, **pipes) as process:
        assert protocol.decode(process.stdout.readline())["type"] == "hello"
        yield process
        process.kill()


@pytest.fixture
def raw_worker():
    with running("-m", "BrainIACLib.worker", str(new_private_folder())) as process:
        yield process


def ask(process, *lines: bytes) -> list[dict]:
    """The answer to each line."""
    process.stdin.write(b"".join(line + b"\n" for line in lines))
    process.stdin.flush()
    return [protocol.decode(process.stdout.readline()) for _ in lines]


def test_an_odd_message_costs_no_thread_and_the_worker_ends_when_told(raw_worker):
    odd = [{"type": kind, "id": number} for kind in ("cancel", "request") for number in ([1], {}, None, "1", 1.5, True)]
    answers = ask(raw_worker, *(json.dumps(message).encode() for message in odd))
    assert {(answer["type"], answer["id"]) for answer in answers} == {("error", None)}
    (answer,) = ask(raw_worker, json.dumps({"type": "request", "id": 7, "action": ["a"], "arguments": 3}).encode())
    assert (answer["id"], answer["kind"]) == (7, "RequestError")
    raw_worker.stdin.write(protocol.encode({"type": "shutdown"}))
    raw_worker.stdin.flush()
    assert raw_worker.wait(300) == 0


def test_the_death_of_the_thread_that_reads_ends_the_process():
    """In a process of its own, whose source fails as no source should."""
    program = """
from pathlib import Path
import sys
from BrainIACLib.worker.__main__ import Worker
class Source:
    def readline(self, size):
        raise RuntimeError("the source is gone")
Worker(Path("no-such-folder"), None, Source(), sys.stdout.buffer).run()
"""
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=LIBRARY_ROOT, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 1
    assert "the source is gone" in done.stderr


def test_a_library_that_wants_to_exit_fails_its_request_only():
    program = """
import sys
from pathlib import Path
from BrainIACLib.worker.__main__ import Worker
def answer(action, arguments, job):
    sys.exit("a library gives up")
Worker(Path("no-such-folder"), answer, sys.stdin.buffer, sys.stdout.buffer).run()
"""
    with running("-c", program) as process:
        requests = [json.dumps({"type": "request", "id": number, "action": "Status"}).encode() for number in (1, 2)]
        answers = ask(process, *requests)
    assert all("a library gives up" in answer["message"] for answer in answers)


@posix_only
def test_a_stopped_worker_blocks_neither_a_large_request_nor_the_end():
    """Nobody empties its pipe: writing more than the pipe holds would wait for ever."""
    with Client(grace=0.5) as client:
        client.call(Status("cpu"))
        client.silence_limit = 1.0
        os.kill(client.pid, signal.SIGSTOP)
        with pytest.raises(WorkerError, match="no sign of life for 1 second"):
            client.call(LARGE)
        client.silence_limit = 300.0
        client.call(Status("cpu"))
        os.kill(client.pid, signal.SIGSTOP)
        with pytest.raises(Cancelled):
            client.call(LARGE, Job(cancelled=lambda: True))
        client.call(Status("cpu"))
        os.kill(client.pid, signal.SIGSTOP)
        pid, started = client.pid, time.monotonic()
    assert time.monotonic() - started < 100  # and not for ever
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)


def test_a_worker_that_closes_its_output_and_lives_on_is_ended(tmp_path):
    program = tmp_path / "closes.py"
    program.write_text("import os, time\nos.close(1)\ntime.sleep(600)\n")
    with Client(command=(sys.executable, str(program)), grace=0.5) as client:
        with pytest.raises(WorkerError, match="ended unexpectedly"):
            client.call(Status())
        assert client.pid is None


def small_lines(monkeypatch):
    monkeypatch.setattr(protocol, "LONGEST_LINE", 1000)


def conversation():
    outcome: list[object] = []
    talk = Conversation(lambda data: None, lambda line: None)
    return talk, outcome, Reply(outcome.append, outcome.append, lambda step, fraction: None)


def test_a_request_that_is_too_long_fails_at_once(monkeypatch):
    small_lines(monkeypatch)
    talk, outcome, reply = conversation()
    talk.request(LARGE, reply)
    assert isinstance(outcome[0], RequestError)
    assert "'TrainHead' is too long" in str(outcome[0])
    assert not talk.busy


@pytest.mark.parametrize("heard", [b"x" * 2000, protocol.encode({"type": "error", "id": None, "message": "not JSON"})])
def test_what_may_have_been_the_answer_ends_the_wait(heard, monkeypatch):
    small_lines(monkeypatch)
    talk, outcome, reply = conversation()
    talk.request(Predict("age", {}), reply)
    talk.feed(heard)
    assert isinstance(outcome[0], WorkerError)


def test_an_answer_that_is_too_long_is_an_error_and_a_line_that_is_too_long_is_one_line():
    program = """
import sys
from pathlib import Path
from BrainIACLib.worker import protocol
from BrainIACLib.worker.__main__ import Worker
protocol.LONGEST_LINE = 1000
much = {"much": "y" * 2000}
Worker(Path("no-such-folder"), lambda *request: much, sys.stdin.buffer, sys.stdout.buffer).run()
"""
    with running("-c", program) as process:
        garbage, answer = ask(process, b"z" * 5000, b'{"type": "request", "id": 1, "action": "Status"}')
    assert (garbage["type"], garbage["id"]) == ("error", None)
    assert (answer["type"], answer["id"]) == ("error", 1)
    assert "too long" in answer["message"]


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="needs named pipes")
@pytest.mark.parametrize(
    "arguments",
    [
        ("sequence", "pipe.nii.gz"),
        ("embed", "--manifest", "pipe.csv", "--out", "t.csv"),
        ("train-head", "--embeddings", "pipe.csv", "--target", "a", "--task", "b"),
        ("models", "import", "pipe.nii.gz"),
    ],
)
def test_a_pipe_without_a_writer_is_refused(arguments, tmp_path, monkeypatch, capsys):
    from BrainIACLib.cli import main
    from BrainIACLib.scans import read_scan

    monkeypatch.chdir(tmp_path)
    for name in ("pipe.nii.gz", "pipe.csv"):
        os.mkfifo(name)
    if arguments[0] == "sequence":  # without the seconds that a worker takes to start
        with pytest.raises(Exception, match="a pipe or a device"):
            read_scan(arguments[1])
        return
    assert main(arguments) == 1
    assert "not a file" in capsys.readouterr().err
