"""Siemens' private header (CSA, element 0029,xx10): a list of named values. In older and some anonymized images it
alone says how they were diffusion-weighted.

Not published by Siemens; described by nibabel (``nibabel.nicom.csareader``) and dcm2niix. Numbers are little endian,
texts end with a zero. Both kinds begin with a number of tags; CSA2 has the letters SV10 before it. A tag is its name
(64 bytes), multiplicity, representation, type, number of items and a check number; an item is four numbers, one of
which tells its length, and a text that is filled up to four bytes.
"""

from __future__ import annotations

import struct
from collections.abc import Collection, Iterator

_TAG = struct.Struct("<64si4siii")
_ITEM = struct.Struct("<4i")
_CHECKS = (77, 205)
_MOST_TAGS = 1000


def csa_values(data: bytes, names: Collection[str]) -> dict[str, tuple[str, ...]]:
    """The texts of the tags ``names``; what is missing, or lies behind damage, is left out.

    >>> csa_values(b"SV10 and nonsense", {"B_value"})
    {}
    """
    found: dict[str, tuple[str, ...]] = {}
    for name, texts in _tags(data):
        if name in names:
            found[name] = texts
            if len(found) == len(names):
                break
    return found


def _tags(data: bytes) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Name and texts of each tag, until the end or something that cannot be."""
    second = data.startswith(b"SV10")
    place = 8 if second else 0
    try:
        (count,) = struct.unpack_from("<I", data, place)
        place += 8
        if not 0 < count <= _MOST_TAGS:
            return
        first_items = None
        for _ in range(count):
            name, _, _, _, items, check = _TAG.unpack_from(data, place)
            if check not in _CHECKS or items < 0:
                return
            place += _TAG.size
            first_items = items if first_items is None else first_items
            texts = []
            for _ in range(items):
                numbers = _ITEM.unpack_from(data, place)
                place += _ITEM.size
                length = numbers[1] if second else numbers[0] - first_items
                if not 0 <= length <= len(data) - place:
                    return
                texts.append(_text(data[place : place + length]))
                place += (length + 3) // 4 * 4
            yield _text(name), tuple(text for text in texts if text)
    except struct.error:
        return


def _text(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("latin-1").strip()
