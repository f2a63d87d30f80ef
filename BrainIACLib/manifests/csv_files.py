"""CSV files that people hand in (manifests, labels), with whatever separator their spreadsheet program writes."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path
from typing import Any

from BrainIACLib.errors import BrainIACError
from BrainIACLib.foreign_text import of_spreadsheet_cell
from BrainIACLib.ordinary_file import check_ordinary

DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+(?:[eE][+-]?\d+)?")
BYTE_ORDER_MARKS = (b"\xff\xfe", b"\xfe\xff")  # of UTF-16
KEYS = ("scan", "patient", "participant_id")
SEPARATORS = (",", ";", "\t")  # the semicolon is Excel's where the decimal sign is a comma


def read_rows(
    path: Path, what: str, error: type[BrainIACError] = BrainIACError
) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The names of the columns, and of each row that says anything its line and its cells, without spaces around them.

    As ``read_cells``; a column without a name, as pandas writes for its index, is left out.

    Parameters
    ----------
    what : the file is, at the beginning of a sentence: "The manifest".
    error : the class of what is raised.

    Raises
    ------
    BrainIACError : as ``read_cells``, or a column is there twice.
    """
    names, lines = read_cells(path, what, error)
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise error(f"{what} '{path}' has the column '{twice}' twice; rename or remove one of them.")
    if all(names):
        return names, [(number, dict(zip(names, cells, strict=True))) for number, cells in lines]
    rows = [(number, {name: cell for name, cell in zip(names, cells, strict=True) if name}) for number, cells in lines]
    return [name for name in names if name], rows


def read_cells(
    path: Path, what: str, error: type[BrainIACError] = BrainIACError
) -> tuple[list[str], list[tuple[int, list[str]]]]:
    """The names of the columns, and the number of each line that says anything with its cells, one a name.

    The separator is the one that splits the first line into cells of which one is "scan", "patient" or
    "participant_id", else into most. Where it is the semicolon, a decimal comma becomes a point. UTF-8, or UTF-16 with
    a byte order mark, as Excel's "Unicode text" has it. Empty cells beyond the last name are left out.

    Raises
    ------
    BrainIACError : the file cannot be read, or has a row with another number of cells.
    """
    try:
        check_ordinary(path)
        content = path.read_bytes()
        text = content.decode("utf-16" if content.startswith(BYTE_ORDER_MARKS) else "utf-8-sig")
        separator = max(SEPARATORS, key=lambda one: _likelihood(next(_reader(text, one), [])))
        reader = _reader(text, separator)
        names = [of_spreadsheet_cell(name.strip()) for name in next(reader, [])]
        lines = [(reader.line_num, cells) for line in reader if any(cells := list(map(str.strip, line)))]
    except FileNotFoundError:
        raise error(f"{what} '{path}' does not exist; check the path.") from None
    except UnicodeDecodeError:
        raise error(f"{what} '{path}' is no text in UTF-8; save it as 'CSV UTF-8'.") from None
    except OSError as reason:
        raise error(f"{what} '{path}' cannot be read ({reason.strerror}); check the path.") from None
    except csv.Error as reason:
        raise error(f"{what} '{path}' cannot be read as CSV ({reason}); save it again as 'CSV UTF-8'.") from None
    while names and not names[-1] and not any(cell for _, cells in lines for cell in cells[len(names) - 1 :]):
        names.pop()
    columns = len(names)
    for place, (number, cells) in enumerate(lines):
        if len(cells) != columns:
            if len(cells) < columns or any(cells[columns:]):
                raise error(
                    f"Line {number} of '{path}' has another number of cells than its first line; correct the line."
                )
            lines[place] = number, cells[:columns]
    if separator == ";" or "'" in text:  # else each cell says what it is
        lines = [(number, [_cell(cell, separator) for cell in cells]) for number, cells in lines]
    return names, lines


def _likelihood(names: list[str]) -> tuple[bool, int]:
    return any(name.strip().casefold() in KEYS for name in names), len(names)


def _cell(text: str, separator: str) -> str:
    text = of_spreadsheet_cell(text)
    return text.replace(",", ".") if separator == ";" and DECIMAL_COMMA.fullmatch(text) else text


def _reader(text: str, separator: str) -> Any:  # the class of the csv module has no public name
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator)
