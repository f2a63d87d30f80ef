"""Whether the folder that results are to go into already holds those of another scan (nothing is lost)."""

from __future__ import annotations

import json
import os
from pathlib import Path

from BrainIACLib.errors import BrainIACError
from BrainIACLib.file_hash import file_sha256

RESULT = "result.json"


def refuse_results_of_another_scan(scan: Path, slot: str, out: Path) -> None:
    """Nothing where ``out`` holds no results, or those of this scan: of this path, or of a file with this content.

    Another series of the same folder or frame of the same file counts as the same scan. ``slot``: of the task.

    Raises
    ------
    BrainIACError : whose results are there.
    """
    try:
        document = json.loads((out / RESULT).read_text(encoding="utf-8"))
        known, inputs = document["file"], document["provenance"]["inputs"]
        own = inputs.get(slot) or (next(iter(inputs.values())) if len(inputs) == 1 else {})  # a task of other slots
        same = os.path.abspath(known) == os.path.abspath(scan) or own.get("sha256") == _sha256(scan)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise BrainIACError(
            f"The folder '{out}' holds a {RESULT} that is not BrainIAC's or cannot be read; choose another --out "
            "folder."
        ) from None
    if not same:
        raise BrainIACError(
            f"The folder '{out}' holds the results of '{known}'; choose another --out folder for '{scan}'."
        )


def _sha256(scan: Path) -> str:
    try:
        return file_sha256(scan)
    except OSError:  # a folder, whose results are known by its path alone; or a file that reading will complain about
        return "none"
