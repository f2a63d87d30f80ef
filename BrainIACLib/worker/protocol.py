"""What travels over the worker's pipes: one JSON object a line, UTF-8, version 2.

From the client, on the worker's standard input::

    {"type": "request", "id": 3, "action": "Predict", "arguments": {...}}   ids grow; requests are answered in order
    {"type": "cancel", "id": 3}                                             of a running or waiting request
    {"type": "shutdown"}                                                    end now; closing the pipe means the same

From the worker, on its standard output::

    {"type": "hello", "protocol": 2, "pid": 4711, "version": "0.1.0"}       first, once
    {"type": "progress", "id": 3, "step": "registration", "fraction": 0.4}
    {"type": "part", "id": 3, "value": {...}}                               a part of the answer that is ready
    {"type": "result", "id": 3, "value": {...}}                             ends the request
    {"type": "error", "id": 3, "kind": "ScanError", "message": "..."}       ends the request; id is null for garbage

``kind`` is the name of an error class of ``BrainIACLib.errors``, which comes with its "command", or "Internal" with a
"detail" for the log. Everything else that Python or a library prints goes to standard error. A client skips lines that
are not JSON objects.

Actions, their arguments and values are the classes of ``requests``, under their names. The fraction of a progress
message is that of the whole request; it falls only where the work begins again on the CPU.
"""

from __future__ import annotations

import json
from typing import Any

VERSION = 2
LONGEST_LINE = 64 << 20  # bytes; a longer line is garbage, not a message


class Garbage(ValueError):
    """A line that is no message of this protocol."""


class TooLong(ValueError):
    """A message that the other side would not take."""


def encode(message: dict[str, Any]) -> bytes:
    """One line, newline included. Raises TooLong for a message of more than ``LONGEST_LINE``."""
    line = json.dumps(message).encode("utf-8") + b"\n"
    if len(line) > LONGEST_LINE:
        raise TooLong(f"{len(line) / 1e6:.0f} MB, and at most {LONGEST_LINE / 1e6:.0f} MB can be sent")
    return line


def decode(line: bytes) -> dict[str, Any]:
    """The message of one line. Raises Garbage for anything but a JSON object with a "type"."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise Garbage("not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Garbage("not an object with a type")
    return message
