"""``brainiac serve``: the worker on this terminal, to look at its protocol or to drive it from another program."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command of this file."""
    serve = commands.add_parser(
        "serve", help="answer requests, one JSON object a line on standard input, until it closes (no network)"
    )
    serve.add_argument(
        "--models",
        type=Path,
        action="append",
        metavar="FOLDER",
        help="folder of installed models, repeatable (default: bundled and imported ones)",
    )
    serve.set_defaults(run=_serve)


def _serve(options: argparse.Namespace) -> int:
    from BrainIACLib.private_folder import new_private_folder
    from BrainIACLib.worker.__main__ import main

    models = [argument for folder in options.models or () for argument in ("--models", str(folder))]
    return main([str(new_private_folder()), *models])
