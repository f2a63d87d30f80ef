"""Text that others wrote (names of files, cells, contracts) where a program would take it for more than text.

One function a place: ``printable`` for terminals, ``spreadsheet_cell`` for CSV, ``without_mathematics`` for matplotlib.
"""

from __future__ import annotations

import contextlib
import re
import sys
import typing
import unicodedata
from collections.abc import Iterable, Iterator

_FORMULA = re.compile(r"'*[=+\-@\t\r]")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?|[+-]?(inf|nan)")
_CONTROLS = {"Cc", "Cf", "Cs", "Zl", "Zp"}  # control, invisible or reordering, half of a pair, line breaks


def printable(text: str, keep: str = "\n\t") -> str:
    """Without anything that moves a cursor, sets a color, reorders letters or cannot be encoded: its code instead.

    >>> printable("scan\\x1b[2J.nii")
    'scan\\\\x1b[2J.nii'
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(
        sign if sign in keep or unicodedata.category(sign) not in _CONTROLS else sign.encode("unicode_escape").decode()
        for sign in text
    )


class PrintableStream:
    """A text stream that prints ``printable`` text; ``keep`` holds what else passes, such as a progress bar needs."""

    def __init__(self, stream: typing.TextIO, keep: str = "\n\t"):
        self._stream, self._keep = stream, keep

    def write(self, text: str) -> int:
        """Write ``text`` with codes instead of what a terminal would obey."""
        self._stream.write(printable(text, self._keep))
        return len(text)

    def __getattr__(self, name: str) -> typing.Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def printable_output() -> Iterator[None]:
    """Whatever is printed meanwhile is ``printable``; what a progress bar writes to standard error passes."""
    streams = sys.stdout, sys.stderr
    if sys.stdout is not None:
        sys.stdout = PrintableStream(sys.stdout)
    if sys.stderr is not None:
        sys.stderr = PrintableStream(sys.stderr, keep="\n\t\r")
    try:
        yield
    finally:
        sys.stdout, sys.stderr = streams


def spreadsheet_cell(text: str) -> str:
    """A cell of a CSV file that no spreadsheet program takes for a formula: with an apostrophe first, where needed.

    ``of_spreadsheet_cell`` takes it away again. Numbers stay as they are.

    >>> spreadsheet_cell("=1+1"), spreadsheet_cell("-1.5"), of_spreadsheet_cell(spreadsheet_cell("'=1+1"))
    ("'=1+1", '-1.5', "'=1+1")
    """
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def spreadsheet_row(cells: Iterable[object]) -> list[object]:
    """``spreadsheet_cell`` of every text, and what is no text as it is."""
    return [spreadsheet_cell(cell) if isinstance(cell, str) else cell for cell in cells]


def of_spreadsheet_cell(cell: str) -> str:
    """The text behind a cell that ``spreadsheet_cell`` made."""
    return cell[1:] if cell.startswith("'") and _FORMULA.match(cell) else cell


def without_mathematics(text: str) -> str:
    """For matplotlib: a dollar sign is a dollar sign, and the rest is printable."""
    return printable(text, keep="\n").replace("$", r"\$")
