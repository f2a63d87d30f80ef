"""One run of a batch: its cases and settings as files, so that any process on any computer can take part.

``begin`` writes them below ``.brainiac/runs``; a process that takes part opens them by the run's name, asks ``left``
for what there is to do, and answers each case by ``one``. Two runs on one output share claims and journals.
"""

from __future__ import annotations

import hashlib
import io
import json
import typing
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.batch.cases import BatchCase
from BrainIACLib.batch.ledger import ROOM, Ledger, token_of
from BrainIACLib.batch.settings import Settings, settings_from_json
from BrainIACLib.errors import BrainIACError, NotWritten, in_a_sentence, is_for_the_caller
from BrainIACLib.publishing import write_bytes, write_text
from BrainIACLib.scans.input_state import input_state

if typing.TYPE_CHECKING:
    import pyarrow

DONE, FAILED, BUSY, KNOWN, STOPPED = "done", "failed", "busy", "known", "stopped"
Process = Callable[[BatchCase], dict[str, object]]
"""What is done with a case; what the index is to say of it."""


@dataclass(frozen=True)
class Outcome:
    """Of the case ``number``: "done", "failed" (``sentence`` says why), "busy" elsewhere, or "known" from before;
    "stopped": the output cannot be written, and the run ends."""

    number: int
    status: str
    sentence: str = ""


def begin(out: Path, cases: Sequence[BatchCase], settings: Settings) -> str:
    """Write the run down; its name, which is the same for the same cases and settings."""
    import pyarrow
    import pyarrow.parquet

    table = pyarrow.table(
        {
            "id": [case.id for case in cases],
            "path": [case.path for case in cases],
            "facts": [json.dumps(case.facts) for case in cases],
        }
    )
    content = io.BytesIO()
    pyarrow.parquet.write_table(table, content)
    text = json.dumps({"settings": settings.to_json(), "key": settings.key()}, indent=1)
    name = hashlib.sha256(content.getbuffer().tobytes() + text.encode()).hexdigest()[:12]
    folder = out / ROOM / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    write_bytes(content.getbuffer(), folder / "cases.parquet")
    write_text(text + "\n", folder / "settings.json")
    return name


def last_run(out: Path) -> str:
    """The run that was begun last. Raises BrainIACError where there is none."""
    found = sorted((out / ROOM / "runs").glob("*/settings.json"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise BrainIACError(f"'{out}' holds no batch; begin one with 'brainiac batch --manifest … --out {out}'.")
    return found[-1].parent.name


class Work:
    """A run as one process sees it.

    Parameters
    ----------
    process : what to do with a case; by default preparing, embedding and answering.
    """

    def __init__(self, out: Path, run: str, process: Process | None = None):
        import pyarrow.parquet

        folder = out / ROOM / "runs" / run
        try:
            document = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
            self._table: pyarrow.Table = pyarrow.parquet.read_table(folder / "cases.parquet")
            self.settings, self.key = settings_from_json(document["settings"]), str(document["key"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise BrainIACError(f"The batch in '{out}' cannot be read ({error}); begin it again.") from None
        self.out = out
        self.ledger = Ledger(out)
        self._process = process

    def __len__(self) -> int:
        return len(self._table)

    def case(self, number: int) -> BatchCase:
        """The case with this number, from 0."""
        row = self._table.slice(number, 1).to_pylist()[0]
        return BatchCase(row["id"], row["path"], json.loads(row["facts"]))

    def left(self, retry_failed: bool = False) -> Iterator[int]:
        """The numbers of the cases that are not done yet, in order."""
        for number, token in self._tokens():
            if token not in self.ledger.done and (retry_failed or token not in self.ledger.failed):
                yield number

    def counts(self) -> tuple[int, int]:
        """How many cases failed as they are now, and how many are left."""
        self.ledger.refresh()
        failed = left = 0
        for _, token in self._tokens():
            if token not in self.ledger.done:
                failed += token in self.ledger.failed
                left += token not in self.ledger.failed
        return failed, left

    def _tokens(self) -> Iterator[tuple[int, int]]:
        ids, paths = self._table["id"], self._table["path"]
        for start in range(0, len(self), 4096):
            chunk = zip(ids.slice(start, 4096).to_pylist(), paths.slice(start, 4096).to_pylist(), strict=True)
            for number, (case_id, path) in enumerate(chunk, start):
                yield number, token_of(case_id, _state(path), self.key)

    def one(self, number: int, retry_failed: bool = False) -> Outcome:
        """Answer one case, unless somebody else does or did.

        Raises
        ------
        NotWritten : the output cannot be written; nothing is recorded of the case.
        """
        case = self.case(number)
        with self.ledger.claim(case.id) as mine:
            if not mine:
                return Outcome(number, BUSY)
            self.ledger.refresh()
            token = token_of(case.id, _state(case.path), self.key)
            if token in self.ledger.done or (token in self.ledger.failed and not retry_failed):
                return Outcome(number, KNOWN)
            try:
                facts = self._processor()(case)
            except NotWritten:  # a full disk is no scan's fault, and would fail all that come
                raise
            except Exception as error:
                if is_for_the_caller(error, self.settings.device) or isinstance(error, MemoryError):
                    raise
                return self._failed(number, case, token, in_a_sentence(error))
            self.ledger.add({**_of_case(case), "token": token, "status": DONE, "facts": facts})
        return Outcome(number, DONE)

    def give_up(self, number: int, sentence: str) -> Outcome:
        """Record a case that ended its process, so that no later run dies of it again."""
        case = self.case(number)
        return self._failed(number, case, token_of(case.id, _state(case.path), self.key), sentence)

    def _failed(self, number: int, case: BatchCase, token: int, sentence: str) -> Outcome:
        self.ledger.add({**_of_case(case), "token": token, "status": FAILED, "facts": {"failure": sentence}})
        return Outcome(number, FAILED, sentence)

    def _processor(self) -> Process:
        if self._process is None:
            from BrainIACLib.batch.one_case import CaseWorker

            self._process = CaseWorker(self.out, self.settings).process
        return self._process


def _state(path: str) -> str:
    try:
        return input_state(path)
    except OSError:
        return "absent"


def _of_case(case: BatchCase) -> dict[str, object]:
    return {"id": case.id, "path": case.path, "manifest": case.facts}
