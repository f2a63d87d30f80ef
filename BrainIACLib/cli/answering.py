"""How every command that answers does it: one study after the other in one worker, each printed as soon as it is done.

An answer is printed as lines for a person or as one JSON object (``output.schema.json``); one that fails is reported in
the same way and does not stop the others.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.questions import Question, questions_of
from BrainIACLib.cli.scan_options import preprocessing_options, print_json
from BrainIACLib.cli.words import answer_in_lines
from BrainIACLib.contracts import HeadContract
from BrainIACLib.errors import BrainIACError
from BrainIACLib.worker.client import Client
from BrainIACLib.worker.requests import Predict, PrepareStudy, Save

Answer = dict[str, Any]
"""The fields of ``Prediction``, ``files``, ``results``, ``note``, and ``preparation``: name of a scan -> record."""


def answer_scans(
    options: argparse.Namespace, texts: Sequence[str], show: Callable[[Question, Answer], None] | None = None
) -> int:
    """Answer the scans that a command names (see ``questions_of``); returns the exit status.

    Parameters
    ----------
    show : how an answer is printed for a person; as lines by default, after the last of them their limits.
    """
    failed, limits = 0, ""

    def report(question: Question, error: BrainIACError) -> None:
        nonlocal failed
        failed += 1
        if options.json:
            print_json(task=options.task, **question.to_json(), error=str(error))
        else:
            print(f"brainiac: {_naming_the_scan(question, error)}", file=sys.stderr)

    questions = questions_of(texts, _head(options), options.out, options.accept_missing, report)
    with worker(options) as client:
        for question in questions:
            with ProgressBar(question.title) as bar:
                try:
                    answer = _answer(options, question, client, bar)
                    bar.clear()
                    if options.json:
                        print_json(**{name: value for name, value in answer.items() if name != "preparation"})
                    elif show is not None:
                        show(question, answer)
                    else:
                        print(*answer_in_lines(question.title, answer), sep="\n")
                        limits = f"{answer['valid_range']} {answer['notice']}"
                except BrainIACError as error:
                    bar.clear()
                    report(question, error)
    if limits:
        print(limits)
    return 1 if failed else 0


def worker(options: argparse.Namespace) -> Client:
    """A client that starts the worker with its first request and ends it when closed; nothing is computed here."""
    return Client(_model_folders(options))


def _answer(options: argparse.Namespace, question: Question, client: Client, bar: ProgressBar) -> Answer:
    _refuse_results_of_another_scan(options, question)
    names = question.names
    study = client.call(
        PrepareStudy(
            scans={names[slot]: path for slot, path in question.paths.items()},
            options=preprocessing_options(options),
            mask=options.mask,
            series=options.series,
            frame=options.frame,
            device=options.device,
        ),
        bar.job("preprocessing", 0.05, 0.6),
    )
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
    result = {"result": next(iter(results.values()))} if len(results) == 1 else {}
    preparation = {name: scan["record"] for name, scan in study["scans"].items()}
    return {**question.to_json(), **result, "results": results, **answer, "preparation": preparation}


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
    text = str(error)
    if any(path.name in text for path in question.paths.values()):
        return text
    return f"{', '.join(repr(str(path)) for path in question.paths.values())}: {text}"
