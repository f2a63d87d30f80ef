"""Voxels out of files and compressed streams: as many as the header says, or none.

Whatever the format, three rules hold. Nothing is allocated that the file cannot hold. Every voxel comes from the file:
a short one is refused. A compressed stream is read to its end, past the voxels that are asked for, because its check
sum stands there.
"""

from __future__ import annotations

import bz2
import enum
import os
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import numpy as np

from BrainIACLib.scans.memory import check_memory
from BrainIACLib.scans.scan import Refused

PIECE = 1 << 18  # bytes of a file that are decompressed at once
MOST_OUT = 1 << 22  # bytes that one step of decompression may give
COPIES = 3  # of the voxels in memory while a scan is read: as stored, as numbers, as an image
SURPLUS = 1 << 26  # bytes after the voxels that are still read to reach the check sum


class Encoding(enum.Enum):
    """How the bytes of voxels are stored."""

    RAW = "raw"
    DEFLATE = "gzip or zlib"
    BZIP2 = "bzip2"


# The most that one byte can become: a limit of the deflate format, and far above what bzip2 does to any scan.
_LARGEST_RATIO = {Encoding.RAW: 1, Encoding.DEFLATE: 1032, Encoding.BZIP2: 1 << 14}


@dataclass(frozen=True)
class Part:
    """A file with voxels: its data begin at ``offset``, and the voxels ``skip`` bytes into the (decompressed) data."""

    file: Path
    encoding: Encoding
    offset: int = 0
    skip: int = 0


def damaged() -> Refused:
    """For a stream that does not pass its check sum, or ends early."""
    return Refused("is truncated or damaged: its compressed data fail their check; copy or download it again.")


def truncated() -> Refused:
    """For a file that is shorter than its header says."""
    return Refused("is truncated or damaged: it holds fewer voxels than its header says; copy or download it again.")


def surplus_warning(surplus: int) -> tuple[str, ...]:
    """What to say of bytes that no header speaks of."""
    return (f"The file holds {surplus} bytes more than its header says; a part may be missing.",) if surplus else ()


def read_voxels(
    parts: Sequence[Part], whole: int, dtype: np.dtype, start: int, count: int
) -> tuple[np.ndarray, tuple[str, ...]]:
    """``count`` voxels from byte ``start`` of the joined data of ``parts``, and what is odd about them.

    Parameters
    ----------
    whole : bytes that all parts hold together by the header, each of them as many.

    Returns
    -------
    voxels : 1D, ``dtype``.
    warnings : sentences.

    Raises
    ------
    Refused : fewer bytes than ``whole``, a stream that is damaged or goes on for ever, or no room in memory.
    """
    if not parts or whole % len(parts):
        raise truncated()
    each, length = whole // len(parts), count * dtype.itemsize
    for part in parts:
        if part.skip + each > _LARGEST_RATIO[part.encoding] * max(0, part.file.stat().st_size - part.offset):
            raise truncated()
    check_memory(COPIES * length)
    voxels = np.empty(count, dtype)
    buffer, surplus = voxels.data.cast("B"), 0
    for number, part in enumerate(parts):
        first, last = max(start - number * each, 0), min(start + length - number * each, each)
        target = buffer[number * each + first - start : number * each + last - start] if first < last else buffer[:0]
        read = _read_raw if part.encoding is Encoding.RAW else _read_compressed
        surplus += read(part, each, first, target)
    return voxels, surplus_warning(surplus)


def _read_raw(part: Part, each: int, first: int, target: memoryview) -> int:
    """Fill ``target`` from byte ``first`` of the voxels of ``part``; the bytes beyond ``each`` are counted."""
    with part.file.open("rb") as stream:
        stream.seek(part.offset + part.skip + first)
        filled = 0
        while filled < len(target):
            got = stream.readinto(target[filled:])
            if not got:
                raise truncated()
            filled += got
        return os.fstat(stream.fileno()).st_size - part.offset - part.skip - each


def _read_compressed(part: Part, each: int, first: int, target: memoryview) -> int:
    """As ``_read_raw``, from a compressed stream that is followed to its end."""
    begin, total = part.skip + first, 0
    for piece in decompressed(part):
        low, high = max(begin - total, 0), min(begin + len(target) - total, len(piece))
        if low < high:
            target[total + low - begin : total + high - begin] = memoryview(piece)[low:high]
        total += len(piece)
        if total > 2 * (part.skip + each) + SURPLUS:
            raise Refused("holds far more data than its header says; its header is damaged. Copy or export it again.")
    if total < part.skip + each:
        raise truncated()
    return total - part.skip - each


def decompressed(part: Part) -> Iterator[bytes]:
    """The data of ``part`` in pieces of a few megabytes.

    Raises
    ------
    Refused : the stream is damaged, has no end, or is followed by something else than padding.
    """
    with part.file.open("rb") as stream:
        stream.seek(part.offset)
        if part.encoding is Encoding.RAW:
            yield from iter(lambda: stream.read(MOST_OUT), b"")
            return
        try:
            yield from _members(stream, part.encoding)
        except (zlib.error, OSError, EOFError) as error:  # bz2 raises OSError without a number
            if isinstance(error, OSError) and error.errno is not None:
                raise
            raise damaged() from None


def _members(stream: BinaryIO, encoding: Encoding) -> Iterator[bytes]:
    """One stream may follow another, as parallel compressors write them."""
    read = bytes(stream.read(PIECE))
    while read:
        decompressor = _Deflate() if encoding is Encoding.DEFLATE else bz2.BZ2Decompressor()
        while not decompressor.eof:
            if not read and decompressor.needs_input:
                read = stream.read(PIECE)
                if not read:
                    raise EOFError
            yield decompressor.decompress(read, MOST_OUT)
            read = b""
        read = (decompressor.unused_data or stream.read(PIECE)).lstrip(b"\0")
        while not read and (more := stream.read(PIECE)):
            read = more.lstrip(b"\0")
        if read and encoding is Encoding.DEFLATE and not read.startswith(b"\x1f"):
            raise EOFError


class _Deflate:
    """``zlib.decompressobj`` with the interface of ``bz2.BZ2Decompressor``: gzip or zlib, as the first bytes say."""

    def __init__(self) -> None:
        self._zlib = zlib.decompressobj(wbits=47)

    @property
    def eof(self) -> bool:
        return self._zlib.eof

    @property
    def needs_input(self) -> bool:
        return not self._zlib.unconsumed_tail

    @property
    def unused_data(self) -> bytes:
        return self._zlib.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        return self._zlib.decompress(self._zlib.unconsumed_tail + data, max_length)


def read_numbers(part: Part, dtype: np.dtype, count: int) -> tuple[np.ndarray, tuple[str, ...]]:
    """``count`` voxels that are written as text, with white space between them. As ``read_voxels``."""
    size = part.file.stat().st_size - part.offset
    if 2 * count - 1 > size:
        raise truncated()
    check_memory(20 * size)
    with part.file.open("rb") as stream:
        stream.seek(part.offset)
        words = stream.read()[part.skip :].split()
    if len(words) < count:
        raise truncated()
    try:
        numbers = np.array(words[:count]).astype(np.float64).astype(dtype)
    except (ValueError, OverflowError):
        raise Refused("is damaged: some of its voxels are no numbers; copy or export it again.") from None
    return numbers, surplus_warning(sum(len(word) for word in words[count:]))
