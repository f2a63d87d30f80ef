"""A new folder: made under a hidden name, brought to the disk, and there at once by one rename."""

from __future__ import annotations

import os
from pathlib import Path

from BrainIACLib.publishing.files import sync_file, sync_folder


def publish_folder(staging: Path, target: Path) -> None:
    """Rename ``staging``, a finished folder on the same disk, to ``target``, which must be new or empty.

    Raises
    ------
    OSError : ``target`` holds something, or the disk fails; ``staging`` is still there then.
    """
    for parent, _, names in os.walk(staging, topdown=False):
        for name in names:
            sync_file(Path(parent, name))
        sync_folder(Path(parent))
    os.replace(staging, target)  # of a folder onto one that is not empty: refused by every system
    sync_folder(target.parent)
