"""Headers that are text: reading them without trusting their length, their numbers or the names in them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from BrainIACLib.scans.scan import Refused

MOST_HEADER = 1 << 24  # bytes; the longest real ones, with thousands of keys, have two hundred thousand
MOST_FILES = 100_000
_WHOLE = re.compile(r"[+-]?\d{1,18}")


def read_block(path: Path, end: re.Pattern[bytes]) -> tuple[bytes, int]:
    """The bytes before the first ``end``, and the place after it; the whole file if there is none.

    Raises
    ------
    Refused : no end within any length that a header has.
    """
    block, looked = b"", 0
    with path.open("rb") as stream:
        while len(block) <= MOST_HEADER:
            piece = stream.read(1 << 16)
            block += piece
            if found := end.search(block, max(0, looked - (1 << 16))):
                return block[: found.start()], found.end()
            if not piece:
                return block, len(block)
            looked = len(block)
    raise Refused("has a header without an end; it is damaged. Copy or export it again.")


def whole_numbers(text: str) -> list[int] | None:
    """The whole numbers of a line, of at most 18 digits each; None if something else stands there."""
    words = text.split()
    return [int(word) for word in words] if words and all(_WHOLE.fullmatch(word) for word in words) else None


def numbered_names(pattern: str, limits: Sequence[str]) -> list[str] | None:
    """The names that a C format with one whole number makes from first, last and step; None if they make no sense."""
    numbers = whole_numbers(" ".join(limits))
    if numbers is None or len(numbers) != 3 or not re.fullmatch(r"[^%]*%0?\d{0,2}[diu][^%]*", pattern):
        return None
    first, last, step = numbers
    if step == 0 or not 0 <= (last - first) // step < MOST_FILES:
        return None
    return [pattern.replace("%u", "%d") % number for number in range(first, last + (1 if step > 0 else -1), step)]
