"""What every command that reads scans can be told."""

from __future__ import annotations

import argparse
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from BrainIACLib.preprocessing.options import PreprocessingOptions

OLDEST = 130  # years
SCAN_HELP = "NIfTI, NRRD, MetaImage, MGZ, a DICOM folder, or a zip of one of these"


def add_scan_options(command: argparse.ArgumentParser) -> None:
    """How to read, preprocess and compute."""
    command.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    command.add_argument("--series", metavar="UID", help="the DICOM series to read where a folder holds several")
    command.add_argument("--frame", type=from_zero, metavar="N", help="the frame to read of a 4D file, from 0")
    brain = command.add_mutually_exclusive_group()
    brain.add_argument("--mask", type=Path, metavar="FILE", help="use this brain mask instead of extracting the brain")
    add_preprocessing_options(command, brain)


def add_preprocessing_options(
    command: argparse.ArgumentParser, brain: argparse._ActionsContainer | None = None
) -> None:
    """How scans are prepared and on what it is computed.

    Parameters
    ----------
    brain : holds the ways to find the brain, where ``command`` has others than the option.
    """
    for field in dataclasses.fields(PreprocessingOptions):
        _add_option(brain if brain is not None and field.name == "brain_extraction" else command, field)
    command.add_argument("--device", default="auto", help="where to compute: auto, cpu, cuda or mps (default auto)")


def _add_option(command: argparse._ActionsContainer, field: dataclasses.Field[Any]) -> None:
    flag, text = f"--{field.name.replace('_', '-')}", field.metadata["help"]
    if isinstance(field.default, bool):
        command.add_argument(
            flag,
            action=argparse.BooleanOptionalAction,
            default=field.default,
            help=f"{text} (default: {'yes' if field.default else 'no'})",
        )
    else:
        command.add_argument(
            flag,
            type=type(field.default),
            default=field.default,
            choices=field.metadata["choices"] or None,
            help=f"{text} (default: {field.default})",
        )


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Which model, and where it lies."""
    command.add_argument(
        "--model", metavar="ID", help="which model, where several are installed (brainiac models list)"
    )
    add_models_dir(command, must_exist=True)


def add_answer_options(command: argparse.ArgumentParser, out_needed: bool) -> None:
    """What to say beside the answer, and where to write it."""
    command.add_argument("--accept-missing", action="store_true", help="use the mean of the scans that are there")
    command.add_argument(
        "--age",
        type=age,
        metavar="YEARS",
        help="age of the person at the scan: gives the brain age gap, and a warning outside the training ages",
    )
    command.add_argument(
        "--trust", action="store_true", help="also change the scan slightly and check that the answer holds"
    )
    command.add_argument(
        "--sanity-check", action="store_true", help="also check that the map depends on the model's weights"
    )
    command.add_argument(
        "--out",
        type=Path,
        required=out_needed,
        metavar="FOLDER",
        help="where the results go: answer, saliency map, brain, mask, transform and picture",
    )
    command.add_argument("--samples", type=positive, default=10, help="noise samples of the saliency map (default 10)")


def add_models_dir(command: argparse.ArgumentParser, must_exist: bool = False) -> None:
    """Where the user's models lie; a command that only reads them needs a folder that is there."""
    command.add_argument(
        "--models-dir",
        type=existing_folder if must_exist else Path,
        metavar="FOLDER",
        help="your model folder (default: BRAINIAC_MODELS, or the system's)",
    )


def preprocessing_options(options: argparse.Namespace) -> PreprocessingOptions:
    """The library's options from the command line's."""
    names = [field.name for field in dataclasses.fields(PreprocessingOptions)]
    return PreprocessingOptions(**{name: getattr(options, name) for name in names})


def positive(text: str) -> int:
    """An argument that is a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, not '{text}'")
    return int(text)


def from_zero(text: str) -> int:
    """An argument that is a whole number of at least 0."""
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 0, not '{text}'")
    return int(text)


def age(text: str) -> float:
    """An argument that is the age of a person in years."""
    try:
        years = float(text)
    except ValueError:
        years = float("nan")
    if not 0 <= years <= OLDEST:
        raise argparse.ArgumentTypeError(f"must be an age in years, from 0 to {OLDEST}, not '{text}'")
    return years


def existing_folder(text: str) -> Path:
    """An argument that is a folder."""
    if not Path(text).is_dir():
        raise argparse.ArgumentTypeError(f"there is no folder '{text}'")
    return Path(text)


def print_json(**fields: object) -> None:
    """One JSON object on one line, at once."""
    print(in_json(fields), flush=True)


def in_json(fields: Mapping[str, object]) -> str:
    """One line of ``--json``; what it can hold is published in ``output.schema.json``."""
    return json.dumps(fields)
