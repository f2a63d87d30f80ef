"""What every command that reads scans can be told."""

from __future__ import annotations

import argparse
import json
import os
import typing
from collections.abc import Sequence
from pathlib import Path

from BrainIACLib.preprocessing.brain_extraction import AUTO, AUTO_HELP, BACKENDS

if typing.TYPE_CHECKING:
    from BrainIACLib.preprocessing.pipeline import PreprocessingOptions

OLDEST = 130  # years
SCAN_HELP = "NIfTI, NRRD, MHA, a DICOM folder, or a zip of DICOM"


def add_scan_options(command: argparse.ArgumentParser) -> None:
    """How to read, preprocess and compute."""
    command.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    command.add_argument("--series", metavar="UID", help="the DICOM series to read where a folder holds several")
    command.add_argument("--frame", type=from_zero, metavar="N", help="the frame to read of a 4D file, from 0")
    ways = {AUTO: AUTO_HELP} | {way.name: way.help for way in BACKENDS.values() if not way.takes_mask}
    brain = command.add_mutually_exclusive_group()
    brain.add_argument(
        "--brain-extraction",
        choices=ways,
        default=AUTO,
        help=f"how to find the brain ({'; '.join(f'{name}: {text}' for name, text in ways.items())})",
    )
    brain.add_argument("--mask", type=Path, metavar="FILE", help="use this brain mask instead of extracting the brain")
    command.add_argument("--no-bias-field", action="store_true", help="skip the N4 bias-field correction")
    command.add_argument("--device", default="auto", help="auto, cpu, cuda or mps")
    command.add_argument("--seed", type=int, default=0, help="seed of every random act (default 0)")


def add_model_options(command: argparse.ArgumentParser) -> None:
    """Which model, and whether to feed it as upstream does."""
    command.add_argument(
        "--model", metavar="ID", help="which model, where several are installed (brainiac models list)"
    )
    add_models_dir(command, must_exist=True)
    command.add_argument(
        "--preset",
        choices=("standard", "official"),
        default="standard",
        help="official: take scans that are already preprocessed, in the array order in which they are stored, as "
        "upstream's code does (to reproduce its numbers)",
    )


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
    from BrainIACLib.preprocessing.pipeline import PreprocessingOptions
    from BrainIACLib.scans import read_scan

    return PreprocessingOptions(
        bias_field=not options.no_bias_field,
        brain_extraction="mask" if options.mask else options.brain_extraction,
        mask=read_scan(options.mask).image if options.mask else None,
        seed=options.seed,
    )


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


def each_once(paths: Sequence[Path]) -> list[Path]:
    """The paths without those that are an earlier one, written in another way. Links are names of their own."""
    places: dict[str, Path] = {}
    for path in paths:
        places.setdefault(os.path.abspath(path), path)
    return list(places.values())


def print_json(**fields: object) -> None:
    """One JSON object on one line, at once."""
    print(json.dumps(fields), flush=True)
