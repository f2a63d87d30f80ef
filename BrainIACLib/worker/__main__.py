"""The worker process: ``python -m BrainIACLib.worker FOLDER``, with the protocol on standard input and output.

It ends, and removes its private folder, when its standard input closes: the program that started it is gone then.
"""

from __future__ import annotations

import argparse
import os
import queue
import shutil
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn

import BrainIACLib
from BrainIACLib.errors import BrainIACError, Cancelled
from BrainIACLib.job import Job
from BrainIACLib.private_folder import PREFIX, use_private_folder
from BrainIACLib.publishing import remove_unfinished
from BrainIACLib.worker import protocol
from BrainIACLib.worker.process_group import lead_own_group
from BrainIACLib.worker.requests import Request

if TYPE_CHECKING:
    from BrainIACLib.worker.service import Service


class Worker:
    """Reads messages in a thread of its own, so that a cancel is heard while a request is running."""

    def __init__(self, folder: Path, answer: Callable[[object, object, Job], object], source: BinaryIO, sink: BinaryIO):
        self._folder = folder
        self._answer = answer  # (action, arguments, job) -> value
        self._source, self._sink = source, sink
        self._sending = threading.Lock()
        self._requests: queue.SimpleQueue[dict[str, Any]] = queue.SimpleQueue()
        self._cancelled: set[int] = set()

    def run(self) -> NoReturn:
        """Answer requests one after the other; never returns, and the death of either thread ends the process."""
        try:
            self._send(type="hello", protocol=protocol.VERSION, pid=os.getpid(), version=BrainIACLib.__version__)
            threading.Thread(target=self._read, daemon=True).start()
            while True:
                self._handle(self._requests.get())
        except BaseException:
            traceback.print_exc()
        finally:
            self._end(1)

    def _read(self) -> None:
        status = 1
        try:
            while (line := self._line()) is not None:
                if not self._heard(line):
                    break
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            self._end(status)

    def _line(self) -> bytes | None:
        """The next line, what is too long of it left out; None at the end."""
        line = self._source.readline(protocol.LONGEST_LINE)
        if len(line) == protocol.LONGEST_LINE and not line.endswith(b"\n"):
            while (rest := self._source.readline(protocol.LONGEST_LINE)) and not rest.endswith(b"\n"):
                pass
        return line or None

    def _heard(self, line: bytes) -> bool:
        """Take one message; False when it asks to end."""
        try:
            message = protocol.decode(line)
            kind, number = message["type"], message.get("id")
            if kind in ("request", "cancel") and type(number) is not int:
                raise protocol.Garbage(f"a {kind} without a whole number as its id")
        except protocol.Garbage as error:
            self._send(type="error", id=None, kind="Internal", message=f"The line is {error}.")
            return True
        if kind == "request":
            self._requests.put(message)
        elif kind == "cancel":
            self._cancelled.add(message["id"])
        return kind != "shutdown"

    def _handle(self, request: dict[str, Any]) -> None:
        number = request.get("id")

        def progress(step: str, fraction: float) -> None:
            self._send(type="progress", id=number, step=step, fraction=fraction)

        def cancelled() -> bool:
            return number in self._cancelled

        def deliver(part: Mapping[str, object]) -> None:
            self._send(type="part", id=number, value=part)

        try:
            if cancelled():
                raise Cancelled("Stopped before it began.")
            value = self._answer(request.get("action"), request.get("arguments"), Job(progress, cancelled, deliver))
            self._send(type="result", id=number, value=value)
        except protocol.TooLong as error:
            self._send(type="error", id=number, kind="WorkerError", message=f"The answer is too long: {error}.")
        except BrainIACError as error:
            kind = type(error).__name__
            self._send(type="error", id=number, kind=kind, message=str(error), command=error.command)
        except (Exception, SystemExit) as error:  # whatever a library does, the request gets its answer
            self._send(
                type="error",
                id=number,
                kind="Internal",
                message=f"The analysis failed unexpectedly ({_in_short(error)}); please report this.",
                detail=traceback.format_exc(),
            )

    def _send(self, **message: object) -> None:
        try:
            with self._sending:
                self._sink.write(protocol.encode(message))
                self._sink.flush()
        except OSError:  # nobody listens any more
            self._end(0)

    def _end(self, status: int) -> NoReturn:
        # At once, whatever the other thread computes: results are files that appear whole or not at all.
        remove_unfinished()
        shutil.rmtree(self._folder, ignore_errors=True)
        os._exit(status)


def main(arguments: list[str] | None = None) -> NoReturn:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser(prog="python -m BrainIACLib.worker", description=__doc__)
    parser.add_argument("folder", type=Path, help="private folder for files handed over; removed at the end")
    parser.add_argument(
        "--models",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="folder of installed models, repeatable (default: bundled and imported ones)",
    )
    options = parser.parse_args(arguments)
    if not options.folder.is_dir() or not options.folder.name.startswith(PREFIX):
        parser.error(f"'{options.folder}' must be a folder named '{PREFIX}...': it is removed at the end")
    lead_own_group()
    use_private_folder(options.folder)
    # The protocol keeps the real standard output to itself; whatever libraries print goes to standard error.
    sink = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdout = sys.stderr

    service: Service | None = None

    def answer(action: object, arguments: object, job: Job) -> dict[str, Any]:
        nonlocal service
        request = Request.from_json(action, arguments)
        if service is None:  # after the hello: torch takes seconds to import
            from BrainIACLib.worker.service import Service

            service = Service(options.folder, options.models)
        return service.answer(request, job)

    Worker(options.folder, answer, sys.stdin.buffer, sink).run()


def _in_short(error: BaseException) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"{type(error).__name__}: {reason}" if reason else type(error).__name__


if __name__ == "__main__":
    main()
