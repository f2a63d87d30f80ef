"""MetaImage (.mha, .mhd): header, orientation and the files with the voxels.

Read here and not by ITK, which ends the process on some headers, and fills up voxels that are missing from a compressed
stream with what memory held.

Source: itk.org/Wiki/ITK/MetaIO/Documentation, and MetaIO's ``metaImage.cxx`` where that page is silent.
"""

from __future__ import annotations

import math
import re
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.scans.companions import Companions
from BrainIACLib.scans.grid import fit_grid
from BrainIACLib.scans.header_lines import MOST_FILES, numbered_names, read_block, whole_numbers
from BrainIACLib.scans.scan import Refused, Volume
from BrainIACLib.scans.usability import check_extent, check_kind, check_matrix, choose_frame
from BrainIACLib.scans.voxel_data import Encoding, Part, read_numbers, read_voxels

_DAMAGED = "cannot be read as MetaImage: its header is damaged ({}); copy or export it again."
_DTYPES = {
    "CHAR": "i1",
    "ASCII_CHAR": "i1",
    "UCHAR": "u1",
    "SHORT": "i2",
    "USHORT": "u2",
    "INT": "i4",
    "UINT": "u4",
    "LONG": "i4",
    "ULONG": "u4",
    "LONG_LONG": "i8",
    "ULONG_LONG": "u8",
    "FLOAT": "f4",
    "DOUBLE": "f8",
}
_LAST_LINE = re.compile(rb"(?:^|\n)[ \t]*ElementDataFile[ \t]*=[^\n]*\n", re.IGNORECASE)


def read_metaimage(path: Path, frame: int | None, companions: Companions) -> Volume:
    """The volume in ``path``.

    Raises
    ------
    Refused : damaged, truncated, its data file is missing, or not a 3D scan of real numbers.
    """
    fields, listed, data_offset = read_header(path)
    dimension = _whole(fields, "ndims", 1)[0]
    if dimension not in (3, 4):
        raise Refused(
            f"has {dimension} dimensions; give a single 3D volume."
            if 1 <= dimension <= 10
            else _DAMAGED.format("NDims")
        )
    sizes = _whole(fields, "dimsize", dimension)
    if min(sizes) < 1:
        raise Refused(_DAMAGED.format("DimSize"))
    channels = _whole(fields, "elementnumberofchannels", 1)[0] if "elementnumberofchannels" in fields else 1
    check_kind(channels, complex_values=False)
    size = (sizes[0], sizes[1], sizes[2])
    check_matrix(size)
    grid = fit_grid(_matrix(fields, dimension), size)
    check_extent(grid)
    number = choose_frame(sizes[3] if dimension == 4 else 1, frame)
    dtype = _dtype(fields)
    names = _names(fields["elementdatafile"], listed)
    if names and math.prod(sizes) * channels % len(names):
        raise Refused(_DAMAGED.format("the number of data files"))
    total, count = math.prod(sizes), math.prod(size)
    parts = _parts(path, fields, names, data_offset, total * dtype.itemsize, companions)
    if not _is_true(fields.get("binarydata", "True")):
        voxels, odd = read_numbers(parts[0], dtype.newbyteorder("="), total)
        voxels = voxels[number * count : (number + 1) * count]
    else:
        voxels, odd = read_voxels(parts, total * dtype.itemsize, dtype, number * count * dtype.itemsize, count)
    image = sitk.GetImageFromArray(np.ascontiguousarray(voxels.reshape(size[::-1]), dtype.newbyteorder("=")))
    grid.put_on(image)
    files = tuple(dict.fromkeys((path, *(part.file for part in parts))))
    return Volume(image, "MetaImage", files, warnings=(*odd, *grid.warnings))


def read_header(path: Path) -> tuple[dict[str, str], tuple[str, ...], int]:
    """The fields in lower case, the lines after the last of them, and where attached data begin."""
    block, offset = read_block(path, _LAST_LINE)
    with path.open("rb") as stream:
        stream.seek(len(block))
        last = stream.read(offset - len(block))
        listed: list[str] = []
        if re.search(rb"=[ \t]*LIST", last):
            listed = [line.strip().decode("utf-8", "replace") for line in stream.read(1 << 24).splitlines()]
    fields: dict[str, str] = {}
    for line in (block + last).decode("utf-8", "replace").splitlines():
        name, equals, value = line.partition("=")
        if equals:
            fields[name.strip().lower()] = value.strip()
    if "ndims" not in fields or not fields.get("elementdatafile"):
        raise Refused(_DAMAGED.format("NDims or ElementDataFile is missing"))
    return fields, tuple(name for name in listed if name), offset


