"""Several files that belong together: all of the old set or all of the new one, whatever happens.

The new files are made in a hidden folder beside the old ones and brought to the disk; then a record there says that
they are complete (``COMMITTED``). From here on the new set is the valid one. The old set's last file, which says that a
set is complete, is removed, the others are replaced, and the new last file comes last; so whoever reads the last file
first never reads a mixture. Where a kill interrupts that, ``recover_sets`` finishes it, which every writer does first
and every reader that cares can do. Without the record, the hidden folder is removed and the old set stays.
"""

from __future__ import annotations

import contextlib
import json
import os
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from BrainIACLib.errors import BrainIACError
from BrainIACLib.publishing.files import (
    COMMITTED,
    TEMPORARY_PREFIX,
    begin,
    forget,
    keep,
    not_written,
    sync_file,
    sync_folder,
    temporary_name,
    write_text,
)
from BrainIACLib.publishing.lock import locked

LOCK = ".brainiac.lock"
SECONDS_TO_WAIT = 120.0  # for another writer, which holds the lock while its files are written


@contextlib.contextmanager
def publishing_set(folder: Path, names: Sequence[str]) -> Iterator[Path]:
    """A hidden folder to write files into; at the end they become the set of files ``names`` in ``folder``.

    Only one process at a time is inside, so what is checked inside stays true until the end. A name that was not
    written inside is not in the new set: an old file of that name is removed.

    Parameters
    ----------
    names : of the files of a set, the last of which says that the set is complete.

    Raises
    ------
    BrainIACError : the folder cannot be written, or another process writes there for minutes; the old set stays.
    """
    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise not_written(folder, error) from None
    busy = f"Another process is writing into the folder '{folder}'; wait for it, or choose another folder."
    with locked(folder / LOCK, busy, wait=SECONDS_TO_WAIT):
        _recover(folder)
        staging = temporary_name(folder)
        try:
            begin(staging)
            staging.mkdir()
            yield staging
            _commit(staging, folder, names)
        except OSError as error:
            raise not_written(folder, error) from None
        finally:
            if not (staging / COMMITTED).exists():  # else the next one finishes it
                forget(staging)


def recover_sets(folder: Path) -> None:
    """Finish what a killed writer had committed in ``folder``, and remove what it had not.

    Nothing where there is nothing to do, where another process is writing, or where the folder is read-only.
    """
    if not _staged(folder):
        return
    with contextlib.suppress(BrainIACError, OSError), locked(folder / LOCK, ""):
        _recover(folder)


def _commit(staging: Path, folder: Path, names: Sequence[str]) -> None:
    made = sorted(file.name for file in staging.iterdir())
    if not set(made) <= set(names) or names[-1] not in made:
        raise ValueError(f"the files {made} are not the set {list(names)}")
    for name in made:
        sync_file(staging / name)
    sync_folder(staging)
    record = {"names": list(names), "made": made}
    keep(staging)
    write_text(json.dumps(record), staging / COMMITTED)
    sync_folder(folder)
    _move(staging, folder, record)


def _move(staging: Path, folder: Path, record: dict[str, Any]) -> None:
    """Also after it was interrupted anywhere: what is no longer in ``staging`` was moved before."""
    *others, last = record["names"]
    left = {name for name in record["made"] if (staging / name).is_file()}
    if last in left:
        if (folder / last).exists():
            (folder / last).unlink()
            sync_folder(folder)
        for name in others:
            if name in left:
                os.replace(staging / name, folder / name)
            elif name not in record["made"]:
                (folder / name).unlink(missing_ok=True)
        sync_folder(folder)
        os.replace(staging / last, folder / last)
        sync_folder(folder)
    forget(staging)


def _staged(folder: Path) -> list[Path]:
    """The hidden folders of killed writers; another user's are not believed, nor are links."""
    with contextlib.suppress(OSError), os.scandir(folder) as entries:
        names = sorted(entry.name for entry in entries if entry.name.startswith(TEMPORARY_PREFIX))
        return [path for name in names if is_own(path := folder / name) and path.is_dir()]
    return []


def is_own(path: Path) -> bool:
    """Whether this user made the file or folder, and it is no link. Systems without users believe what is there."""
    status = os.lstat(path)
    mine = not hasattr(os, "geteuid") or status.st_uid == os.geteuid()
    return mine and (stat.S_ISDIR(status.st_mode) or stat.S_ISREG(status.st_mode))


def _recover(folder: Path) -> None:
    """With the lock held, so that nobody is still writing what is found."""
    for staging in _staged(folder):
        record = _record(staging)
        if record is None:
            forget(staging)
        else:
            sync_folder(folder)  # what was removed before the kill
            _move(staging, folder, record)


def _record(staging: Path) -> dict[str, Any] | None:
    try:
        record = json.loads((staging / COMMITTED).read_text(encoding="utf-8"))
        names, made = record["names"], record["made"]
        plain = all(isinstance(name, str) and Path(name).name == name for name in (*names, *made))
        files = all(stat.S_ISREG(os.lstat(staging / name).st_mode) for name in made if os.path.lexists(staging / name))
        return record if plain and files and names and names[-1] in made and set(made) <= set(names) else None
    except (OSError, ValueError, LookupError, TypeError):
        return None
