"""``brainiac volumes``: ml and share of the intracranial volume of brain structures, and their label map."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from BrainIACLib.cli.answering import Answer
from BrainIACLib.cli.measuring import measure_each
from BrainIACLib.cli.scan_options import SCAN_HELP, add_models_dir, add_scan_options, age
from BrainIACLib.worker.requests import MeasureVolumes


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command of this file."""
    volumes = commands.add_parser(
        "volumes",
        help="volumes of brain structures in ml and as shares of the intracranial volume",
        description="Measures ventricles, sulcal fluid, cortex, white matter, deep nuclei, hippocampus, cerebellum "
        "and brainstem. Made for whole brains of adults, best T1. With --out, the table and the label map on "
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
    return measure_each(options, "volumes", lambda name, folder: MeasureVolumes(name, folder, options.age), _show)


def _show(answer: Answer) -> None:
    print(f"{answer['file']}: intracranial volume {answer['intracranial_ml']:.0f} ml")
    for volume in answer["volumes"]:
        mark = " *" if volume["structure"] in answer["loose"] else ""
        share = 100 * volume["share_of_intracranial"]
        percentile = volume["percentile_for_age"]
        rank = "" if percentile is None else f"   percentile {percentile:3.0f}"
        print(f"  {volume['title']:28s} {volume['ml']:8.1f} ml {share:7.2f}%{rank}{mark}")
    print("  * beyond head size it follows another measurement loosely (r below 0.5), or was not compared")
    if answer["percentiles"]:
        print(f"  {answer['percentiles']}")
