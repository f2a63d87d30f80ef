"""``brainiac segment``: the mask of a tumor, by an imported model with a decoder."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from BrainIACLib import RESEARCH_USE_ONLY
from BrainIACLib.cli.answering import Answer, ask_each, prepare, results_in_json
from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.questions import Question
from BrainIACLib.cli.scan_options import SCAN_HELP, add_model_options, add_scan_options
from BrainIACLib.worker.client import Client
from BrainIACLib.worker.requests import MakeMask


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command of this file."""
    segment = commands.add_parser(
        "segment",
        help="outline a tumor in a FLAIR scan, with the authors' segmentation file",
        description="Outlines what the decoder of an imported model was trained to outline: with the authors' "
        "segmentation file (v2), the tumor in a FLAIR scan. With --out, the mask on the scan's own grid is written, of "
        "several scans into one subfolder each. No such model is bundled.",
    )
    segment.add_argument("scans", nargs="+", metavar="SCAN", help=SCAN_HELP)
    segment.add_argument("--out", type=Path, metavar="FOLDER", help="write the mask there, as tumor.nii.gz")
    add_scan_options(segment)
    add_model_options(segment)
    segment.set_defaults(run=_segment)


def _segment(options: argparse.Namespace) -> int:
    outlined = False

    def ask(question: Question, client: Client, bar: ProgressBar) -> Answer:
        prepare(options, question, client, bar)
        (slot, name), folders = next(iter(question.names.items())), question.folders
        found = client.call(MakeMask(name, folders.get(slot), options.model), bar.job("mask", 0.6, 1.0))
        result = found.pop("result")
        return {**question.to_json(), **results_in_json({slot: result} if result else {}), **found}

    def show(question: Question, answer: Answer) -> None:
        nonlocal outlined
        outlined = True
        print(f"{answer['file']}: {answer['label']} {answer['ml']:.1f} ml; made for {answer['slot']} scans")
        print(f"  {answer['valid_range']}")
        for warning in answer["warnings"]:
            print(f"  warning: {warning}")
        for statement in answer["unverified"]:
            print(f"  unverified: {statement}")

    status = ask_each(options, options.scans, None, ask, show)
    if outlined:
        print(RESEARCH_USE_ONLY, file=sys.stderr)
    return status
