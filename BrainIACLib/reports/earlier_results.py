"""Whether the folder that results are to go into already holds those of another scan (nothing is lost)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from BrainIACLib.errors import BrainIACError
from BrainIACLib.publishing import recover_sets

RESULT = "result.json"


def refuse_results_of_another_scan(scan: Path, out: Path, identity: Callable[[], str]) -> None:
    """Nothing where ``out`` holds no results, or those of this scan: of this path, or of the same voxels and grid.

    Another series of the same folder or frame of the same file counts as the same scan. Results of a version that did
    not note the identity count as those of their path alone.

    Parameters
    ----------
    identity : ``Scan.identity`` of the scan; asked only where results of another path are there.

    Raises
    ------
    BrainIACError : whose results are there.
    """
    recover_sets(out)
    try:
        document = json.loads((out / RESULT).read_text(encoding="utf-8"))
        known, known_identity = document["file"], document.get("identity")
        same_path = os.path.abspath(known) == os.path.abspath(scan)
    except (FileNotFoundError, NotADirectoryError):
        return
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        raise BrainIACError(
            f"The folder '{out}' holds a {RESULT} that is not BrainIAC's or cannot be read; choose another folder.",
            "--out FOLDER",
        ) from None
    if not same_path and (known_identity is None or known_identity != identity()):
        raise BrainIACError(
            f"The folder '{out}' holds the results of '{known}'; choose another folder for '{scan}'.", "--out FOLDER"
        )
