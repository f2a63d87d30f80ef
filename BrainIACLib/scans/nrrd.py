"""NRRD (.nrrd, .nhdr): header, orientation and the files with the voxels.

Read here and not by ITK, which ends the process on some headers, opens short and damaged files without a word, mirrors
spaces with a time axis, and lacks most combinations of several files, line skip and compression.

Source: teem.sourceforge.net/nrrd/format.html.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.scans.companions import Companions
from BrainIACLib.scans.grid import fit_grid
from BrainIACLib.scans.header_lines import MOST_FILES, numbered_names, read_block, whole_numbers
from BrainIACLib.scans.scan import Refused, Volume
from BrainIACLib.scans.usability import check_extent, check_kind, check_matrix, choose_frame
from BrainIACLib.scans.voxel_data import Encoding, Part, read_numbers, read_voxels

_DAMAGED = "cannot be read as NRRD: its header is damaged ({}); copy or export it again."
_TYPES = {
    "i1": "signed char, int8, int8_t",
    "u1": "uchar, unsigned char, uint8, uint8_t",
    "i2": "short, short int, signed short, signed short int, int16, int16_t",
    "u2": "ushort, unsigned short, unsigned short int, uint16, uint16_t",
    "i4": "int, signed int, int32, int32_t",
    "u4": "uint, unsigned int, uint32, uint32_t",
    "i8": "longlong, long long, long long int, signed long long, signed long long int, int64, int64_t",
    "u8": "ulonglong, unsigned long long, unsigned long long int, uint64, uint64_t",
    "f4": "float",
    "f8": "double",
}
_DTYPES = {name: np.dtype(dtype) for dtype, names in _TYPES.items() for name in names.split(", ")}
_ENCODINGS = {
    "raw": Encoding.RAW,
    "gz": Encoding.DEFLATE,
    "gzip": Encoding.DEFLATE,
    "bz2": Encoding.BZIP2,
    "bzip2": Encoding.BZIP2,
}
_TEXT = ("txt", "text", "ascii")
_TO_LPS = {  # of the first three coordinates
    "left-posterior-superior": (1.0, 1.0, 1.0),
    "lps": (1.0, 1.0, 1.0),
    "right-anterior-superior": (-1.0, -1.0, 1.0),
    "ras": (-1.0, -1.0, 1.0),
    "left-anterior-superior": (1.0, -1.0, 1.0),
    "las": (1.0, -1.0, 1.0),
}
_SPACE, _FRAMES = ("domain", "space"), ("list", "time")
_UNSAID = ("", "???", "none")


@dataclass(frozen=True)
class NrrdHeader:
    """The fields in lower case without blanks, the lines after ``data file: LIST``, and where attached data begin."""

    fields: dict[str, str]
    listed: tuple[str, ...]
    data_offset: int

    def numbers(self, field: str, count: int) -> list[int]:
        """The whole numbers of a field that must have ``count`` of them."""
        found = whole_numbers(self.fields.get(field, ""))
        if found is None or len(found) != count:
            raise Refused(_DAMAGED.format(field))
        return found


@dataclass(frozen=True)
class _Axes:
    """Which axes of the array are what: those of space in their order, and the one that counts volumes."""

    sizes: tuple[int, ...]
    space: tuple[int, int, int]
    frames: int | None


def read_nrrd(path: Path, frame: int | None, companions: Companions) -> Volume:
    """The volume in ``path``.

    Raises
    ------
    Refused : damaged, truncated, its data file is missing, or not a 3D scan of real numbers.
    """
    header = read_header(path)
    axes = _axes(header)
    columns, rows, slices = axes.space
    size = axes.sizes[columns], axes.sizes[rows], axes.sizes[slices]
    check_matrix(size)
    matrix, warnings = _orientation(header, axes)
    grid = fit_grid(matrix, size)
    check_extent(grid)
    frames = 1 if axes.frames is None else axes.sizes[axes.frames]
    voxels, odd = _voxels(path, header, axes, choose_frame(frames, frame), companions)
    image = sitk.GetImageFromArray(voxels)
    grid.put_on(image)
    files = tuple(dict.fromkeys((path, *(part.file for part in _parts(path, header, axes, companions)))))
    return Volume(image, "NRRD", files, warnings=(*warnings, *odd, *grid.warnings))


def read_header(path: Path) -> NrrdHeader:
    """Split the header of ``path`` into fields; ``Refused`` if it is no NRRD header."""
    block, offset = read_block(path, re.compile(rb"\r?\n\r?\n"))
    lines = [line.rstrip("\r") for line in block.decode("utf-8", "replace").split("\n")]
    fields: dict[str, str] = {}
    for number, line in enumerate(lines):
        if number == 0 or line.startswith("#") or not line.strip():
            continue
        name, colon, value = line.partition(":")
        if not colon:
            raise Refused(_DAMAGED.format(f"line {number + 1}"))
        if value.startswith("="):  # a key of the writer's own
            continue
        name = re.sub(r"\s", "", name).lower()
        if name in fields:
            raise Refused(_DAMAGED.format(f"'{name}' stands twice"))
        fields[name] = value.strip()
        if name == "datafile" and value.split()[:1] == ["LIST"]:
            return NrrdHeader(fields, tuple(line.strip() for line in lines[number + 1 :] if line.strip()), offset)
    return NrrdHeader(fields, (), offset)


def _axes(header: NrrdHeader) -> _Axes:
    dimension = header.numbers("dimension", 1)[0]
    if not 1 <= dimension <= 16:
        raise Refused(_DAMAGED.format("dimension"))
    sizes = tuple(header.numbers("sizes", dimension))
    if min(sizes) < 1:
        raise Refused(_DAMAGED.format("sizes"))
    kinds = header.fields.get("kinds", "").lower().split()
    kinds = kinds if len(kinds) == dimension else [""] * dimension
    directions = _directions(header, dimension)
    space, frames, values = [], [], 1
    for axis, kind in enumerate(kinds):
        placed = directions is None or directions[axis] is not None
        if kind in _SPACE or (kind in (*_UNSAID, "time") and placed):
            space.append(axis)
        elif kind in _FRAMES or kind in _UNSAID:
            frames.append(axis)
        else:
            values *= sizes[axis]
    check_kind(values, complex_values="complex" in kinds)
    if len(space) == 4:  # one of them is time
        in_time = [a for a in space if kinds[a] == "time" or (directions and not any((directions[a] or ())[:3]))]
        frames.append(in_time[0] if in_time else space[-1])
        space.remove(frames[-1])
    counted = [axis for axis in frames if sizes[axis] > 1]
    if len(space) != 3 or len(counted) > 1:
        raise Refused(f"has {len(space) + len(counted)} dimensions; give a single 3D volume.")
    return _Axes(sizes, (space[0], space[1], space[2]), counted[0] if counted else None)


def _directions(header: NrrdHeader, dimension: int) -> list[tuple[float, ...] | None] | None:
    """For each axis its vector in space, None for an axis without; None where the header has no directions."""
    if "spacedirections" not in header.fields:
        return None
    found = re.findall(r"none|\([^()]*\)", header.fields["spacedirections"])
    if len(found) != dimension:
        raise Refused(_DAMAGED.format("space directions"))
    vectors = [None if text == "none" else _vector(text) for text in found]
    if any(vector is not None and len(vector) < 3 for vector in vectors):
        raise Refused(f"has {len(found)} dimensions; give a single 3D volume.")
    return vectors


def _vector(text: str) -> tuple[float, ...]:
    try:
        return tuple(float(number) for number in text.strip("() ").split(","))
    except ValueError:
        raise Refused(_DAMAGED.format("a vector")) from None


@np.errstate(over="ignore", invalid="ignore")  # a grid of such numbers is refused
def _orientation(header: NrrdHeader, axes: _Axes) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxel index -> LPS mm, and a warning where the header does not say how the head lies."""
    unknown = ("The file does not say how the head is oriented; left and right may be swapped.",)
    directions = _directions(header, len(axes.sizes))
    matrix = np.eye(4)
    if directions is None:
        matrix[:3, :3] = np.diag([_along(header, "spacings", axis, 1.0) for axis in axes.space])
        matrix[:3, 3] = [_along(header, "axismins", axis, 0.0) for axis in axes.space]
        return matrix, unknown
    vectors = [vector[:3] for axis in axes.space if (vector := directions[axis]) is not None]
    if len(vectors) < 3:
        raise Refused(_DAMAGED.format("space directions"))
    matrix[:3, :3] = np.column_stack(vectors)
    origin = _vector(header.fields.get("spaceorigin", "(0,0,0)"))
    if len(origin) < 3:
        raise Refused(_DAMAGED.format("space origin"))
    matrix[:3, 3] = origin[:3]
    space = header.fields.get("space", "").lower().removesuffix("-time")
    signs = _TO_LPS.get(space) or _TO_LPS.get(space.removesuffix("t"))
    if signs is None:
        return matrix, unknown
    return np.diag([*signs, 1.0]) @ matrix, ()


