"""The folder through which volumes and maps are handed over; the client makes it, worker and client both remove it."""

from __future__ import annotations

import tempfile
from pathlib import Path

PRIVATE_PREFIX = "brainiac-"  # the worker removes no folder of another name


def new_private_folder() -> Path:
    """A new empty folder that only this user can enter."""
    return Path(tempfile.mkdtemp(prefix=PRIVATE_PREFIX))
