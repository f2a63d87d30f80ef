"""``--device`` and ``--processes`` of the commands that train cells."""

from __future__ import annotations

import argparse

from BrainIACLib.device import choose_device
from BrainIACLib.errors import BrainIACError


def add_hardware_options(parser: argparse.ArgumentParser, processes: int) -> None:
    """Both options; ``processes`` is the default."""
    parser.add_argument(
        "--device",
        type=_device,
        default="cpu",
        help="that trains the cells: cpu (default), cuda, cuda:1, mps, auto",
    )
    parser.add_argument(
        "--processes", type=_processes, default=processes, help=f"how many work at the same time ({processes})"
    )


def _device(text: str) -> str:
    try:
        return choose_device(text)
    except BrainIACError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _processes(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)
