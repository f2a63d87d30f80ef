"""A new folder: made under a hidden name, brought to the disk, and there at once by one rename."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from BrainIACLib.publishing.files import begin, forget, sweep, sync_file, sync_folder, temporary_name


@contextlib.contextmanager
def staging_folder(parent: Path) -> Iterator[Path]:
    """A new hidden folder in ``parent`` to build something in, for ``publish_folder``; what is left of it is removed.

    Raises
    ------
    OSError : ``parent`` cannot be made or written.
    """
    parent.mkdir(parents=True, exist_ok=True)
    sweep(parent)
    folder = temporary_name(parent)
    try:
        begin(folder)
        folder.mkdir()
        yield folder
    finally:
        forget(folder)


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


def replace_folder(staging: Path, target: Path) -> None:
    """As ``publish_folder``; a folder that is there already is removed once the new one is in its place.

    Raises
    ------
    OSError : the disk fails, or somebody has the folder open (Windows); it is there as before then.
    """
    old = temporary_name(target.parent)
    try:
        begin(old)
        if target.exists():
            os.replace(target, old)
        try:
            publish_folder(staging, target)
        except OSError:
            if old.exists():
                os.replace(old, target)
            raise
    finally:
        forget(old)
