"""Encapsulated pixel data of DICOM: its frames apart, run-length decoding, and whether a JPEG frame is complete.

Source: DICOM PS3.5, annexes A.4 (encapsulation) and G (run-length encoding).
"""

from __future__ import annotations

import itertools
import struct

import numpy as np

_ITEM, _END = b"\xfe\xff\x00\xe0", b"\xfe\xff\xdd\xe0"
_STARTS = (b"\xff\xd8", b"\xff\x4f", b"\x00\x00\x00\x0cjP")  # JPEG and JPEG-LS, JPEG 2000, JPEG 2000 in its boxes
_JPEG_END = b"\xff\xd9"


class Incomplete(Exception):
    """Pixel data that end before their time."""


def frames_of(data: bytes, count: int) -> list[bytes]:
    """The ``count`` frames of encapsulated ``data``.

    Raises
    ------
    Incomplete : fewer fragments than frames, or fragments cut off.
    """
    offsets, fragments, places = _items(data)
    if count == 1:
        return [b"".join(fragments)]
    if len(fragments) == count:
        return fragments
    starts = offsets if len(offsets) == count else []
    if not starts:  # a frame begins where a stream begins
        starts = [place for place, piece in zip(places, fragments, strict=True) if piece.startswith(_STARTS)]
    if len(starts) != count:
        raise Incomplete
    limits = [*sorted(starts), places[-1] + 1]
    return [
        b"".join(piece for place, piece in zip(places, fragments, strict=True) if low <= place < high)
        for low, high in itertools.pairwise(limits)
    ]


def _items(data: bytes) -> tuple[list[int], list[bytes], list[int]]:
    """The basic offset table, the fragments, and where each begins, counted from the first."""
    items, places, place = [], [], 0
    while place + 8 <= len(data) and data[place : place + 4] == _ITEM:
        (length,) = struct.unpack_from("<I", data, place + 4)
        if place + 8 + length > len(data):
            raise Incomplete
        items.append(data[place + 8 : place + 8 + length])
        places.append(place)
        place += 8 + length
    if len(items) < 2:
        raise Incomplete
    offsets = list(struct.unpack(f"<{len(items[0]) // 4}I", items[0][: len(items[0]) // 4 * 4]))
    return offsets, items[1:], [found - places[1] for found in places[1:]]


def is_complete_jpeg(frame: bytes) -> bool:
    """Whether a frame of the JPEG family begins and ends as one: a cut one lacks its end."""
    return frame.startswith(_STARTS) and frame[-64:].rstrip(b"\0").endswith(_JPEG_END)


def decode_rle(frame: bytes, rows: int, columns: int, bytes_per_pixel: int) -> np.ndarray:
    """Pixels as little-endian unsigned integers, shape (row, column).

    Raises
    ------
    Incomplete : a segment gives fewer bytes than there are pixels.
    """
    if len(frame) < 64:
        raise Incomplete
    count, *offsets = struct.unpack_from("<16I", frame)
    if count != bytes_per_pixel:
        raise Incomplete
    limits = [*offsets[:count], len(frame)]
    planes = np.empty((rows * columns, bytes_per_pixel), np.uint8)
    for number in range(count):  # the most significant byte first
        plane = _unpacked(frame[limits[number] : limits[number + 1]], rows * columns)
        planes[:, bytes_per_pixel - 1 - number] = np.frombuffer(plane, np.uint8)
    return planes.view(f"<u{bytes_per_pixel}").reshape(rows, columns)


def _unpacked(segment: bytes, length: int) -> bytes:
    """PackBits: a byte n up to 127 is followed by n + 1 bytes, one above 128 by a byte that stands 257 - n times."""
    out, place, end = bytearray(), 0, len(segment)
    while len(out) < length and place < end:
        n = segment[place]
        if n < 128:
            out += segment[place + 1 : place + 2 + n]
            place += 2 + n
        elif n > 128:
            out += segment[place + 1 : place + 2] * (257 - n)
            place += 2
        else:
            place += 1
    if len(out) < length or place > end:
        raise Incomplete
    return bytes(out[:length])
