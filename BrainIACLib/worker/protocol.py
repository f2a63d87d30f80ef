"""What travels over the worker's pipes: one JSON object a line, UTF-8, version 1.

From the client, on the worker's standard input::

    {"type": "request", "id": 3, "action": "predict", "arguments": {...}}   ids grow; requests are answered in order
    {"type": "cancel", "id": 3}                                             of a running or waiting request
    {"type": "shutdown"}                                                    end now; closing the pipe means the same

From the worker, on its standard output::

    {"type": "hello", "protocol": 1, "pid": 4711, "version": "0.1.0"}       first, once
    {"type": "progress", "id": 3, "step": "registration", "fraction": 0.4}
    {"type": "result", "id": 3, "value": {...}}                             ends the request
    {"type": "error", "id": 3, "kind": "ScanError", "message": "..."}       ends the request; id is null for garbage

``kind`` is the name of an error class of ``BrainIACLib.errors``, or "Internal" with a "detail" for the log. Everything
else that Python or a library prints goes to standard error. A client skips lines that are not JSON objects.

Actions, their arguments and values (volumes and maps are files in the private folder given to the worker):

============  =====================================================  ==================================================
action        arguments                                              value
============  =====================================================  ==================================================
status        device                                                 device, reason, versions, models: [contract, ...]
series        folder                                                 series: [{uid, volume: bool, text}] of its DICOM
load          folder, series                                         scan (path), name, warnings
study         device, scans: {name: path}, originals: {name: path},  scans: {name: {warnings, record}}, reused: bool
              bias_field, brain_extraction, mask (or null), seed,
              series, frame (or null), preset
predict       task, scans: {slot: name}, model (id or null),         the fields of ``Prediction``, note
              accept_missing
explain       task, scans, scan, label, model, samples, seed         map (path), parameters, note
examine       task, scans, scan, label, model, seed                  trust: spread, stability, sanity_check
save          folder, task, scans, scan, model, accept_missing,      result (path), prediction, note
              samples, seed
steps         scan                                                   image, mask, native_mask, transform (paths)
inspect       file                                                   title, licences: {task: text}, suggestion (task)
import        file, task; the person has accepted the licence        id, new: bool
download      id of an official file on Hugging Face; the person     id, new: bool; the only action that uses the
              has accepted licence, size and source                  network
embed_cases   cases: [{path, original, facts}], out, model, device,  scans, computed, reused, failures: {scan: reason}
              bias_field, brain_extraction, seed
train_head    table, facts: [{scan, ...}], target, task, kind, seed  the report of ``head_training``
install_head  replace: bool; installs the head trained last          id
forget                                                               nothing; frees the study and the models
============  =====================================================  ==================================================

An original is the file that the client loaded a scan from: it is taken instead of the copy if both are the same image.
Maps and native masks lie on the grid of the copy.
The fraction of a progress message is that of the whole request; it falls only where the work begins again on the CPU.
A note says why the device is what it is, for instance that the memory of another one was too small.
A scan may also be a DICOM folder or zip; ``save`` writes what ``reports.result_files`` lists.
A study stays set until another one is: asking again with the same files and options costs nothing, and a study that
shares scans with it costs the others only.
"""

from __future__ import annotations

import json

VERSION = 1
LONGEST_LINE = 4_000_000  # bytes; a longer line is garbage, not a message


class Garbage(ValueError):
    """A line that is no message of this protocol."""


def encode(message: dict) -> bytes:
    """One line, newline included."""
    return json.dumps(message).encode("utf-8") + b"\n"


def decode(line: bytes) -> dict:
    """The message of one line. Raises Garbage for anything but a JSON object with a "type"."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        raise Garbage("not JSON") from None
    if not isinstance(message, dict) or not isinstance(message.get("type"), str):
        raise Garbage("not an object with a type")
    return message