def _along(header: NrrdHeader, field: str, axis: int, default: float) -> float:
    """The number of ``axis`` in a field with one number for each axis."""
    words = header.fields.get(field, "").split()
    try:
        value = float(words[axis])
    except (IndexError, ValueError):
        return default
    return value if math.isfinite(value) else default


def _voxels(
    path: Path, header: NrrdHeader, axes: _Axes, frame: int, companions: Companions
) -> tuple[np.ndarray, tuple[str, ...]]:
    """One frame, shape (z, y, x) in native byte order, and what is odd about the data."""
    dtype = _dtype(header)
    total = math.prod(axes.sizes)
    parts = _parts(path, header, axes, companions)
    encoding = header.fields.get("encoding", "raw").lower()
    if encoding in _TEXT:
        if len(parts) > 1:
            raise Refused("stores voxels as text in several files; convert it to a single file.")
        voxels, odd = read_numbers(parts[0], dtype.newbyteorder("="), total)
        frame_apart = False
    elif axes.frames in (None, len(axes.sizes) - 1):
        frame_apart = axes.frames is not None
        count = total // axes.sizes[-1] if frame_apart else total
        start = frame * count * dtype.itemsize
        voxels, odd = read_voxels(parts, total * dtype.itemsize, dtype, start, count)
    else:
        frame_apart = False
        voxels, odd = read_voxels(parts, total * dtype.itemsize, dtype, 0, total)
    sizes = axes.sizes[:-1] if frame_apart else axes.sizes
    array = voxels.reshape(sizes[::-1])
    if axes.frames is not None and not frame_apart:
        array = array.take(frame, axis=len(sizes) - 1 - axes.frames)
    array = array.reshape([axes.sizes[axis] for axis in axes.space[::-1]])
    return np.ascontiguousarray(array, dtype.newbyteorder("=")), odd


