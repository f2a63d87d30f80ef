"""Where files that may tell of a patient lie while they are needed: one folder a process, closed to other users.

Archives are unpacked below it and volumes handed over in it, nowhere else. It is removed when the process ends, and
where that was killed, by the next one that starts: a lock inside tells that its owner is gone.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import shutil
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

from BrainIACLib.errors import BrainIACError
from BrainIACLib.publishing.lock import try_lock

PREFIX = "brainiac-"  # nothing of another name is removed
OWNER = ".owner.lock"

_own: dict[Path, Callable[[], None]] = {}  # folder -> lets go of its lock
_used: Path | None = None  # where this process puts its temporary folders


def new_private_folder() -> Path:
    """A new empty folder that only this user can enter; this process owns it, and removes it at its end.

    Raises
    ------
    BrainIACError : the system has no folder for temporary files that can be written.
    """
    try:
        _sweep(Path(tempfile.gettempdir()))
        while True:
            folder = Path(tempfile.mkdtemp(prefix=PREFIX))
            with contextlib.suppress(FileNotFoundError):  # another process swept it before it was locked
                if release := try_lock(folder / OWNER):
                    _own[folder] = release
                    return folder
    except OSError as error:
        raise BrainIACError(
            f"No folder for temporary files can be written ({error.strerror or error}); free some space, or name a "
            "folder in the environment variable TMPDIR."
        ) from None


def use_private_folder(folder: Path) -> None:
    """Put the temporary folders of this process into one that the process that started it owns."""
    global _used
    _used = folder


@contextlib.contextmanager
def temporary_folder() -> Iterator[Path]:
    """A new empty folder below the private one, removed at the end. Raises as ``new_private_folder``."""
    global _used
    if _used is None or not _used.is_dir():
        _used = new_private_folder()
    try:
        folder = Path(tempfile.mkdtemp(dir=_used))
    except OSError as error:
        raise BrainIACError(f"'{_used}' cannot be written ({error.strerror}); free some space.") from None
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_private_folder(folder: Path) -> None:
    """Remove a folder of ``new_private_folder`` and what is in it."""
    release = _own.pop(folder, None)
    if os.name == "nt" and release is not None:  # where the file of a lock that is held cannot be removed
        release()
    shutil.rmtree(folder, ignore_errors=True)
    if os.name != "nt" and release is not None:
        release()


@atexit.register
def _remove_all() -> None:
    for folder in list(_own):
        remove_private_folder(folder)


def _sweep(temporary: Path) -> None:
    """Remove the folders of processes of this user that were killed."""
    for folder in temporary.glob(f"{PREFIX}*"):
        with contextlib.suppress(OSError, BrainIACError):
            status = os.lstat(folder)
            mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
            if mine and stat.S_ISDIR(status.st_mode) and (folder / OWNER).is_file():
                if release := try_lock(folder / OWNER):
                    release()
                    shutil.rmtree(folder, ignore_errors=True)
