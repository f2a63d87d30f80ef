"""What is done, by whom, and what is being done: the queue's memory, in the folder ``.brainiac`` of the derivatives.

Every process writes a journal of its own, one line a case, each on the disk before the next case begins; nobody writes
into another's. A case is claimed by a lock, which ends with its owner. ``index.parquet`` holds what the journals of
finished processes said, so that a start reads one table and a few journals, whatever the size of the cohort.

A case in a state of its input and under settings has a *token* of 8 bytes; done tokens are a set of numbers.
"""

from __future__ import annotations

import contextlib
import hashlib
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from BrainIACLib.publishing import Busy, Journal, locked
from BrainIACLib.publishing.lock import try_lock
from BrainIACLib.publishing.processes import is_gone, this_process

ROOM = ".brainiac"
INDEX = "index.parquet"
OPEN, CLOSED = ".open", ".closed"  # ends of journals


def token_of(case_id: str, state: str, key: str) -> int:
    """Of a case whose input is in ``state`` under settings with ``key``."""
    digest = hashlib.sha256(f"{case_id}|{state}|{key}".encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


@dataclass(frozen=True)
class Pace:
    """Of one process: how many cases in how many seconds, by its own clock; ``living``: it is not known to be gone."""

    cases: int
    seconds: float
    living: bool


class Ledger:
    """Read and added to by one process.

    Parameters
    ----------
    out : folder of the derivatives.
    read : what is done already.
    """

    def __init__(self, out: Path, read: bool = True):
        self._room = out / ROOM
        self._journals, self._claims = self._room / "journals", self._room / "claims"
        for folder in (self._journals, self._claims):
            folder.mkdir(parents=True, exist_ok=True)
        self._index = out / INDEX
        self._own: Path | None = None
        self._journal: Journal | None = None
        self._began = time.monotonic()
        self._offsets: dict[Path, int] = {}
        self._index_state: tuple[int, int] | None = None
        self.done: set[int] = set()
        self.failed: set[int] = set()
        if read:
            self.refresh()

    def refresh(self) -> None:
        """Take in what other processes have written since."""
        self._read_index()
        for row in self.new_rows():
            self._take(int(row["token"]), row["status"])

    def new_rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all journals that were not read yet by this object."""
        for path in sorted(self._journals.glob("*.jsonl*")):
            rows, self._offsets[path] = Journal(path).rows_from(self._offsets.get(path, 0))
            yield from rows

    def add(self, row: dict[str, Any]) -> None:
        """Write down the outcome of a case (``id``, ``token``, ``status`` "done" or "failed", facts): it is kept."""
        if self._journal is None:
            self._own = self._journals / f"{this_process()}-{uuid.uuid4().hex[:8]}.jsonl{OPEN}"
            self._journal = Journal(self._own)
        self._journal.add({**row, "elapsed": round(time.monotonic() - self._began, 3)})
        self._take(int(row["token"]), row["status"])

    def close(self) -> None:
        """This process writes no more: its journal may be merged into the index."""
        if self._own is not None:
            with contextlib.suppress(OSError):
                self._own.rename(self._own.with_suffix(CLOSED))
        self._own = self._journal = None

    @contextlib.contextmanager
    def claim(self, case_id: str) -> Iterator[bool]:
        """Whether the case is this process's own until the end; False where another one is at it."""
        release = try_lock(self._claims / f"{hashlib.sha256(case_id.encode()).hexdigest()[:32]}.lock")
        try:
            yield release is not None
        finally:
            if release is not None:
                release()

    def running(self) -> int:
        """How many cases are claimed now; those of killed processes are let go."""
        held = 0
        for path in self._claims.iterdir():
            try:
                with locked(path.with_name(path.name.removesuffix(".held")), ""):
                    pass
            except Busy:
                held += 1
        return held

    def paces(self) -> list[Pace]:
        """How fast each process is or was that has a journal here."""
        found = []
        for path in self._journals.glob("*.jsonl*"):
            rows, _ = Journal(path).rows_from(0)
            owner = path.name.rsplit("-", 1)[0]
            if rows:
                living = path.name.endswith(OPEN) and not is_gone(owner)
                found.append(Pace(len(rows), float(rows[-1].get("elapsed", 0.0)), living))
        return found

    def finished_journals(self) -> list[Path]:
        """Those of processes that ended or are gone."""
        return [
            path
            for path in sorted(self._journals.glob("*.jsonl*"))
            if path.name.endswith(CLOSED) or is_gone(path.name.rsplit("-", 1)[0])
        ]

    def _take(self, token: int, status: str) -> None:
        if status == "done":
            self.done.add(token)
            self.failed.discard(token)
        else:
            self.failed.add(token)

    def _read_index(self) -> None:
        try:
            state = self._index.stat()
        except FileNotFoundError:
            return
        if self._index_state == (state.st_ino, state.st_mtime_ns):
            return
        import pyarrow.compute
        import pyarrow.parquet

        table = pyarrow.parquet.read_table(self._index, columns=["token", "status"])
        is_done = pyarrow.compute.equal(table["status"], "done")
        self.done.update(table.filter(is_done)["token"].to_numpy().tolist())
        self.failed.update(table.filter(pyarrow.compute.invert(is_done))["token"].to_numpy().tolist())
        self._index_state = state.st_ino, state.st_mtime_ns
