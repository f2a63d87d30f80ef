"""One writer at a time, across processes and, where the file system can, across computers.

The lock is the operating system's, on a small file beside what it protects: it ends with the process that holds it,
however that ends. Network drives without such locks get a file that only one process can make (``name.held``); its
owner touches it, and a waiter that sees it untouched for a while, by its own clock, takes it over.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

from BrainIACLib.errors import BrainIACError
from BrainIACLib.publishing.files import BINARY, NO_LINK, not_written
from BrainIACLib.publishing.processes import is_gone, this_process

NO_SYSTEM_LOCKS = {errno.ENOSYS, errno.ENOLCK, getattr(errno, "ENOTSUP", -1), getattr(errno, "EOPNOTSUPP", -1)}
SECONDS_BETWEEN_TRIES = 0.05
SECONDS_BETWEEN_SIGNS_OF_LIFE = 15.0
SECONDS_UNTIL_DEAD = 900.0  # one step of preprocessing may keep a process from giving a sign for minutes


class Busy(BrainIACError):
    """Another process holds the lock."""


@contextlib.contextmanager
def locked(file: Path, busy: str, wait: float = 0.0) -> Iterator[None]:
    """Hold the lock named ``file``, which is removed at the end.

    Parameters
    ----------
    busy : the sentence for a person if somebody else holds it.
    wait : seconds to try.

    Raises
    ------
    Busy : still held by another process, or another thread of this one, after ``wait`` seconds.
    BrainIACError : no file can be made there.
    """
    until = time.monotonic() + wait
    try:
        while (release := try_lock(file)) is None:
            if time.monotonic() >= until:
                raise Busy(busy)
            time.sleep(SECONDS_BETWEEN_TRIES)
    except OSError as error:
        raise not_written(file.parent, error) from None
    try:
        yield
    finally:
        release()


def try_lock(file: Path) -> Callable[[], None] | None:
    """A function that lets go of the lock, or None where it is held. OSError where no file can be made there."""
    handle = _open(file)
    try:
        if not _lock(handle):
            os.close(handle)
            return None
    except OSError as error:
        os.close(handle)
        if error.errno not in NO_SYSTEM_LOCKS:
            raise
        return _try_by_name(file)
    if not _is_still(handle, file):  # the one before removed it in between
        os.close(handle)
        return None

    def release() -> None:
        if sys.platform != "win32":
            with contextlib.suppress(OSError):
                file.unlink()
        os.close(handle)
        if sys.platform == "win32":  # where no open file can be removed; it stays while another process waits at it
            with contextlib.suppress(OSError):
                file.unlink()

    return release


def _open(file: Path) -> int:
    try:
        return os.open(file, os.O_RDWR | os.O_CREAT | NO_LINK | BINARY, 0o666)
    except PermissionError:
        if not file.exists():
            raise
        return os.open(file, os.O_RDONLY | NO_LINK | BINARY)  # another user's: enough to wait at it


if sys.platform == "win32":
    import msvcrt

    def _lock(handle: int) -> bool:
        try:
            msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
        except OSError as error:
            if error.errno in (errno.EACCES, errno.EDEADLK):
                return False
            raise
        return True

else:
    import fcntl

    def _lock(handle: int) -> bool:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


def _is_still(handle: int, file: Path) -> bool:
    if sys.platform == "win32":  # where no open file can be removed
        return True
    try:
        return os.path.samestat(os.fstat(handle), os.stat(file))
    except FileNotFoundError:
        return False


def _try_by_name(file: Path) -> Callable[[], None] | None:
    held = file.with_name(f"{file.name}.held")
    token = f"{this_process()} {uuid.uuid4().hex}"
    try:
        handle = os.open(held, os.O_CREAT | os.O_EXCL | os.O_WRONLY | NO_LINK | BINARY, 0o666)
    except FileExistsError:
        _take_over_if_dead(held)
        return None
    with os.fdopen(handle, "w", encoding="utf-8") as stream:
        stream.write(token)
    over = threading.Event()

    def live() -> None:
        while not over.wait(SECONDS_BETWEEN_SIGNS_OF_LIFE):
            with contextlib.suppress(OSError):
                os.utime(held)

    threading.Thread(target=live, daemon=True).start()

    def release() -> None:
        over.set()
        with contextlib.suppress(OSError):
            if held.read_text(encoding="utf-8") == token:
                held.unlink()
                file.unlink()  # empty; nobody locks it here

    return release


_seen: dict[Path, tuple[tuple[str, int], float]] = {}  # held file -> (its owner and sign of life, since when)


def _take_over_if_dead(held: Path) -> None:
    """Remove the file of an owner that is gone: at once where that is known, else after it gave no sign for long.

    Signs are compared with each other and never with a clock, since those of two computers differ.
    """
    with contextlib.suppress(OSError):
        owner, sign = held.read_text(encoding="utf-8"), held.stat().st_mtime_ns
        first, since = _seen.get(held, (None, 0.0))
        if first != (owner, sign):
            _seen[held] = (owner, sign), time.monotonic()
            since = time.monotonic()
        if not is_gone(owner.partition(" ")[0]) and time.monotonic() - since < SECONDS_UNTIL_DEAD:
            return
        aside = held.with_name(f"{held.name}.{uuid.uuid4().hex}")
        os.rename(held, aside)
        if aside.read_text(encoding="utf-8") != owner:  # somebody else took it over in between, and lives
            os.link(aside, held)
        aside.unlink()
