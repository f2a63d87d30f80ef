"""A foreign checkpoint becomes safetensors and a contract, in a child process that may fail without harm.

The child reads with tensors-only loading, under limits of memory (Linux; other systems do not enforce one), of file
size (Linux, macOS) and of time (everywhere). It writes into a folder that only ``store`` makes part of the store.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import BrainIACLib
from BrainIACLib.errors import ModelError

TIME_LIMIT = 600  # seconds, of one reading or conversion
MEMORY_PER_BYTE = 4  # of the file, on top of MEMORY_BASE
MEMORY_BASE = 1 << 30  # bytes, for one forward pass


@dataclass(frozen=True)
class Found:
    """What a file was recognized as, in words, and the tasks that it can be for."""

    title: str
    generation: str
    tasks: tuple[str, ...]


def inspect_checkpoint(path: Path) -> Found:
    """Recognize the file by its keys and shapes, in a child process. Raises ModelError with the reasons if not."""
    answer = _in_child("inspect", path)
    return Found(answer["title"], answer["generation"], tuple(answer["tasks"]))


def convert_checkpoint(path: Path, task: str, accepted: str, out: Path) -> str:
    """Write ``encoder.safetensors``, ``head.safetensors``, ``contract.json`` and ``card.md`` into the folder ``out``.

    Every tensor is read back and compared bit by bit, and one forward pass with the installed files equals one with the
    original's tensors.

    Parameters
    ----------
    task : one of ``Found.tasks``.
    accepted : when the person accepted the license, UTC, for the contract.

    Returns
    -------
    The id of the model.

    Raises
    ------
    ModelError : not recognized, NaN or infinite weights, twin copies that differ, no space left, a limit reached.
    """
    return _in_child("convert", path, "--task", task, "--accepted", accepted, "--out", str(out.absolute()))["id"]


def _in_child(action: str, path: Path, *arguments: str) -> dict[str, Any]:
    library = str(Path(BrainIACLib.__file__).resolve().parent.parent)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, [library, os.environ.get("PYTHONPATH")]))}
    command = [sys.executable, "-m", "BrainIACLib.checkpoints.conversion_process", action, *arguments]
    try:
        done = subprocess.run(
            [*command, "--", str(path.absolute())],
            env=environment,
            cwd=library,  # -m imports from the current folder first, which may be full of downloads
            capture_output=True,
            timeout=TIME_LIMIT,
            stdin=subprocess.DEVNULL,
        )
    except subprocess.TimeoutExpired:
        raise ModelError(f"Reading '{path.name}' took longer than {TIME_LIMIT} s and was stopped.") from None
    try:
        answer = json.loads(done.stdout.splitlines()[-1])
    except (ValueError, IndexError):
        detail = done.stderr.decode(errors="replace").strip().splitlines()[-1:] or [f"exit status {done.returncode}"]
        raise ModelError(
            f"Reading '{path.name}' ended without an answer ({ascii(detail[0])[:200]}): the file is damaged, or it "
            "needs more memory than a file of its size should."
        ) from None
    if "error" in answer:
        raise ModelError(answer["error"], answer.get("command", ""))
    return answer
