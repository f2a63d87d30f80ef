"""What a person can choose about preprocessing; each choice with the text that command line and panel show."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

from BrainIACLib.preprocessing.brain_extraction import AUTO, AUTO_HELP, BACKENDS

PRESETS = ("standard", "official")
WAYS = {AUTO: AUTO_HELP} | {way.name: way.help for way in BACKENDS.values() if not way.takes_mask}

_Value = TypeVar("_Value", bool, int, float, str)  # what ``dataclasses.field`` is said to return


def option(default: _Value, text: str, choices: Sequence[str] = ()) -> _Value:
    """A field with its help text and its choices, if it has any.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Options:
    ...     smooth: bool = option(False, "smooth the scan first")
    >>> [field.metadata["help"] for field in dataclasses.fields(Options)]
    ['smooth the scan first']
    """
    return dataclasses.field(default=default, metadata={"help": text, "choices": tuple(choices)})


@dataclass(frozen=True)
class PreprocessingOptions:
    """What to do with a scan; the defaults suit any brain MRI.

    A further option is a further field: command line (``cli.scan_options``), requests to the worker and the key of an
    embedding take it from here.
    """

    bias_field: bool = option(True, "correct the bias field with N4")
    brain_extraction: str = option(
        AUTO,
        f"how to find the brain ({'; '.join(f'{name}: {text}' for name, text in WAYS.items())})",
        tuple(WAYS),
    )
    seed: int = option(0, "seed of every random act")
    preset: str = option(
        "standard",
        "official: take scans that are already preprocessed, in the array order in which they are stored, as "
        "upstream's code does (to reproduce its numbers); the other preprocessing options are not used then",
        PRESETS,
    )
