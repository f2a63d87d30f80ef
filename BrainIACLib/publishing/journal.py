"""What a long run has finished, one line each: a line that is damaged or cut off is not believed and costs itself."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from BrainIACLib.publishing.files import BINARY, NO_LINK, not_written, sync_folder, sync_handle
from BrainIACLib.publishing.sets import is_own


class Journal:
    """Lines of JSON, each behind the first 16 digits of its sha256, each on the disk when ``add`` returns.

    A file of another user, and a link, is not believed: it is removed, or the journal cannot be written.
    """

    def __init__(self, path: Path):
        self._path = path
        self._begun = False

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that are whole, oldest first."""
        yield from self.rows_from(0)[0]

    def rows_from(self, offset: int) -> tuple[list[dict[str, Any]], int]:
        """The rows that are whole behind a place in the file, and the place behind the last line that is."""
        try:
            if not is_own(self._path):
                return [], offset
            with self._path.open("rb") as file:
                file.seek(offset)
                content = file.read()
        except FileNotFoundError:
            return [], offset
        except OSError as error:
            raise not_written(self._path, error) from None
        rows, end, place = [], offset, offset
        for line in content.split(b"\n"):
            place += len(line) + 1
            digest, _, text = line.partition(b" ")
            if text and digest == _digest(text):
                with contextlib.suppress(ValueError):
                    row = json.loads(text)
                    if isinstance(row, dict):
                        rows.append(row)
                        end = place - 1  # the line break that begins the next line
        return rows, end

    def add(self, *rows: dict[str, Any]) -> None:
        """Raises BrainIACError if the disk is full or the folder cannot be written."""
        texts = [json.dumps(row).encode("ascii") for row in rows]
        try:
            if not self._begun and os.path.lexists(self._path) and not is_own(self._path):
                self._path.unlink()
            handle = os.open(self._path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | NO_LINK | BINARY, 0o666)
            try:
                # the line break first: it ends a line that was cut off
                lines = b"".join(b"\n" + _digest(text) + b" " + text for text in texts)
                if os.write(handle, lines) != len(lines):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                sync_handle(handle)
            finally:
                os.close(handle)
            if not self._begun:
                sync_folder(self._path.parent)
        except OSError as error:
            raise not_written(self._path, error) from None
        self._begun = True

    def remove(self) -> None:
        """The run is finished."""
        with contextlib.suppress(OSError):
            self._path.unlink(missing_ok=True)


def _digest(text: bytes) -> bytes:
    return hashlib.sha256(text).hexdigest()[:16].encode("ascii")
