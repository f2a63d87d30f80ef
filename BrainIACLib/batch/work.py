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
from BrainIACLib.batch.index import fold, tell_manifest, update_index
from BrainIACLib.batch.ledger import DONE, FAILED, ROOM, Ledger, asked_of, token_of
from BrainIACLib.batch.settings import Settings, settings_from_json
from BrainIACLib.batch.statuses import DONE_CODE, FAILED_CODE, UNKNOWN
from BrainIACLib.errors import BrainIACError, NotWritten, in_a_sentence, is_for_the_caller
from BrainIACLib.publishing import write_bytes, write_text
from BrainIACLib.scans.input_state import input_state
from BrainIACLib.studies.sidecar import state_beside

if typing.TYPE_CHECKING:
    import pyarrow

BUSY, KNOWN, STOPPED = "busy", "known", "stopped"
CASES = "cases.arrow"  # uncompressed, so that it is read where it lies
LOOKERS, LOOKED_AT = 8, 1024  # threads that wait for the file system, cases of each turn
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

    def left(self, retry_failed: bool = False) -> Iterator[int]:
        """The numbers of the cases that are not done yet as they are now: those without a record, then those that
        changed since."""
        fresh = self.unrecorded(retry_failed)
        yield from fresh.tolist()
        yield from self.changed(self.others(fresh))

    def unrecorded(self, retry_failed: bool = False) -> np.ndarray:
        """The numbers of the cases of which nothing is recorded under these settings; no scan is looked at.

        Parameters
        ----------
        retry_failed : take those that failed for new.
        """
        codes = self._codes()
        return np.flatnonzero((codes == UNKNOWN) | (retry_failed & (codes == FAILED_CODE)))

    def others(self, numbers: np.ndarray) -> np.ndarray:
        """All cases but these."""
        return np.setdiff1d(np.arange(len(self)), numbers, assume_unique=True)

    def changed(self, numbers: np.ndarray) -> Iterator[int]:
        """Those of the recorded cases ``numbers`` whose scans are not those of the record any more."""
        pool = ThreadPoolExecutor(LOOKERS)  # a look at a network drive is a wait
        try:
            parts = [numbers[start : start + LOOKED_AT] for start in range(0, len(numbers), LOOKED_AT)]
            for part, tokens in zip(parts, pool.map(self._tokens, parts), strict=True):
                yield from part[self.ledger.tokens.of(tokens) == UNKNOWN].tolist()
        finally:
            pool.shutdown(cancel_futures=True)

    def counts(self) -> tuple[int, int]:
        """How many cases are recorded as failed, and how many not at all."""
        self.ledger.refresh()
        codes = self._codes()
        return int((codes == FAILED_CODE).sum()), int((codes == UNKNOWN).sum())

    def failed(self) -> np.ndarray:
        """The numbers of the cases that are recorded as failed under these settings."""
        return np.flatnonzero(self._codes() == FAILED_CODE)

    def _codes(self) -> np.ndarray:
        return self.ledger.asked.of(self.table["asked"].to_numpy())

    def _tokens(self, numbers: np.ndarray) -> np.ndarray:
        rows = self.table.select(["asked", "path", "others"]).take(numbers)
        columns = (rows[name].to_pylist() for name in ("asked", "path", "others"))
        tokens = (token_of(asked, self._state(path, others)) for asked, path, others in zip(*columns, strict=True))
        return np.fromiter(tokens, np.int64, len(numbers))

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
            token = self._token(case)
            known = self.ledger.tokens.of_one(token)
            if known == DONE_CODE or (known == FAILED_CODE and not retry_failed):
                return Outcome(number, KNOWN)
            try:
                facts = self._processor()(case)
            except NotWritten:  # a full disk is no scan's fault, and would fail all that come
                raise
            except Exception as error:
                if is_for_the_caller(error, self.settings.device) or isinstance(error, MemoryError):
                    raise
                return self._failed(number, case, token, in_a_sentence(error))
            self._record(case, token, DONE, facts)
        return Outcome(number, DONE)

    def give_up(self, number: int, sentence: str) -> Outcome:
        """Record a case that ended its process, so that no later run dies of it again."""
        case = self.case(number)
        return self._failed(number, case, self._token(case), sentence)

    def _failed(self, number: int, case: BatchCase, token: int, sentence: str) -> Outcome:
        self._record(case, token, FAILED, {"failure": sentence})
        return Outcome(number, FAILED, sentence)

    def _record(self, case: BatchCase, token: int, status: str, facts: dict[str, object]) -> None:
        of_case = {"id": case.id, "path": case.path, "manifest": case.facts, "asked": _asked(case, self.key)}
        if self.ledger.add({**of_case, "token": token, "status": status, "facts": facts}):
            fold(self.out)

    def _token(self, case: BatchCase) -> int:
        return token_of(_asked(case, self.key), self._state(case.path, case.others))

    def _state(self, path: str, others: Sequence[str]) -> str:
        """Of all files that are read; of a study also those beside its images."""
        try:
            states = [input_state(one) for one in (path, *others)]
        except OSError:
            return "absent"
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
