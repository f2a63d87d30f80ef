"""What is done, by whom, and what is being done: the queue's memory, in the folder ``.brainiac`` of the derivatives.

Every process writes journals of its own, one line a case, each on the disk before the next case begins; nobody writes
into another's. A case is claimed by a lock, which ends with its owner. A journal that is full or whose process ended is
folded into ``index.parquet``, so that a start reads one table and a few journals, whatever the size of the cohort.

Numbers of 8 bytes say what a row is of: ``case``, ``asked``, a case under settings, and ``token``, which also tells the
state of its input. How far a batch is, is told by ``asked`` without a look at any scan; whether a case is still up to
date, by ``token``. Only the latest outcome of a case counts. Its files are those of the latest that was done: a failure
under other settings leaves them as they are, and the row of the index with them (columns ``later_*``).

A failure is tried again once somebody asks for it, by a line of its own in a journal: whoever takes part sees it, and a
second failure counts for all of them.
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

import numpy as np

from BrainIACLib.batch.index_file import FIRST_TURN, INDEX, LATER, number_of, read_index
from BrainIACLib.batch.outcomes import AGAIN_KIND, DONE_KIND, FAILED_KIND, KINDS, Latest, LatestOutcomes
from BrainIACLib.errors import NotWritten
from BrainIACLib.publishing import Busy, Journal, locked
from BrainIACLib.publishing.files import not_written
from BrainIACLib.publishing.lock import try_lock
from BrainIACLib.publishing.processes import is_gone, this_process
from BrainIACLib.publishing.sets import is_own

ROOM = ".brainiac"
DONE, FAILED, AGAIN = "done", "failed", "again"  # the last one: failed, and to be tried again
KIND_OF = {FAILED: FAILED_KIND, AGAIN: AGAIN_KIND, DONE: DONE_KIND}
OPEN, FULL, CLOSED = ".open", ".full", ".closed"  # ends of journals; after a full one its process begins another
ROWS_OF_A_JOURNAL = 1000


def asked_of(case_id: str, key: str, age_years: str = "") -> int:
    """Of a case under settings with ``key``, whatever its input; answers may depend on the age that a manifest says."""
    return number_of(f"{case_id}|{key}|{age_years}")


def token_of(asked: int, state: str) -> int:
    """Of what is asked of a case, whose input is in ``state``."""
    return number_of(f"{asked}|{state}")


def case_number(case_id: str) -> int:
    """Of a case, whatever is asked."""
    return number_of(case_id)


def code_of(row: dict[str, Any]) -> int:
    """Turn and kind of the latest outcome that a row of a journal or of the index tells."""
    turn, status = row.get("later_turn") or turn_of(row), row.get("later_status") or row["status"]
    return KINDS * int(turn) + KIND_OF[status]


def turn_of(row: dict[str, Any]) -> int:
    """Of a row, which may be of an earlier build."""
    return int(row.get("turn", FIRST_TURN))


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
            if not folder.is_dir():
                folder.mkdir(parents=True, exist_ok=True)
        self._index = out / INDEX
        self._own: Path | None = None
        self._journal: Journal | None = None
        self._rows = self._all_rows = 0  # of the journal, of this process
        self._began = time.monotonic()
        self._offsets: dict[str, int] = {}  # of journals, by their names without their ends
        self._vanished = False
        self._index_state: tuple[int, int] | None = None
        self.outcomes = LatestOutcomes()
        if read:
            self.refresh()

    def refresh(self) -> None:
        """Take in what other processes have written since."""
        while True:
            self._vanished = False
            self._read_index()
            for row in self.new_rows():
                self._take(row)
            if not self._vanished and self._state_of_index() == self._index_state:
                return  # else a journal was renamed, or went into the index, while it was looked for

    def new_rows(self) -> Iterator[dict[str, Any]]:
        """The rows of all journals that were not read yet by this object, of the journal last written to last."""
        for _, path, size in sorted(self._states()):
            before = self._offsets.get(path.stem, 0)
            if size > before:
                rows, self._offsets[path.stem] = Journal(path).rows_from(before)
                self._vanished |= not rows and not path.exists()
                yield from rows

    def add(self, *rows: dict[str, Any]) -> bool:
        """Write down the outcomes of cases (``id``, ``asked``, ``token``, ``status`` "done", "failed" or "again",
        ``turn``, facts): they are kept. Whether that filled a journal."""
        if self._journal is None:
            self._own = self._journals / f"{this_process()}-{uuid.uuid4().hex[:8]}.jsonl{OPEN}"
            self._journal, self._rows = Journal(self._own), 0
        self._rows += len(rows)
        self._all_rows += sum(row["status"] != AGAIN for row in rows)
        pace = {"elapsed": round(time.monotonic() - self._began, 3), "count": self._all_rows}
        self._journal.add(*({**row, **pace} for row in rows))
        for row in rows:
            self._take(row)
        if self._rows < ROWS_OF_A_JOURNAL:
            return False
        self._end(FULL)
        return True

    def close(self) -> None:
        """This process writes no more: its journal may be merged into the index."""
        self._end(CLOSED)

    def _end(self, how: str) -> None:
        if self._own is not None:
            with contextlib.suppress(OSError):
                self._own.rename(self._own.with_suffix(how))
        self._own = self._journal = None

    @contextlib.contextmanager
    def claim(self, case_id: str) -> Iterator[bool]:
        """Whether the case is this process's own until the end; False where another one is at it.

        Raises
        ------
        NotWritten : the output is full or read-only.
        """
        try:
            release = try_lock(self._claims / f"{hashlib.sha256(case_id.encode()).hexdigest()[:32]}.lock")
        except OSError as error:
            raise not_written(self._claims, error) from None
        try:
            yield release is not None
        finally:
            if release is not None:
                release()

    def running(self) -> int:
        """How many cases are claimed now; those of killed processes are let go."""
        held = 0
        for name in {path.name.removesuffix(".held") for path in self._claims.iterdir()}:
            try:
                with locked(self._claims / name, ""):
                    pass
            except (Busy, NotWritten):  # where nothing can be written, it cannot be told
                held += 1
        return held

    def paces(self) -> list[Pace]:
        """How fast each process is or was that has a journal here."""
        last: dict[str, dict[str, Any]] = {}
        goes_on: set[str] = set()
        for path in self._journals.glob("*.jsonl*"):
            owner = path.name.rsplit("-", 1)[0]
            rows, _ = Journal(path).rows_from(0)
            if rows and rows[-1].get("count", 0) > last.get(owner, {}).get("count", 0):
                last[owner] = rows[-1]
            if not path.name.endswith(CLOSED) and not is_gone(owner):
                goes_on.add(owner)
        return [Pace(row["count"], float(row["elapsed"]), owner in goes_on) for owner, row in last.items()]

    def finished_journals(self) -> list[Path]:
        """Those that are full, and those of processes that ended or are gone; another user's are not read, so not
        finished with."""
        return [
            path
            for path in sorted(self._journals.glob("*.jsonl*"))
            if (path.name.endswith((FULL, CLOSED)) or is_gone(path.name.rsplit("-", 1)[0])) and not _is_foreign(path)
        ]

    def foreign_journals(self) -> list[Path]:
        """Those of other users, which are not read."""
        return [path for path in sorted(self._journals.glob("*.jsonl*")) if _is_foreign(path)]

    def _states(self) -> Iterator[tuple[int, Path, int]]:
        for path in self._journals.glob("*.jsonl*"):
            try:
                state = path.stat()
            except FileNotFoundError:
                self._vanished = True
            else:
                yield state.st_mtime_ns, path, state.st_size

    def _take(self, row: dict[str, Any]) -> None:
        self.outcomes.take(case_number(row["id"]), Latest(int(row["asked"]), int(row["token"]), code_of(row)))

    def _state_of_index(self) -> tuple[int, int] | None:
        try:
            state = self._index.stat()
        except FileNotFoundError:
            return None
        return state.st_ino, state.st_mtime_ns

    def _read_index(self) -> None:
        state = self._state_of_index()
        if state is None or state == self._index_state:
            self._index_state = state  # None where somebody took the index away
            return
        import pyarrow.compute

        own, latest = ("asked", "token", "turn", "status"), (*LATER, "later_status")
        table = read_index(self._index.parent, ["case", *own, *latest])
        asked, tokens, turns, status = (
            pyarrow.compute.coalesce(table[later], table[name]) for later, name in zip(latest, own, strict=True)
        )
        kinds = np.array(list(KIND_OF.values()))
        place = pyarrow.compute.index_in(status, value_set=pyarrow.array(list(KIND_OF))).to_numpy()
        codes = KINDS * turns.to_numpy() + kinds[place]
        self.outcomes.set_base(table["case"].to_numpy(), asked.to_numpy(), tokens.to_numpy(), codes)
        self._offsets.clear()  # what a journal said before may be older than what the index says now
        self._index_state = state


def _is_foreign(journal: Path) -> bool:
    try:
        return not is_own(journal)
    except FileNotFoundError:  # renamed this moment
        return False
