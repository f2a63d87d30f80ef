"""``brainiac``: the library for people without Slicer.

Exit status: 0 all answered, 1 some input failed, 2 wrong usage, 130 stopped by the person,
141 nobody reads the output any more (as a program has that a closed pipe ends).
"""

from __future__ import annotations

import argparse
import contextlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Any, TextIO

import BrainIACLib
from BrainIACLib.errors import BrainIACError
from BrainIACLib.foreign_text import printable_output


class _Parser(argparse.ArgumentParser):
    """Of ``brainiac`` and, because argparse makes subparsers of the same class, of every command."""

    def __init__(self, **arguments: Any) -> None:  # as argparse hands them on
        super().__init__(epilog=BrainIACLib.RESEARCH_USE_ONLY, **arguments)

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Nothing is left over: what a command does not take is said with the usage of that command, not of all."""
        options, surplus = super().parse_known_args(args, namespace)
        if surplus:
            manifest = "--manifest" in self._option_string_actions and not surplus[0].startswith("-")
            hint = f" (a table or folder is given by --manifest {surplus[0]})" if manifest else ""
            self.error(f"unrecognized arguments: {' '.join(surplus)}{hint}")
        return options, surplus


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; returns the exit status."""
    _open_closed_streams()
    try:
        for stream in (sys.stdout, sys.stderr):
            if isinstance(stream, io.TextIOWrapper):  # a terminal that lacks a letter of a file name shows its code
                stream.reconfigure(errors="backslashreplace")
        try:
            with printable_output():
                return _run(arguments)
        finally:
            sys.stdout.flush()  # not first at Python's exit, where a closed pipe could only end in a traceback
    except BrokenPipeError:
        _write_nowhere(sys.stdout, sys.stderr)
        return 141
    except OSError as error:
        _write_nowhere(sys.stdout)
        what = f"'{error.filename}' cannot be used" if error.filename else "The output cannot be written"
        with contextlib.suppress(OSError):
            print(f"brainiac: {what} ({error.strerror or error}).", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("brainiac: stopped; nothing half-written is left behind.", file=sys.stderr)
        return 130


def _open_closed_streams() -> None:
    """Without it the next file that is opened would get the number of a stream that the caller closed (``2>&-``)."""
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        try:
            os.fstat(number)
        except OSError:
            with contextlib.suppress(OSError):
                os.open(os.devnull, os.O_RDWR)  # takes the lowest number that is free: this one
        if getattr(sys, name) is None:  # as where a program without a terminal starts this one
            setattr(sys, name, open(os.devnull, "r" if number == 0 else "w", encoding="utf-8"))


def _write_nowhere(*streams: TextIO) -> None:
    """What is still in their buffers must not fail again when Python ends."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    for stream in streams:
        os.dup2(nowhere, stream.fileno())


def command_line() -> argparse.ArgumentParser:
    """The parser of ``brainiac`` with all of its commands."""
    from BrainIACLib.cli import analysis, batch, embed, models, node, segment, serve, study, train_head, volumes

    parser = _Parser(prog="brainiac", description="Brain MRI analysis with BrainIAC.")
    parser.add_argument("--version", action="version", version=f"brainiac {BrainIACLib.__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    analysis.add_commands(commands)
    study.add_commands(commands)
    embed.add_commands(commands)
    batch.add_commands(commands)
    train_head.add_commands(commands)
    models.add_commands(commands)
    volumes.add_commands(commands)
    segment.add_commands(commands)
    serve.add_commands(commands)
    node.add_commands(commands)
    return parser


def _run(arguments: Sequence[str] | None) -> int:
    # Imported here, so that Ctrl+C in the moment that it takes is answered as at any other.
    from BrainIACLib.cli.scan_options import print_json
    from BrainIACLib.cli.words import error_in_words

    options = command_line().parse_args(arguments)
    try:
        return options.run(options)
    except BrainIACError as error:
        if getattr(options, "json", False):
            print_json(error=error_in_words(error))
        else:
            print(f"brainiac: {error_in_words(error)}", file=sys.stderr)
        return 1
