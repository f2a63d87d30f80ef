"""``brainiac batch``: a whole cohort into one folder of BIDS derivatives; stopped and started as one likes."""

from __future__ import annotations

import argparse
import itertools
import sys
import time
import typing
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from BrainIACLib.cli.scan_options import add_models_dir, positive, print_json
from BrainIACLib.errors import BrainIACError

if typing.TYPE_CHECKING:
    from BrainIACLib.batch.cases import BatchCase
    from BrainIACLib.batch.settings import Settings
    from BrainIACLib.batch.work import Outcome, Work

SECONDS_BETWEEN_LINES = 30.0  # where no terminal shows the progress bar


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command of this file."""
    batch = commands.add_parser(
        "batch",
        help="prepare, embed and answer a whole cohort into a folder of BIDS derivatives",
        description="Each scan becomes a set of BIDS derivatives and a row of index.parquet. A run that was stopped "
        "or killed goes on where it was; scans, models or options that changed compute what depends on them. A scan "
        "that fails is recorded with its reason, and the rest goes on.",
    )
    batch.add_argument(
        "--manifest",
        "--input",
        dest="source",
        type=Path,
        metavar="CSV|BIDS_DIR|FOLDER",
        help="a table with the column 'scan', a BIDS data set, or a folder of scans",
    )
    batch.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the derivatives go")
    batch.add_argument(
        "--participant-label", nargs="+", default=[], metavar="LABEL", help="only these participants of a BIDS data set"
    )
    batch.add_argument("--status", action="store_true", help="only say what is done, failed, running and left")
    batch.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    add_batch_options(batch)
    batch.set_defaults(run=_batch)


def add_batch_options(command: argparse.ArgumentParser) -> None:
    """What to do with each case, and where."""
    from BrainIACLib.cli.scan_options import add_preprocessing_options

    command.add_argument(
        "--tasks", nargs="*", metavar="TASK", help="tasks to answer (default: sequence; of studies all)"
    )
    command.add_argument(
        "--studies",
        action="store_true",
        help="answer by study: all scans of a patient and session together, a DICOM folder or zip, with a report each",
    )
    command.add_argument("--saliency", action="store_true", help="also a saliency map for each task")
    command.add_argument("--samples", type=positive, default=10, help="noise samples of each map (default 10)")
    command.add_argument("--model", metavar="ID", help="model whose encoder embeds, where several are installed")
    command.add_argument("--retry-failed", action="store_true", help="try scans again that failed and did not change")
    where = command.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs", type=positive, metavar="N", help="processes on this computer (default: what cores and memory allow)"
    )
    where.add_argument("--slurm", metavar="OPTIONS", help='a SLURM array, such as "partition=cpu,jobs=50,time=600"')
    where.add_argument("--dask", metavar="ADDRESS", help="a Dask scheduler, such as tcp://host:8786")
    add_preprocessing_options(command)
    add_models_dir(command, must_exist=True)


def _batch(options: argparse.Namespace) -> int:
    from BrainIACLib.batch.status import status_of

    if options.status:
        found = status_of(options.out)
        if options.json:
            print_json(**vars(found))
        else:
            print(found.in_words())
        return 0
    if options.source is None:
        raise BrainIACError("Name the scans with --manifest (table, BIDS data set or folder), or ask for --status.")
    return run_batch(options, options.source, options.out, options.participant_label)


def run_batch(options: argparse.Namespace, source: Path, out: Path, labels: list[str], grouped: bool = True) -> int:
    """Begin or continue a batch; the exit status.

    Parameters
    ----------
    grouped : bring tables and page up to date at the end.
    """
    from BrainIACLib.batch.cases import cases_of, not_understood, studies_of
    from BrainIACLib.batch.index import fold
    from BrainIACLib.batch.layout import begin_dataset
    from BrainIACLib.batch.settings import Settings
    from BrainIACLib.batch.work import Work, begin
    from BrainIACLib.cli.scan_options import preprocessing_options
    from BrainIACLib.embeddings.files import check_format

    check_format(Path("index.parquet"))  # before anything else is done
    default = [] if options.studies else ["sequence"]
    settings = Settings(
        tasks=tuple(default if options.tasks is None else options.tasks),
        studies=options.studies,
        saliency=options.saliency,
        samples=options.samples,
        preprocessing=preprocessing_options(options),
        device=options.device,
        models_dir=None if options.models_dir is None else str(options.models_dir.absolute()),
        encoder=options.model,
    )
    settings.models()  # whether all are there
    cases = (studies_of if options.studies else cases_of)(source, labels)
    _look_for_scans(source, cases, out, settings, options.slurm is None and options.dask is None)
    for sentence in not_understood(cases):
        print(f"brainiac: {sentence}", file=sys.stderr)
    try:
        begin_dataset(out, source)
        run = begin(out, cases, settings)
        work = Work(out, run)
    except OSError as error:
        raise BrainIACError(f"'{out}' cannot be written ({error.strerror}); choose another --out.") from None
    if options.retry_failed:
        work.try_failed_again()
    with Progress(len(cases), options.json) as progress:
        fresh = work.unrecorded()
        progress.known(len(cases) - len(fresh))
        numbers = itertools.chain(fresh.tolist(), map(progress.again, work.changed(work.others(fresh))))
        _answer(options, work, run, numbers, progress.told)
    work.ledger.close()
    if grouped:
        group(out)
    else:
        fold(out)
    failed, left = work.counts()
    return 1 if failed or left else 0


def _look_for_scans(source: Path, cases: Sequence[BatchCase], out: Path, settings: Settings, here: bool) -> None:
    """Refuse a cohort of which nothing can be found, before each of its scans is recorded as failed; a warning where
    other computers are to read them (not ``here``). What is recorded may have been archived since.

    Raises
    ------
    ManifestError : none of the scans without a record is there.
    """
    from BrainIACLib.batch.cases import told_absent
    from BrainIACLib.batch.work import without_record
    from BrainIACLib.errors import ManifestError

    if not told_absent(source, cases) or not (told := told_absent(source, without_record(out, cases, settings))):
        return
    if here:
        raise ManifestError(told)
    print(f"brainiac: {told} This run goes on, since the scans may be there on its workers only.", file=sys.stderr)


def group(out: Path) -> None:
    """The tables and the quality page of what is done."""
    from BrainIACLib.batch.index import write_embeddings, write_failures
    from BrainIACLib.batch.ledger import Ledger
    from BrainIACLib.batch.quality_page import done_in_words, write_page
    from BrainIACLib.batch.work import current_index

    index = current_index(out)
    write_embeddings(out, index)
    failed = write_failures(out, index)
    page = write_page(out, index)
    if foreign := Ledger(out, read=False).foreign_journals():
        whose = f"{len(foreign)} journals in '{foreign[0].parent}' are of another user"
        print(f"{whose} and were not read: run this as the user who computed them.", file=sys.stderr)
    done = len(index) - failed
    again = " (--retry-failed tries them again)" if failed else ""
    print(f"{done_in_words(done, index)}, {failed} failed{again}; look at {page}", file=sys.stderr)


def _answer(
    options: argparse.Namespace, work: Work, run: str, numbers: Iterator[int], told: Callable[[Outcome], None]
) -> None:
    """On the engine that was asked for."""
    if options.slurm is not None:
        from BrainIACLib.batch.slurm_engine import run_on_slurm

        run_on_slurm(work, run, list(numbers), told, options.slurm)
    elif options.dask is not None:
        from BrainIACLib.batch.dask_engine import run_on_dask

        run_on_dask(work, run, numbers, told, options.dask)
    else:
        from BrainIACLib.batch.local_engine import LocalPool, fitting_jobs

        jobs = min(options.jobs or fitting_jobs(), len(work))
        LocalPool(work, run, jobs).go(numbers, told)


class Progress:
    """A bar with rate and time left for a person at a terminal, lines elsewhere."""

    def __init__(self, cases: int, as_json: bool):
        from tqdm import tqdm

        self._bar = tqdm(total=cases, unit="scan", disable=None, file=sys.stderr, dynamic_ncols=True)
        self._json, self._cases, self._ready, self._said = as_json, cases, 0, time.monotonic()
        self._new, self._began = 0, time.monotonic()
        self.failed = 0

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def known(self, count: int) -> None:
        """So many were done before."""
        self._ready += count
        self._bar.update(count)
        if not self._bar.disable:
            self._bar.initial += count

    def again(self, number: int) -> int:
        """This case was done before and changed since; its number."""
        self.known(-1)
        return number

    def told(self, outcome: Outcome) -> None:
        """Of one case."""
        self._ready += 1
        self._new += 1
        self._bar.update(1)
        self.failed += outcome.status == "failed"
        if outcome.sentence and not self._json:
            self._bar.write(f"brainiac: {outcome.sentence}", file=sys.stderr)
        if self._json:
            print_json(case=outcome.number, status=outcome.status, reason=outcome.sentence)
        elif self._bar.disable and time.monotonic() - self._said > SECONDS_BETWEEN_LINES:
            self._said = time.monotonic()
            an_hour = 3600 * self._new / (time.monotonic() - self._began)
            print(f"{self._ready} of {self._cases} scans, {an_hour:.0f} an hour", file=sys.stderr, flush=True)
