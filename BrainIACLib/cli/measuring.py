"""How a command that measures scans asks about each of them, and says at the end what its numbers are for."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from BrainIACLib import RESEARCH_USE_ONLY
from BrainIACLib.cli.answering import Answer, ask_each, prepare, results_in_json
from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.questions import Question
from BrainIACLib.worker.client import Client
from BrainIACLib.worker.requests import Request


def measure_each(
    options: argparse.Namespace,
    step: str,
    request: Callable[[str, Path | None], Request],
    show: Callable[[Answer], None],
) -> int:
    """Prepare each scan of the command and measure it; returns the exit status.

    Parameters
    ----------
    step : what the progress bar calls the measurement.
    request : of the scan's name in the study, and of the folder for its files, if any are written.
    show : how an answer is printed for a person.
    """
    answered = False

    def ask(question: Question, client: Client, bar: ProgressBar) -> Answer:
        prepare(options, question, client, bar)
        (slot, name), folders = next(iter(question.names.items())), question.folders
        found = client.call(request(name, folders.get(slot)), bar.job(step, 0.6, 1.0))
        result, _ = found.pop("result"), found.pop("labels", None)
        results = {slot: str(folders[slot] / Path(result).name)} if result else {}
        return {**question.to_json(), **results_in_json(results), **found}

    def show_one(_: Question, answer: Answer) -> None:
        nonlocal answered
        answered = True
        show(answer)
        for warning in answer["warnings"]:
            print(f"  warning: {warning}")

    status = ask_each(options, options.scans, None, ask, show_one)
    if answered:
        print(RESEARCH_USE_ONLY, file=sys.stderr)
    return status
