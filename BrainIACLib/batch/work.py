"""One run of a batch: its cases and settings as files, so that any process on any computer can take part.

``begin`` writes them below ``.brainiac/runs``; a process that takes part opens them by the run's name, asks ``left``
for what there is to do, and answers each case by ``one``. Two runs on one output share claims and journals.

What is not recorded yet comes first, by numbers alone; only then is each recorded scan looked at, whether it changed.
So work begins at once in a cohort of a million, and processes are busy while files are looked at.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import typing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.batch.cases import STUDY, BatchCase
from BrainIACLib.batch.index import failures_told, fold, tell_manifest, update_index
from BrainIACLib.batch.ledger import (
    AGAIN,
    DONE,
    FAILED,
    ROOM,
    ROWS_OF_A_JOURNAL,
    Ledger,
    asked_of,
    case_number,
    token_of,
)
from BrainIACLib.batch.outcomes import UNKNOWN, is_done, is_failed, is_open, is_without, next_turn
from BrainIACLib.batch.settings import Settings, settings_from_json
from BrainIACLib.errors import BrainIACError, NotWritten, in_a_sentence, is_for_the_caller
from BrainIACLib.publishing import write_bytes, write_text
from BrainIACLib.scans.input_state import input_state
from BrainIACLib.studies.sidecar import state_beside

if typing.TYPE_CHECKING:
    import pyarrow

BUSY, KNOWN = "busy", "known"
ABSENT = "absent"  # state of a scan that is not there
CASES = "cases.arrow"  # uncompressed, so that it is read where it lies
TO_BE_TRIED_AGAIN = "It is to be tried again."  # behind why it failed
LOOKERS, LOOKED_AT = 8, 1024  # threads that wait for the file system, cases of each turn
Process = Callable[[BatchCase], dict[str, object]]
"""What is done with a case; what the index is to say of it."""


@dataclass(frozen=True)
class Outcome:
    """Of the case ``number``: "done", "failed" (``sentence`` says why), "busy" elsewhere, or "known" from before."""

    number: int
    status: str
    sentence: str = ""


def ends_the_run(error: BrainIACError) -> BrainIACError:
    """What ``Work.one`` raised, as the whole run says it."""
    kind = NotWritten if isinstance(error, NotWritten) else BrainIACError
    return kind(f"{error} What is done is kept; run the command again to go on.", error.command)


def begin(out: Path, cases: Sequence[BatchCase], settings: Settings) -> str:
    """Write the run down; its name, which is the same for the same cases and settings.

    Raises
    ------
    BrainIACError : ``out`` holds a batch of studies, and these are scans, or the other way round.
    """
    import pyarrow

    key = settings.key()
    table = pyarrow.table(
        {
            "id": [case.id for case in cases],
            "path": [case.path for case in cases],
            "others": pyarrow.array([case.others for case in cases], pyarrow.list_(pyarrow.string())),
            "facts": [json.dumps(case.facts) for case in cases],
            "case": pyarrow.array([case_number(case.id) for case in cases], pyarrow.int64()),
            "asked": pyarrow.array([_asked(case, key) for case in cases], pyarrow.int64()),
        }
    )
    content = io.BytesIO()
    with pyarrow.ipc.new_file(content, table.schema) as writer:
        writer.write_table(table)
    text = json.dumps({"settings": settings.to_json(), "key": key}, indent=1)
    name = hashlib.sha256(content.getbuffer()).hexdigest()[:6] + hashlib.sha256(text.encode()).hexdigest()[:6]
    _refuse_mixture(out, settings)
    folder = out / ROOM / "runs" / name
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / CASES).is_file():  # whole, or not there
        write_bytes(content.getbuffer(), folder / CASES)
    write_text(text + "\n", folder / "settings.json")
    return name


def without_record(out: Path, cases: Sequence[BatchCase], settings: Settings) -> list[BatchCase]:
    """Those that have no outcome under these settings, or are to be tried again."""
    if not (out / ROOM).is_dir():
        return list(cases)
    key = settings.key()
    numbers = np.array([case_number(case.id) for case in cases], np.int64)
    codes = Ledger(out).outcomes.by_asked(numbers, np.array([_asked(case, key) for case in cases], np.int64))
    return [cases[number] for number in np.flatnonzero(is_open(codes)).tolist()]


def _refuse_mixture(out: Path, settings: Settings) -> None:
    with contextlib.suppress(StopIteration, OSError, ValueError, LookupError):
        before = next((out / ROOM / "runs").glob("*/settings.json")).read_text(encoding="utf-8")
        if bool(json.loads(before)["settings"].get("studies")) != settings.studies:
            held, asked = ("scans", "studies") if settings.studies else ("studies", "scans")
            raise BrainIACError(f"'{out}' holds a batch of {held}; choose another folder for {asked}.", "--out FOLDER")


def last_run(out: Path) -> str:
    """The run that was begun last. Raises BrainIACError where there is none."""
    found = _runs(out)
    if not found:
        raise BrainIACError(f"'{out}' holds no batch; begin one.", f"brainiac batch --manifest CSV --out '{out}'")
    return found[0].name


def current_index(out: Path) -> pyarrow.Table:
    """The index of all that is done, brought up to date with journals and manifests. Raises as ``update_index``."""
    update_index(out)
    return tell_manifest(out, cases_of_runs(out))


def cases_of_runs(out: Path) -> pyarrow.Table:
    """The cases of all runs (``id``, ``path``, ``others``, ``facts``), each as the newest run says it, newest first."""
    import pyarrow
    import pyarrow.compute

    columns = ["id", "path", "others", "facts"]
    texts, files = pyarrow.string(), pyarrow.list_(pyarrow.string())
    found = pyarrow.schema(zip(columns, (texts, texts, files, texts), strict=True)).empty_table()
    for folder in _runs(out):
        with contextlib.suppress(OSError, ValueError, LookupError):  # of a run that cannot be read any more
            table = pyarrow.ipc.open_file(pyarrow.memory_map(str(folder / CASES))).read_all().select(columns)
            known = pyarrow.compute.is_in(table["id"], value_set=found["id"].combine_chunks())
            found = pyarrow.concat_tables([found, table.filter(pyarrow.compute.invert(known))])
    return found


def _runs(out: Path) -> list[Path]:
    """Their folders, of the run that was begun last first."""
    found = sorted((out / ROOM / "runs").glob("*/settings.json"), key=lambda path: -path.stat().st_mtime_ns)
    return [path.parent for path in found]


class Work:
    """A run as one process sees it.

    Parameters
    ----------
    process : what to do with a case; by default preparing, embedding and answering.
    """

    def __init__(self, out: Path, run: str, process: Process | None = None):
        import pyarrow

        folder = out / ROOM / "runs" / run
        try:
            document = json.loads((folder / "settings.json").read_text(encoding="utf-8"))
            self.table: pyarrow.Table = pyarrow.ipc.open_file(pyarrow.memory_map(str(folder / CASES))).read_all()
            self._numbers, self._asked = (self.table[name].to_numpy() for name in ("case", "asked"))
            self.settings, self.key = settings_from_json(document["settings"]), str(document["key"])
        except (OSError, ValueError, LookupError, TypeError) as error:
            raise BrainIACError(f"The batch in '{out}' cannot be read ({error}); begin it again.") from None
        self.out = out
        self.ledger = Ledger(out)
        self._process = process

    def __len__(self) -> int:
        return len(self.table)

    def case(self, number: int) -> BatchCase:
        """The case with this number, from 0."""
        row = self.table.slice(number, 1).to_pylist()[0]
        return BatchCase(row["id"], row["path"], json.loads(row["facts"]), tuple(row["others"]))

    def left(self) -> Iterator[int]:
        """The numbers of the cases that are not done yet as they are now: those without a record, then those that
        changed since."""
        fresh = self.unrecorded()
        yield from fresh.tolist()
        yield from self.changed(self.others(fresh))

    def unrecorded(self) -> np.ndarray:
        """The numbers of the cases that have no outcome under these settings, or are to be tried again; no scan is
        looked at."""
        return np.flatnonzero(is_open(self._codes()))

    def try_failed_again(self) -> None:
        """Have every failure of this run tried once more, by whoever takes part, now or in a later run.

        Raises
        ------
        NotWritten : the output cannot be written.
        """
        failed = self.failed()
        told = failures_told(self.out) if len(failed) else {}
        for start in range(0, len(failed), ROWS_OF_A_JOURNAL):
            numbers = failed[start : start + ROWS_OF_A_JOURNAL]
            tokens = self._tokens(numbers)
            codes = self.ledger.outcomes.by_token(self._numbers[numbers], tokens)
            rows = [
                self._row(self.case(number), token, AGAIN, self._again(number, told), next_turn(code) - 1)
                for number, token, code in zip(numbers.tolist(), tokens.tolist(), codes.tolist(), strict=True)
                if is_failed(code)  # else its scan changed
            ]
            if rows:
                self.ledger.add(*rows)

    def _again(self, number: int, told: dict[int, tuple[str, str]]) -> dict[str, object]:
        """The reason stays until there is another outcome."""
        _, sentence = told.get(int(self._asked[number]), ("", ""))
        return {"failure": f"{sentence.removesuffix(TO_BE_TRIED_AGAIN)} {TO_BE_TRIED_AGAIN}".strip()}

    def others(self, numbers: np.ndarray) -> np.ndarray:
        """All cases but these."""
        return np.setdiff1d(np.arange(len(self)), numbers, assume_unique=True)

    def changed(self, numbers: np.ndarray) -> Iterator[int]:
        """Those of the recorded cases ``numbers`` that have no outcome for their scans as they are now. What is done
        stays done where its scan is not there any more."""
        pool = ThreadPoolExecutor(LOOKERS)  # a look at a network drive is a wait
        try:
            parts = [numbers[start : start + LOOKED_AT] for start in range(0, len(numbers), LOOKED_AT)]
            for part, tokens in zip(parts, pool.map(self._tokens, parts), strict=True):
                changed = is_open(self.ledger.outcomes.by_token(self._numbers[part], tokens))
                part, tokens = part[changed], tokens[changed]
                codes = self.ledger.outcomes.by_asked(self._numbers[part], self._asked[part])
                for number, token, code in zip(part.tolist(), tokens.tolist(), codes.tolist(), strict=True):
                    if not (is_done(code) and token == token_of(int(self._asked[number]), ABSENT)):
                        yield number
        finally:
            pool.shutdown(cancel_futures=True)

    def counts(self) -> tuple[int, int]:
        """How many cases are recorded as failed, and how many have no outcome."""
        self.ledger.refresh()
        codes = self._codes()
        return int(is_failed(codes).sum()), int(is_open(codes).sum())

    def failed(self) -> np.ndarray:
        """The numbers of the cases that are recorded as failed under these settings."""
        return np.flatnonzero(is_failed(self._codes()))

    def without(self) -> np.ndarray:
        """The numbers of the cases whose latest try under these settings failed, also of those to be tried again."""
        return np.flatnonzero(is_without(self._codes()))

    def _codes(self) -> np.ndarray:
        return self.ledger.outcomes.by_asked(self._numbers, self._asked)

    def _tokens(self, numbers: np.ndarray) -> np.ndarray:
        rows = self.table.select(["asked", "path", "others"]).take(numbers)
        columns = (rows[name].to_pylist() for name in ("asked", "path", "others"))
        tokens = (token_of(asked, self._state(path, others)) for asked, path, others in zip(*columns, strict=True))
        return np.fromiter(tokens, np.int64, len(numbers))

    def one(self, number: int) -> Outcome:
        """Answer one case, unless somebody else does or did.

        Raises
        ------
        NotWritten : the output cannot be written; nothing is recorded of the case.
        BrainIACError : a model or the device is missing; nothing is recorded either.
        """
        case = self.case(number)
        with self.ledger.claim(case.id) as mine:
            if not mine:
                return Outcome(number, BUSY)
            self.ledger.refresh()
            token = self._token(case)
            if not is_open(self._code(case, token)):
                return Outcome(number, KNOWN)
            process = self._processor()  # a missing device or model is no scan's fault either
            try:
                facts = process(case)
            except NotWritten:  # a full disk is no scan's fault, and would fail all that come
                raise
            except Exception as error:
                if is_for_the_caller(error, self.settings.device) or isinstance(error, MemoryError):
                    raise
                return self._failed(number, case, token, in_a_sentence(error))
            self._record(self._row(case, token, DONE, facts, self._turn(case)))
        return Outcome(number, DONE)

    def give_up(self, number: int, sentence: str) -> Outcome:
        """Record a case that ended its process, so that no later run dies of it again."""
        case = self.case(number)
        token = self._token(case)
        self.ledger.refresh()
        if is_done(self._code(case, token)):  # it died after that
            return Outcome(number, KNOWN)
        return self._failed(number, case, token, sentence)

    def _failed(self, number: int, case: BatchCase, token: int, sentence: str) -> Outcome:
        self._record(self._row(case, token, FAILED, {"failure": sentence}, self._turn(case)))
        return Outcome(number, FAILED, sentence)

    def _code(self, case: BatchCase, token: int) -> int:
        latest = self.ledger.outcomes.of_one(case_number(case.id))
        return latest.code if latest.token == token else UNKNOWN

    def _turn(self, case: BatchCase) -> int:
        return next_turn(self.ledger.outcomes.of_one(case_number(case.id)).code)

    def _row(self, case: BatchCase, token: int, status: str, facts: dict[str, object], turn: int) -> dict[str, object]:
        of_case = {"id": case.id, "path": case.path, "manifest": case.facts, "asked": _asked(case, self.key)}
        return {**of_case, "token": token, "status": status, "turn": turn, "facts": facts}

    def _record(self, row: dict[str, object]) -> None:
        if self.ledger.add(row):
            fold(self.out)

    def _token(self, case: BatchCase) -> int:
        return token_of(_asked(case, self.key), self._state(case.path, case.others))

    def _state(self, path: str, others: Sequence[str]) -> str:
        """Of all files that are read; of a study also those beside its images."""
        try:
            states = [input_state(one) for one in (path, *others)]
        except OSError:
            return ABSENT
        if self.settings.studies:
            states = [state + state_beside(Path(one)) for state, one in zip(states, (path, *others), strict=True)]
        return "|".join(states)

    def _processor(self) -> Process:
        if self._process is None:
            if self.settings.studies:
                from BrainIACLib.batch.one_study import StudyWorker

                self._process = StudyWorker(self.out, self.settings).process
            else:
                from BrainIACLib.batch.one_case import CaseWorker

                self._process = CaseWorker(self.out, self.settings).process
        return self._process


def _asked(case: BatchCase, key: str) -> int:
    named = case.facts["files"] if case.suffix == STUDY else ""  # which sequence each file of a study is called
    return asked_of(case.id, key + named, case.facts.get("age_years", ""))
