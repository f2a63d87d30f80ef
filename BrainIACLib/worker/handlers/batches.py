"""A whole folder of scans, through the queue of the batch command."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import Job
from BrainIACLib.worker.answering import answer
from BrainIACLib.worker.requests import RunBatch
from BrainIACLib.worker.session import Session

SECONDS_BETWEEN_SIGNS = 60.0  # of life; the panel takes a worker for hung that says nothing for fifteen minutes


@answer.register
def run_batch(request: RunBatch, session: Session, job: Job) -> dict[str, Any]:
    """Begin or continue; the tables and the quality page at the end."""
    from BrainIACLib.batch.cases import cases_of
    from BrainIACLib.batch.index import write_embeddings, write_failures
    from BrainIACLib.batch.layout import begin_dataset
    from BrainIACLib.batch.local_engine import LocalPool, fitting_jobs
    from BrainIACLib.batch.quality_page import write_page
    from BrainIACLib.batch.settings import Settings
    from BrainIACLib.batch.status import status_of
    from BrainIACLib.batch.work import Outcome, Work, begin, current_index
    from BrainIACLib.embeddings.files import check_format

    check_format(Path("index.parquet"))  # before anything else is done
    if request.out.resolve().is_relative_to(request.source.resolve()):
        raise BrainIACError(
            f"'{request.out}' lies in the folder of the scans, where a later run would take the results for scans; "
            "choose a folder outside."
        )
    settings = Settings(
        tasks=request.tasks,
        answered_by=dict(request.models),
        saliency=request.saliency,
        samples=request.samples,
        preprocessing=request.options,
        device=request.device,
        models_dir=str(session.models[-1]) if session.models else None,
    )
    job.report("looking for scans", 0.0)
    with _signs_of_life(job, "looking for scans", 0.0):
        cases = cases_of(request.source)
        try:
            begin_dataset(request.out, request.source)
            run = begin(request.out, cases, settings)
            work = Work(request.out, run)
        except OSError as error:
            raise BrainIACError(
                f"'{request.out}' cannot be written ({error.strerror}); choose another folder for the results."
            ) from None
        if request.retry_failed:
            work.try_failed_again()
        numbers = list(work.left())
    known, began, new, failed = len(cases) - len(numbers), time.monotonic(), 0, 0

    def told(outcome: Outcome) -> None:
        nonlocal new, failed
        new += 1
        failed += outcome.status == "failed"
        seconds = (time.monotonic() - began) / new * (len(numbers) - new)
        text = f"{known + new} of {len(cases)} scans" + (f", {failed} failed" if failed else "")
        text += f", about {_in_words(seconds)} left" if seconds else ""
        job.report(text, (known + new) / len(cases))

    job.report(f"{known} of {len(cases)} scans", known / len(cases))
    jobs = request.jobs or max(1, fitting_jobs() - 1)
    LocalPool(work, run, min(jobs, max(1, len(numbers)))).go(numbers, told)
    with _signs_of_life(job, "writing the tables and the quality page", 1.0):
        index = current_index(request.out)
        write_embeddings(request.out, index)
        write_failures(request.out, index)
        page = write_page(request.out, index)
        status = status_of(request.out)
    return {
        "scans": status.cases,
        "done": status.done,
        "failed": status.failed,
        "failures": [list(sentence) for sentence in status.sentences],
        "page": str(page),
    }


@contextlib.contextmanager
def _signs_of_life(job: Job, step: str, fraction: float) -> Iterator[None]:
    """Report now and then while a step goes on that reports nothing: a large share takes long to walk."""
    began, over = time.monotonic(), threading.Event()

    def tell() -> None:
        while not over.wait(SECONDS_BETWEEN_SIGNS):
            job.progress(f"{step} for {_in_words(time.monotonic() - began)}", fraction)

    teller = threading.Thread(target=tell, daemon=True)
    teller.start()
    try:
        yield
    finally:
        over.set()
        teller.join()


def _in_words(seconds: float) -> str:
    """Rounded, as an estimate is."""
    minutes = seconds / 60
    if minutes < 1.5:
        return "a minute"
    return f"{minutes:.0f} minutes" if minutes < 90 else f"{minutes / 60:.1f} hours"
