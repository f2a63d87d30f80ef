"""``--device`` and ``--processes`` of the commands that train cells."""

from __future__ import annotations

import argparse

import torch


def add_hardware_options(parser: argparse.ArgumentParser, processes: int) -> None:
    """Both options; ``processes`` is the default."""
    parser.add_argument(
        "--device", type=_device, default="cpu", help="on which cells are trained: cpu (default), cuda, cuda:1, mps"
    )
    parser.add_argument(
        "--processes", type=_processes, default=processes, help=f"how many work at the same time ({processes})"
    )


def _device(text: str) -> str:
    try:
        torch.device(text)
    except RuntimeError:
        raise argparse.ArgumentTypeError(f"'{text}' is no device that PyTorch knows") from None
    return text


def _processes(text: str) -> int:
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a whole number of 1 or more")
    return int(text)
