"""One file: written under a temporary name beside its place, brought to the disk, renamed."""

from __future__ import annotations

import contextlib
import errno
import os
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

from BrainIACLib.errors import NotWritten
from BrainIACLib.publishing.processes import is_gone, this_process

TEMPORARY_PREFIX = ".brainiac-"  # of every name that is not finished; a leading dot, so that no pattern finds it
COMMITTED = "committed.json"  # in a temporary folder: it is complete, and a set (see ``sets``)
NO_LINK = getattr(os, "O_NOFOLLOW", 0)  # Windows has no such flag, and links there need a privilege
BINARY = getattr(os, "O_BINARY", 0)

_unfinished: set[Path] = set()  # of this process
_swept: set[Path] = set()  # folders that this process has looked through
_ended = False


def write_bytes(content: bytes | memoryview, path: Path | str) -> None:
    """Write a whole file. Raises as ``replacing``."""
    with replacing(Path(path)) as temporary, temporary.open("r+b") as file:
        file.write(content)


def write_text(text: str, path: Path | str) -> None:
    """Write ``text`` as UTF-8 with its line ends unchanged. Raises as ``replacing``."""
    write_bytes(text.encode("utf-8"), path)


@contextlib.contextmanager
def replacing(path: Path, suffix: str = "") -> Iterator[Path]:
    """A new empty file beside ``path`` to write to; at the end it becomes ``path`` and is on the disk, or vanishes.

    Its name cannot be guessed, and it is made by this call alone, so it is never a link that somebody planted.

    Parameters
    ----------
    suffix : the end of the temporary name, for programs that tell the format by it.

    Raises
    ------
    NotWritten : the file cannot be written; nothing is left behind and an older file stays as it was.
    """
    is_staged = path.parent in _unfinished  # then the whole folder is brought to the disk before it counts
    if not is_staged:
        sweep(path.parent)
    temporary = temporary_name(path.parent, suffix)
    try:
        begin(temporary)
        os.close(os.open(temporary, os.O_CREAT | os.O_EXCL | os.O_WRONLY | NO_LINK | BINARY, 0o666))
        yield temporary
        if not is_staged:
            sync_file(temporary)
        os.replace(temporary, path)
        if not is_staged:
            sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # ITK raises RuntimeError for every reason
        raise not_written(path, error) from None
    finally:
        forget(temporary)


def not_written(path: Path, error: Exception) -> NotWritten:
    """The sentence for a file or folder that cannot be written."""
    reason = getattr(error, "strerror", None) or "the folder is missing, write-protected or full"
    return NotWritten(f"'{path}' cannot be written ({reason}); choose another place or free some space.")


def temporary_name(folder: Path, suffix: str = "") -> Path:
    """A name that nobody can guess, and that says whose it is: see ``sweep``."""
    return folder / f"{TEMPORARY_PREFIX}{this_process()}-{uuid.uuid4().hex}{suffix}"


def begin(temporary: Path) -> None:
    """Before a temporary file or folder is made: ``forget`` or, if that never comes, ``remove_unfinished`` removes it.

    Raises
    ------
    OSError : the process is ending.
    """
    if _ended:
        raise OSError(errno.ECANCELED, "the process is ending")
    _unfinished.add(temporary)


def keep(temporary: Path) -> None:
    """It is to outlive this process."""
    _unfinished.discard(temporary)


def forget(temporary: Path) -> None:
    """Remove a temporary file or folder, if it is still there."""
    with contextlib.suppress(OSError):
        if temporary.is_dir():
            shutil.rmtree(temporary, ignore_errors=True)
        else:
            temporary.unlink(missing_ok=True)
    _unfinished.discard(temporary)


def remove_unfinished() -> None:
    """Before a process ends at once: remove what its threads have begun to write, and let them begin nothing more."""
    global _ended
    _ended = True
    for temporary in list(_unfinished):
        forget(temporary)


def sweep(folder: Path) -> None:
    """Remove what killed processes had begun to write there; once a process, since a folder may be large."""
    if folder in _swept:
        return
    _swept.add(folder)
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = [entry.name for entry in entries if entry.name.startswith(TEMPORARY_PREFIX)]
        for path in map(folder.joinpath, names):
            owner = path.name.removeprefix(TEMPORARY_PREFIX).rsplit("-", 1)[0]
            if is_gone(owner) and not path.is_symlink() and not (path / COMMITTED).exists():
                forget(path)


def no_links(path: str, flags: int) -> int:
    """``opener`` of ``open``, for a file of a fixed name that goes on: never through a link that somebody planted."""
    return os.open(path, flags | NO_LINK | BINARY, 0o666)


def sync_file(path: Path) -> None:
    """Bring a file's content to the disk."""
    access = os.O_RDWR if sys.platform == "win32" else os.O_RDONLY
    handle = os.open(path, access | NO_LINK | BINARY)
    try:
        sync_handle(handle)
    finally:
        os.close(handle)


def sync_handle(handle: int) -> None:
    """Bring what was written through an open file to the disk; on macOS past the disk's own memory as well."""
    if sys.platform == "darwin":
        import fcntl

        with contextlib.suppress(OSError):  # not on network drives
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
    os.fsync(handle)


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk; Windows does so by itself, and some network drives do not let one."""
    if sys.platform == "win32":
        return
    with contextlib.suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