def _dtype(header: NrrdHeader) -> np.dtype:
    name = re.sub(r"\s+", " ", header.fields.get("type", "")).lower()
    if name not in _DTYPES:
        raise Refused(f"stores voxels in a way that is not supported (type '{name[:20]}'); convert it to float.")
    big = header.fields.get("endian", "little").lower() == "big"
    return _DTYPES[name].newbyteorder(">" if big else "<")


def _parts(path: Path, header: NrrdHeader, axes: _Axes, companions: Companions) -> list[Part]:
    """The files with voxels, in order."""
    word = header.fields.get("encoding", "raw").lower()
    if word not in _ENCODINGS and word not in _TEXT:
        raise Refused(f"is stored in a way that is not supported (encoding '{word[:20]}'); save it again uncompressed.")
    encoding = _ENCODINGS.get(word, Encoding.RAW)
    lines = header.numbers("lineskip", 1)[0] if "lineskip" in header.fields else 0
    skip = header.numbers("byteskip", 1)[0] if "byteskip" in header.fields else 0
    if lines < 0 or skip < -1 or (skip == -1 and encoding is not Encoding.RAW):
        raise Refused(_DAMAGED.format("byte skip"))
    named = header.fields.get("datafile", "")
    files = [path] if not named else [companions(name) for name in _names(named, header.listed)]
    if not files or axes.sizes[-1] % len(files):
        raise Refused(_DAMAGED.format("the number of data files"))
    each = math.prod(axes.sizes) * _dtype(header).itemsize // len(files)
    parts = []
    for file in files:
        offset = _after_lines(file, 0 if named else header.data_offset, lines)
        begin = max(file.stat().st_size - offset - each, 0) if skip == -1 else skip
        parts.append(Part(file, encoding, offset, begin))
    return parts


def _names(named: str, listed: tuple[str, ...]) -> list[str]:
    words = named.split()
    if words[0] == "LIST":
        if len(listed) > MOST_FILES:
            raise Refused(_DAMAGED.format("the number of data files"))
        return list(listed)
    if "%" in words[0] and len(words) in (4, 5):
        names = numbered_names(words[0], words[1:4])
        if names is None:
            raise Refused(_DAMAGED.format("data file"))
        return names
    return [named]


def _after_lines(file: Path, offset: int, lines: int) -> int:
    """Where the line ``lines`` after ``offset`` begins."""
    with file.open("rb") as stream:
        stream.seek(offset)
        for _ in range(lines):
            if not stream.readline(1 << 20):
                break
        return stream.tell()
