"""``brainiac volumes``: ml and share of the intracranial volume of brain structures, and their label map."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from BrainIACLib import RESEARCH_USE_ONLY
from BrainIACLib.cli.answering import Answer, ask_each, prepare, results_in_json
from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.questions import Question
from BrainIACLib.cli.scan_options import SCAN_HELP, add_models_dir, add_scan_options, age
from BrainIACLib.worker.client import Client
from BrainIACLib.worker.requests import MeasureVolumes


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command of this file."""
    volumes = commands.add_parser(
        "volumes",
        help="volumes of brain structures in ml and as shares of the intracranial volume",
        description="Measures ventricles, sulcal fluid, cortex, white matter, deep nuclei, hippocampus, cerebellum, "
        "brainstem and lesions. Made for whole brains of adults, best T1. With --out, the table and the label map on "
        "the scan's own grid are written, of several scans into one subfolder each.",
    )
    volumes.add_argument("scans", nargs="+", metavar="SCAN", help=SCAN_HELP)
    volumes.add_argument("--out", type=Path, metavar="FOLDER", help="write volumes.csv and structures.nii.gz there")
    volumes.add_argument(
        "--age", type=age, metavar="YEARS", help="age at the scan: adds each share's percentile among healthy adults"
    )
    add_scan_options(volumes)
    add_models_dir(volumes, must_exist=True)
    volumes.set_defaults(run=_volumes)


def _volumes(options: argparse.Namespace) -> int:
    measured = False

    def ask(question: Question, client: Client, bar: ProgressBar) -> Answer:
        prepare(options, question, client, bar)
        (slot, name), folders = next(iter(question.names.items())), question.folders
        found = client.call(MeasureVolumes(name, folders.get(slot), options.age), bar.job("volumes", 0.6, 1.0))
        result, _ = found.pop("result"), found.pop("labels")
        results = {slot: str(folders[slot] / Path(result).name)} if result else {}
        return {**question.to_json(), **results_in_json(results), **found}

    def show(question: Question, answer: Answer) -> None:
        nonlocal measured
        measured = True
        print(f"{answer['file']}: intracranial volume {answer['intracranial_ml']:.0f} ml")
        for volume in answer["volumes"]:
            mark = " *" if volume["structure"] in answer["loose"] else ""
            share = 100 * volume["share_of_intracranial"]
            percentile = volume["percentile_for_age"]
            rank = "" if percentile is None else f"   percentile {percentile:3.0f}"
            print(f"  {volume['title']:28s} {volume['ml']:8.1f} ml {share:7.2f} %{rank}{mark}")
        print("  * beyond head size, follows another measurement only loosely (r below 0.5): do not rely on it")
        if answer["percentiles"]:
            print(f"  {answer['percentiles']}")
        for warning in answer["warnings"]:
            print(f"  warning: {warning}")

    status = ask_each(options, options.scans, None, ask, show)
    if measured:
        print(RESEARCH_USE_ONLY, file=sys.stderr)
    return status
