"""``brainiac analyze``, ``sequence``, ``age``, ``idh``, ``survival``, ``mci``, ``stroke``: answers for scans in files.

All of them take the same options and give the same JSON; ``analyze`` asks any task and always writes its results.
"""

from __future__ import annotations

import argparse
import sys
from typing import Any

from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.cli.answering import Answer, answer_scans
from BrainIACLib.cli.questions import Question
from BrainIACLib.cli.scan_options import SCAN_HELP, add_answer_options, add_model_options, add_scan_options
from BrainIACLib.sequences import STANDARD_NAMES, STUDY_ORDER
from BrainIACLib.trust.words import examined
from BrainIACLib.trust.words import probability as shown_probability

ONE_SCAN = {
    "age": "brain age in years from a T1 scan",
    "mci": "mild cognitive impairment from a T1 scan",
    "stroke": "days since a stroke from a T1 scan",
}
SEVERAL_SCANS = {
    "idh": ("IDH class of a diffuse glioma", STUDY_ORDER[:2]),
    "survival": ("survival of a glioblastoma at the model's end point", STUDY_ORDER),
}


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the commands of this file."""
    analyze = commands.add_parser(
        "analyze",
        help="the answer with saliency map, brain, mask, transform and picture",
        description="The answer with saliency map, brain, mask, transform and picture, written into the folder of "
        "--out: those of one scan into the folder itself, of several into one subfolder each, named after the file. "
        "Earlier results of the same file or DICOM folder are replaced; where those of another are, none are written.",
    )
    analyze.add_argument(
        "--task", default=SEQUENCE_TASK, help="which question (default: sequence); yours after train-head"
    )
    sequence = commands.add_parser(
        "sequence", help=f"which MR sequence is it: {', '.join(STANDARD_NAMES)}, or none of these"
    )
    for command in (analyze, sequence):
        _finish(command, "SCAN", scans_needed=True, out_needed=command is analyze)
    analyze.set_defaults(run=_run)
    sequence.set_defaults(run=_sequence, task=SEQUENCE_TASK)
    for task, text in ONE_SCAN.items():
        source = "bundled, adults" if task == "age" else "needs an imported model"
        command = commands.add_parser(task, help=f"{text} ({source})")
        _finish(command, "T1", scans_needed=True)
        command.set_defaults(run=_run, task=task)
    for task, (text, slots) in SEVERAL_SCANS.items():
        command = commands.add_parser(task, help=f"{text} (needs an imported model)")
        for slot in slots:
            command.add_argument(f"--{slot.lower()}", metavar="SCAN", help=f"the same as {slot}=SCAN")
        _finish(command, "SLOT=SCAN", scans_needed=False)
        command.set_defaults(run=_run, task=task, slots=slots)


def _finish(command: argparse.ArgumentParser, metavar: str, scans_needed: bool, out_needed: bool = False) -> None:
    command.add_argument(
        "scans",
        nargs="+" if scans_needed else "*",
        metavar=metavar,
        help=f"{SCAN_HELP}; for a task that takes several scans: T1CE=FILE FLAIR=FILE ...",
    )
    add_scan_options(command)
    add_model_options(command)
    add_answer_options(command, out_needed)


def _run(options: argparse.Namespace) -> int:
    by_flag = {slot: getattr(options, slot.lower()) for slot in getattr(options, "slots", ())}
    return answer_scans(options, [*options.scans, *(f"{slot}={path}" for slot, path in by_flag.items() if path)])


def _sequence(options: argparse.Namespace) -> int:
    """A table, a row a scan."""
    notice = ""

    def show(question: Question, answer: Answer) -> None:
        nonlocal notice
        notice = answer["notice"]
        (path,) = question.paths.values()
        probability, warnings = shown_probability(answer["confidence"]), " ".join(answer["warnings"])
        print(_row(str(path), answer["label"], probability, warnings))
        for line in examined(answer["trust"]):
            print(f"  {line}")

    if not options.json:
        print(_row("file", "sequence", "probability", "warnings"))
    status = answer_scans(options, options.scans, show)
    if notice:
        print(notice, file=sys.stderr)  # the table alone goes on to other programs
    return status


def _row(file: str, sequence: str, probability: str, warnings: str) -> str:
    return f"{file:<44} {sequence:<8} {probability:>11}  {warnings}".rstrip()