def _whole(fields: dict[str, str], name: str, count: int) -> list[int]:
    numbers = whole_numbers(fields.get(name, ""))
    if numbers is None or len(numbers) != count:
        raise Refused(_DAMAGED.format(name))
    return numbers


def _reals(fields: dict[str, str], names: tuple[str, ...], count: int) -> np.ndarray | None:
    """``count`` numbers of the first of ``names`` that stands there; None if none does."""
    name = next((name for name in names if name in fields), None)
    if name is None:
        return None
    try:
        numbers = np.array([float(word) for word in fields[name].split()])
    except ValueError:
        raise Refused(_DAMAGED.format(name)) from None
    if len(numbers) != count:
        raise Refused(_DAMAGED.format(name))
    return numbers


@np.errstate(over="ignore", invalid="ignore")  # a grid of such numbers is refused
def _matrix(fields: dict[str, str], dimension: int) -> np.ndarray:
    """Voxel index -> LPS mm, 4x4. Each row of ``TransformMatrix`` is the direction of one voxel axis."""
    spacing = _reals(fields, ("elementspacing", "elementsize"), dimension)
    axes = _reals(fields, ("transformmatrix", "rotation", "orientation"), dimension**2)
    origin = _reals(fields, ("offset", "position", "origin"), dimension)
    matrix = np.eye(4)
    directions = np.eye(dimension) if axes is None else axes.reshape(dimension, dimension).T
    steps = np.ones(dimension) if spacing is None else np.abs(spacing)
    matrix[:3, :3] = (directions * steps)[:3, :3]
    if origin is not None:
        matrix[:3, 3] = origin[:3]
    return matrix


def _dtype(fields: dict[str, str]) -> np.dtype:
    word = fields.get("elementtype", "").upper().removeprefix("MET_").removesuffix("_ARRAY")
    if word not in _DTYPES:
        raise Refused(f"stores voxels in a way that is not supported (type '{word[:20]}'); convert it to float.")
    big = _is_true(fields.get("binarydatabyteordermsb", fields.get("elementbyteordermsb", "False")))
    return np.dtype(_DTYPES[word]).newbyteorder(">" if big else "<")


def _is_true(word: str) -> bool:
    return word[:1] in "Tt1" if word else False


def _names(named: str, listed: tuple[str, ...]) -> list[str]:
    """The data files; none where the voxels follow the header."""
    words = named.split()
    if words[0].upper() == "LOCAL":
        return []
    if words[0].upper() == "LIST":
        if not 0 < len(listed) <= MOST_FILES:
            raise Refused(_DAMAGED.format("the list of data files"))
        return list(listed)
    if "%" in words[0] and len(words) == 4:
        names = numbered_names(words[0], words[1:])
        if names is None:
            raise Refused(_DAMAGED.format("ElementDataFile"))
        return names
    return [named]


def _parts(
    path: Path, fields: dict[str, str], names: list[str], data_offset: int, whole: int, companions: Companions
) -> list[Part]:
    """The files with voxels, in order."""
    compressed = _is_true(fields.get("compresseddata", "False"))
    encoding = Encoding.DEFLATE if compressed else Encoding.RAW
    before = _whole(fields, "headersize", 1)[0] if "headersize" in fields else 0
    files = [companions(name) for name in names] or [path]
    parts = []
    for file in files:
        offset = data_offset if not names and before == 0 else before
        if before == -1:  # the voxels are the end of the file
            if compressed:
                raise Refused(_DAMAGED.format("HeaderSize"))
            offset = max(file.stat().st_size - whole // len(files), 0)
        elif before < -1:
            raise Refused(_DAMAGED.format("HeaderSize"))
        parts.append(Part(file, encoding, offset))
    return parts
