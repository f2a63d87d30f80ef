"""``brainiac``: the library for people without Slicer.

Exit status: 0 all answered, 1 some input failed, 2 wrong usage, 130 stopped by the person.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import BrainIACLib
from BrainIACLib.cli import analysis, embed, models, serve, tasks, train_head
from BrainIACLib.cli.scan_options import print_json
from BrainIACLib.errors import BrainIACError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="brainiac", description="Brain MRI analysis with BrainIAC. Research use only; not a medical device."
    )
    parser.add_argument("--version", action="version", version=f"brainiac {BrainIACLib.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    analysis.add_commands(commands)
    tasks.add_commands(commands)
    embed.add_commands(commands)
    train_head.add_commands(commands)
    models.add_commands(commands)
    serve.add_commands(commands)
    options = parser.parse_args(arguments)
    try:
        return options.run(options)
    except BrainIACError as error:
        if getattr(options, "json", False):
            print_json(error=str(error))
        else:
            print(f"brainiac: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("brainiac: stopped; nothing half-written is left behind.", file=sys.stderr)
        return 130
