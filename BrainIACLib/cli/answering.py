"""How every command that answers does it: one study after the other in one worker, each printed as soon as it is done.

An answer is printed as lines for a person or as one JSON object (``output.schema.json``); one that fails is reported in
the same way and does not stop the others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.questions import Question, questions_of
from BrainIACLib.cli.scan_options import preprocessing_options, print_json
from BrainIACLib.cli.words import answer_in_lines, error_in_words
from BrainIACLib.contracts import HeadContract
from BrainIACLib.errors import BrainIACError
from BrainIACLib.trust.age_gap import age_gap_of
from BrainIACLib.worker.client import Client
from BrainIACLib.worker.requests import Predict, PrepareStudy, Save

Answer = dict[str, Any]
"""What the worker answered, with ``files``, ``results``, ``note``, ``age_gap``; ``preparation``: scan -> record."""
Ask = Callable[[Question, Client, ProgressBar], Answer]


def answer_scans(
    options: argparse.Namespace, texts: Sequence[str], show: Callable[[Question, Answer], None] | None = None
) -> int:
    """Answer the task of a command about the scans that it names; returns the exit status.

    Parameters
    ----------
    show : how an answer is printed for a person; as lines by default, after the last of them their limits.
    """
    limits = ""

    def in_lines(question: Question, answer: Answer) -> None:
        nonlocal limits
        print(*answer_in_lines(question.title, answer), sep="\n")
        limits = f"{answer['valid_range']} {answer['notice']}"

    def ask(question: Question, client: Client, bar: ProgressBar) -> Answer:
        return _answer(options, question, client, bar)

    status = ask_each(options, texts, _head(options), ask, show or in_lines, task=options.task)
    if limits:
        print(limits)
    return status


def ask_each(
    options: argparse.Namespace,
    texts: Sequence[str],
    head: HeadContract | None,
    ask: Ask,
    show: Callable[[Question, Answer], None],
    **said_of_failures: str,
) -> int:
    """Ask about one study after the other (see ``questions_of``); returns the exit status.

    Parameters
    ----------
    ask : gets the answer about one study from the worker.
    show : how an answer is printed for a person.
    said_of_failures : fields of the JSON of a failure, beside those that name its scans.
    """
    failed = 0

    def report(question: Question, error: BrainIACError) -> None:
        nonlocal failed
        failed += 1
        if options.json:
            print_json(**said_of_failures, **question.to_json(), error=error_in_words(error))
        else:
            print(f"brainiac: {_naming_the_scan(question, error)}", file=sys.stderr)

    questions = questions_of(texts, head, options.out, getattr(options, "accept_missing", False), report)
    with worker(options) as client:
        for question in questions:
            with ProgressBar(question.title) as bar:
                try:
                    answer = ask(question, client, bar)
                    bar.clear()
                    if options.json:
                        print_json(**{name: value for name, value in answer.items() if name != "preparation"})
                    else:
                        show(question, answer)
                except BrainIACError as error:
                    bar.clear()
                    report(question, error)
    return 1 if failed else 0


def worker(options: argparse.Namespace) -> Client:
    """A client that starts the worker with its first request and ends it when closed; nothing is computed here."""
    return Client(_model_folders(options))


def prepare(options: argparse.Namespace, question: Question, client: Client, bar: ProgressBar) -> Answer:
    """Set the study of a question in the worker; how each of its scans was prepared: name -> warnings and record."""
    request = PrepareStudy(
        scans={question.names[slot]: path for slot, path in question.paths.items()},
        options=preprocessing_options(options),
        mask=options.mask,
        series=options.series,
        frame=options.frame,
        device=options.device,
    )
    scans: Answer = client.call(request, bar.job("preprocessing", 0.05, 0.6))["scans"]
    return scans


def _answer(options: argparse.Namespace, question: Question, client: Client, bar: ProgressBar) -> Answer:
    _refuse_results_of_another_scan(options, question)
    names = question.names
    prepared = prepare(options, question, client, bar)
    asked = {
        "task": options.task,
        "scans": names,
        "model": options.model,
        "accept_missing": options.accept_missing,
        "age_years": options.age,
        "seed": options.seed,
    }
    doubts = {"trust": options.trust, "sanity": options.sanity_check}
    results: dict[str, str] = {}
    answer: Answer = {}
    if not question.folders:
        answer = client.call(Predict(**asked, **doubts), bar.job("answer", 0.6, 1.0))
    for number, (slot, folder) in enumerate(question.folders.items()):
        saved = client.call(
            Save(**asked, **(doubts if number == 0 else {}), folder=folder, scan=names[slot], samples=options.samples),
            bar.job("saliency", *(0.6 + 0.4 * part / len(names) for part in (number, number + 1))),
        )
        answer = answer or {**saved["prediction"], "note": saved["note"]}
        results[slot] = str(folder / Path(saved["result"]).name)
    preparation = {name: scan["record"] for name, scan in prepared.items()}
    gap = age_gap_of(answer, options.age)
    beside = {"age_gap": gap and asdict(gap), "preparation": preparation}
    return {**question.to_json(), **results_in_json(results), **answer, **beside}


def results_in_json(results: Mapping[str, str]) -> dict[str, object]:
    """``results``, slot -> file that was written, and ``result`` where it is one."""
    one = {"result": next(iter(results.values()))} if len(results) == 1 else {}
    return {**one, "results": dict(results)}


def _refuse_results_of_another_scan(options: argparse.Namespace, question: Question) -> None:
    """Before the minutes of preprocessing."""
    from BrainIACLib.reports.earlier_results import refuse_results_of_another_scan
    from BrainIACLib.scans import read_scan

    for slot, folder in question.folders.items():
        path = question.paths[slot]

        def identity(path: Path = path) -> str:
            return read_scan(path, series_uid=options.series, frame=options.frame).identity

        refuse_results_of_another_scan(path, folder, identity)


def _head(options: argparse.Namespace) -> HeadContract | None:
    """Raises ModelError for a model that is missing before anything is read or computed."""
    from BrainIACLib.checkpoints.installed import find_model

    return find_model(options.task, _model_folders(options), options.model).contract.head


def _model_folders(options: argparse.Namespace) -> list[Path]:
    from BrainIACLib.checkpoints.store import model_folders

    return model_folders(options.models_dir)


def _naming_the_scan(question: Question, error: BrainIACError) -> str:
    text = error_in_words(error)
    if any(path.name in text for path in question.paths.values()):
        return text
    return f"{', '.join(repr(str(path)) for path in question.paths.values())}: {text}"
