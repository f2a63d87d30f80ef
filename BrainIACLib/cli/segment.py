"""``brainiac segment``: the mask of a tumor, by an imported model with a decoder."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from BrainIACLib.cli.answering import Answer
from BrainIACLib.cli.measuring import measure_each
from BrainIACLib.cli.scan_options import SCAN_HELP, add_model_options, add_scan_options
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
    return measure_each(options, "mask", lambda name, folder: MakeMask(name, folder, options.model), _show)


def _show(answer: Answer) -> None:
    print(f"{answer['file']}: {answer['label']} {answer['ml']:.1f} ml; made for {answer['slot']} scans")
    print(f"  {answer['valid_range']}")
    for statement in answer["unverified"]:
        print(f"  unverified: {statement}")
