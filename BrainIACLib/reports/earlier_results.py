"""Whether the folder that results are to go into already holds those of another scan (nothing is lost)."""

from __future__ import annotations

import json
from pathlib import Path

from BrainIACLib.errors import BrainIACError
from BrainIACLib.file_hash import file_sha256

RESULT = "result.json"


def refuse_results_of_another_scan(scan: Path, out: Path) -> None:
    """Nothing where ``out`` holds no results, or those of this scan: of this path, or of a file with this content.

    Raises
    ------
    BrainIACError : whose results are there.
    """
    try:
        document = json.loads((out / RESULT).read_text(encoding="utf-8"))
        known, inputs = Path(document["file"]), document["provenance"]["inputs"].values()
        hashes = {one["sha256"] for one in inputs}
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise BrainIACError(
            f"The folder '{out}' holds a {RESULT} that is not BrainIAC's or cannot be read; choose another --out "
            "folder."
        ) from None
    if known.resolve() == scan.resolve() or _sha256(scan) in hashes:
        return
    raise BrainIACError(f"The folder '{out}' holds the results of '{known}'; choose another --out folder for '{scan}'.")


def _sha256(scan: Path) -> str | None:
    try:
        return file_sha256(scan)
    except OSError:  # a folder, whose results are known by its path alone; or a file that reading will complain about
        return None
