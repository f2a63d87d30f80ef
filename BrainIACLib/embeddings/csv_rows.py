"""CSV files that people hand in (manifests, labels), with whatever separator their spreadsheet program writes."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

from BrainIACLib.errors import BrainIACError

DECIMAL_COMMA = re.compile(r"-?\d+,\d+")
SEPARATORS = (",", ";", "\t")  # the semicolon is Excel's where the decimal sign is a comma


def read_rows(path: Path, what: str) -> tuple[list[str], list[tuple[int, dict[str, str]]]]:
    """The names of the columns, and of each row that says anything its line and its cells, without spaces around them.

    The separator is the one that splits the first line into cells of which one is "scan" or "patient", else into most.
    Where it is the semicolon, a decimal comma becomes a point. A column without a name, as pandas writes for
    its index, is left out.

    Parameters
    ----------
    what : the file is, at the beginning of a sentence: "The manifest".

    Raises
    ------
    BrainIACError : the file cannot be read, has a column twice, or a row with another number of cells.
    """
    try:
        text = path.read_bytes().decode("utf-8-sig")
        separator = max(SEPARATORS, key=lambda one: _likelihood(next(_reader(text, one), [])))
        reader = _reader(text, separator)
        names = [name.strip() for name in next(reader, [])]
        lines = [(reader.line_num, cells) for cells in reader if any(cell.strip() for cell in cells)]
    except FileNotFoundError:
        raise BrainIACError(f"{what} '{path}' does not exist; check the path.") from None
    except UnicodeDecodeError:
        raise BrainIACError(f"{what} '{path}' is no text in UTF-8; save it as 'CSV UTF-8'.") from None
    except OSError as error:
        raise BrainIACError(f"{what} '{path}' cannot be read ({error.strerror}); check the path.") from None
    except csv.Error as error:
        raise BrainIACError(f"{what} '{path}' cannot be read as CSV ({error}).") from None
    twice = next((name for name in names if name and names.count(name) > 1), None)
    if twice is not None:
        raise BrainIACError(f"{what} '{path}' has the column '{twice}' twice; rename or remove one of them.")
    for number, cells in lines:
        if len(cells) != len(names):
            raise BrainIACError(f"Line {number} of '{path}' has another number of cells than its first line.")
    rows = [
        (number, {name: _cell(cell, separator) for name, cell in zip(names, cells, strict=True) if name})
        for number, cells in lines
    ]
    return [name for name in names if name], rows


def _likelihood(names: list[str]) -> tuple[bool, int]:
    return any(name.strip() in ("scan", "patient") for name in names), len(names)


def _cell(text: str, separator: str) -> str:
    text = text.strip()
    return text.replace(",", ".") if separator == ";" and DECIMAL_COMMA.fullmatch(text) else text


def _reader(text: str, separator: str):
    return csv.reader(io.StringIO(text, newline=""), delimiter=separator)
