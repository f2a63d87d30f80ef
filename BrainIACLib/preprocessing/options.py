"""What a person can choose about preprocessing; each choice with the text that command line and panel show."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

from BrainIACLib.preprocessing.brain_extraction import AUTO, AUTO_HELP, BACKENDS, in_panel

PRESETS = ("standard", "official")
WAYS = {AUTO: AUTO_HELP} | {way.name: way.help for way in BACKENDS.values() if not way.takes_mask}

_Value = TypeVar("_Value", bool, int, float, str)  # what ``dataclasses.field`` is said to return


def option(
    default: _Value,
    text: str,
    choices: Sequence[str] = (),
    *,
    limits: tuple[int, int] = (0, 100),
    titles: Callable[[], Mapping[str, str]] | None = None,
    in_panel: bool = True,
) -> _Value:
    """A field of options: command line and panel make their part of the interface from it.

    Parameters
    ----------
    text : the help text.
    choices : what a text may be.
    limits : of a whole number in the panel.
    titles : choice -> title of what the panel offers now; by default all choices under their own names.
    in_panel : whether the panel offers the option; the command line always does.

    Examples
    --------
    >>> @dataclass(frozen=True)
    ... class Options:
    ...     smooth: bool = option(False, "smooth the scan first")
    >>> [field.metadata["help"] for field in dataclasses.fields(Options)]
    ['smooth the scan first']
    """
    metadata = {
        "help": text,
        "choices": tuple(choices),
        "limits": limits,
        "titles": titles or (lambda: {choice: choice for choice in choices}),
        "in_panel": in_panel,
    }
    return dataclasses.field(default=default, metadata=metadata)


@dataclass(frozen=True)
class PreprocessingOptions:
    """What to do with a scan; the defaults suit any brain MRI.

    A further option is a further field: command line (``cli.scan_options``), panel (``preprocessing_options`` of the
    bridge), requests to the worker and the key of an embedding take it from here.
    """

    bias_field: bool = option(True, "correct the bias field with N4")
    brain_extraction: str = option(
        AUTO,
        f"how to find the brain ({'; '.join(f'{name}: {text}' for name, text in WAYS.items())})",
        tuple(WAYS),
        titles=in_panel,
    )
    seed: int = option(0, "seed of every random act", in_panel=False)
    preset: str = option(
        "standard",
        "official: take scans that are already preprocessed, in the array order in which they are stored, as "
        "upstream's code does (to reproduce its numbers); the other preprocessing options are not used then",
        PRESETS,
        in_panel=False,
    )
