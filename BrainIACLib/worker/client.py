"""The blocking client: one worker process, started when it is first needed and again after it died."""

from __future__ import annotations

import contextlib
import os
import queue
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import IO, Any

import BrainIACLib
from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.private_folder import new_private_folder, remove_private_folder
from BrainIACLib.worker.conversation import Conversation, Reply, WorkerError
from BrainIACLib.worker.process_group import end_group
from BrainIACLib.worker.requests import Request

LIBRARY_ROOT = Path(BrainIACLib.__file__).resolve().parents[1]  # the worker's working directory: where -m finds us
MODULE = "BrainIACLib.worker"
PIECE = 1 << 20  # bytes read at once


class Client:
    """Ask the worker and wait for the answer.

    Parameters
    ----------
    models : folders of installed models; the bundled and the imported ones if None.
    command : how to start Python; this interpreter by default.
    silence_limit : seconds without any message after which a busy worker counts as hung and is ended.
    grace : seconds that a worker has to obey a cancel before it is ended.
    """

    def __init__(
        self,
        models: Sequence[Path] | None = None,
        command: tuple[str, ...] = (sys.executable, "-m", MODULE),
        silence_limit: float = 900.0,
        grace: float = 5.0,
    ):
        self._command = command
        self._models = models
        self.silence_limit, self._grace = silence_limit, grace
        self._process: subprocess.Popen[bytes] | None = None
        self.log: deque[str] = deque(maxlen=500)

    def __enter__(self) -> Client:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The worker's process id, None while none runs."""
        return self._process.pid if self._process is not None and self._process.poll() is None else None

    def call(
        self,
        request: Request,
        job: Job = UNATTENDED,
    ) -> dict[str, Any]:
        """The value of one request.

        Raises
        ------
        WorkerError : the process ended, hung or could not start; the next call starts a new one.
        BrainIACError : what the worker answered; ``Cancelled`` after the job was.
        """
        process = self._process
        if process is None or process.poll() is not None:
            process = self._start()
        outcome: list[dict[str, Any] | BrainIACError] = []
        self._conversation.request(request, Reply(outcome.append, outcome.append, job.progress, job.deliver))
        heard, asked_to_stop = time.monotonic(), None
        while not outcome:
            with contextlib.suppress(queue.Empty):
                data = self._output.get(timeout=0.05)
                heard = time.monotonic()
                if data:
                    self._conversation.feed(data)
                else:
                    self._conversation.fail(self._ended(process))
            if outcome:
                break
            if asked_to_stop is None and job.cancelled():
                asked_to_stop = time.monotonic()
                self._conversation.cancel()
            if asked_to_stop is not None and time.monotonic() - asked_to_stop > self._grace:
                self._abandon(process, BrainIACLib.errors.Cancelled("Stopped; the analysis process had to be ended."))
            elif time.monotonic() - heard > self.silence_limit:
                self._abandon(
                    process,
                    WorkerError(
                        f"The analysis process gave no sign of life for {self.silence_limit:.0f} seconds and was "
                        "ended; try again."
                    ),
                )
        if isinstance(outcome[0], BrainIACError):
            raise outcome[0]
        return outcome[0]

    def stop(self) -> None:
        """End the worker and remove its folder; a later call starts a new one."""
        if self._process is None:
            return
        self._input.put(None)
        try:
            self._process.wait(self._grace)
        except subprocess.TimeoutExpired:
            self._end(self._process)
        remove_private_folder(self.folder)
        self._process = None

    def _start(self) -> subprocess.Popen[bytes]:
        self.stop()
        self.folder = new_private_folder()
        models = [argument for folder in self._models or () for argument in ("--models", str(folder.absolute()))]
        try:
            self._process = subprocess.Popen(
                (*self._command, str(self.folder), *models),
                cwd=LIBRARY_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            remove_private_folder(self.folder)
            raise WorkerError(
                f"The analysis process could not be started ({error.strerror}: {self._command[0]}); install "
                "BrainIAC again."
            ) from None
        self._output: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._conversation = Conversation(lambda data: self._input.put(data), self.log.append)
        self._chatter = threading.Thread(target=_pump, args=(self._process.stderr, self._log_chatter), daemon=True)
        self._chatter.start()
        threading.Thread(target=_pump, args=(self._process.stdout, self._output.put), daemon=True).start()
        self._input: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        threading.Thread(target=_write, args=(self._input, self._process.stdin), daemon=True).start()
        return self._process

    def _log_chatter(self, data: bytes) -> None:
        self.log.extend(data.decode("utf-8", "replace").splitlines())

    def _abandon(self, process: subprocess.Popen[bytes], error: BrainIACError) -> None:
        self._end(process)
        self._conversation.fail(error)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        for pid in {process.pid, self._conversation.pid}:  # two where a launcher stands in front
            if pid is not None:
                end_group(pid)
        with contextlib.suppress(subprocess.TimeoutExpired):  # in the kernel, waiting for a disk that does not answer
            process.wait(self._grace)

    def _ended(self, process: subprocess.Popen[bytes]) -> WorkerError:
        try:
            code: int | None = process.wait(self._grace)
        except subprocess.TimeoutExpired:  # it closed its output and lives on
            self._end(process)
            code = process.poll()
        self._chatter.join(1.0)
        return WorkerError(ended_unexpectedly(code, self.log))


def ended_unexpectedly(code: int | None, log: deque[str]) -> str:
    """One sentence for a worker that ended by itself, with its last words."""
    last = next((line.strip() for line in reversed(log) if line.strip()), "none")
    return f"The analysis process ended unexpectedly (code {code}; last line of its log: {last}); try again."


def _write(source: queue.SimpleQueue[bytes | None], pipe: IO[bytes]) -> None:
    """In a thread of its own, since a worker that is stopped takes nothing; None closes the pipe."""
    with contextlib.suppress(OSError):  # it just ended: its closed output tells so
        while data := source.get():
            while data:
                data = data[pipe.write(data) or 0 :]
    with contextlib.suppress(OSError):
        pipe.close()


def _pump(stream: IO[bytes], target: Callable[[bytes], None]) -> None:
    """Hand on what arrives until the pipe closes, then b""."""
    try:
        while data := os.read(stream.fileno(), PIECE):
            target(data)
    finally:
        target(b"")
