"""A client's side of the protocol without any pipe: bytes come in, bytes go out, callbacks are called.

The blocking client and Slicer's QProcess both drive this class, so that both say and understand the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from BrainIACLib import errors
from BrainIACLib.worker import protocol
from BrainIACLib.worker.requests import Request


class WorkerError(errors.BrainIACError):
    """The worker failed as a process: it ended, hung, or speaks another version of the protocol."""


@dataclass(frozen=True)
class Reply:
    """What to call while and when a request is answered; exactly one of ``done`` and ``failed`` is called, once."""

    done: Callable[[dict[str, Any]], None]
    failed: Callable[[errors.BrainIACError], None]
    progress: Callable[[str, float], None]
    part: Callable[[dict[str, Any]], None] = lambda value: None


class Conversation:
    """Requests under way with one worker process.

    Parameters
    ----------
    write : takes the bytes for the worker's standard input.
    log : takes each line that is no message, and details of unexpected errors.
    """

    def __init__(self, write: Callable[[bytes], None], log: Callable[[str], None]):
        self.pid: int | None = None  # known after the worker's hello
        self._write = write
        self._log = log
        self._ids = itertools.count(1)
        self._open: dict[int, Reply] = {}
        self._rest = b""

    @property
    def busy(self) -> bool:
        """Whether an answer is still to come."""
        return bool(self._open)

    def request(self, request: Request, reply: Reply) -> int:
        """Send a request; its id is for ``cancel``. One that is too long fails at once."""
        number = next(self._ids)
        try:
            line = protocol.encode({"type": "request", "id": number, **request.to_json()})
        except protocol.TooLong as error:
            reply.failed(errors.RequestError(f"The request '{type(request).__name__}' is too long: {error}."))
            return number
        self._open[number] = reply
        self._write(line)
        return number

    def cancel(self) -> None:
        """Ask the worker to stop everything that is running or waiting; each request still gets its answer."""
        for number in self._open:
            self._write(protocol.encode({"type": "cancel", "id": number}))

    def feed(self, data: bytes) -> None:
        """Take bytes of the worker's standard output; a read may end inside a line."""
        *lines, self._rest = (self._rest + data).split(b"\n")
        if len(self._rest) > protocol.LONGEST_LINE:
            self._rest = b""
            self.fail(WorkerError("The analysis process sent a line without an end; try again."))
        for line in lines:
            try:
                message = protocol.decode(line)
            except protocol.Garbage:
                self._log(line.decode("utf-8", "replace").rstrip())
            else:
                self._receive(message)

    def fail(self, error: errors.BrainIACError) -> None:
        """The process is gone: every open request fails with ``error``."""
        replies, self._open = list(self._open.values()), {}
        for reply in replies:
            reply.failed(error)

    def _receive(self, message: dict[str, Any]) -> None:
        kind, number = message["type"], message.get("id")
        if kind == "hello":
            self.pid = message.get("pid")
            if message.get("protocol") != protocol.VERSION:
                self.fail(
                    WorkerError(
                        f"The analysis process speaks version {message.get('protocol')} of its protocol instead of "
                        f"{protocol.VERSION}; restart the program after the update."
                    )
                )
        elif kind == "error" and number is None:  # what it could not read may have been any of the requests
            self.fail(WorkerError(f"The analysis process could not read a request ({message.get('message')})."))
        elif number not in self._open:
            self._log(f"An answer without a question: {message.get('message') or kind}")
        elif kind == "progress":
            self._open[number].progress(str(message.get("step")), float(message.get("fraction", 0.0)))
        elif kind == "part":
            self._open[number].part(message.get("value") or {})
        elif kind == "result":
            self._open.pop(number).done(message.get("value") or {})
        elif kind == "error":
            if message.get("detail"):
                self._log(message["detail"])
            self._open.pop(number).failed(_error(message))
        else:
            self._log(f"Unknown message type '{kind}'")


def _error(message: dict[str, Any]) -> errors.BrainIACError:
    known = {cls.__name__: cls for cls in errors.BrainIACError.__subclasses__()}
    kind = known.get(str(message.get("kind")), errors.BrainIACError)
    return kind(str(message.get("message")), str(message.get("command") or ""))
