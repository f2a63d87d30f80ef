"""NRRD (.nrrd, .nhdr) and MetaImage (.mha, .mhd), read by ITK after a look at their headers."""

from __future__ import annotations

import re
import zlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.scans.grid import fit_grid, grid_matrix
from BrainIACLib.scans.itk_files import itk_files
from BrainIACLib.scans.scan import Refused, Volume
from BrainIACLib.scans.usability import check_extent, check_kind, check_matrix, choose_frame

_COMPLEX = (sitk.sitkComplexFloat32, sitk.sitkComplexFloat64)
_COMPRESSED = re.compile(rb"^(?:encoding: *(?:gz|gzip)|CompressedData *= *True) *\r?$", re.MULTILINE)
_DATA_FILE = re.compile(rb"^(?:data ?file:|ElementDataFile *=) *(.+?) *\r?$", re.MULTILINE)


def read_itk_volume(path: Path, format_name: str, frame: int | None) -> Volume:
    """The volume in ``path``; ``format_name`` is ``"NRRD"`` or ``"MetaImage"``.

    Raises
    ------
    Refused : damaged, truncated, its data file is missing, or not a 3D scan of real numbers.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO({"NRRD": "NrrdImageIO", "MetaImage": "MetaImageIO"}[format_name])
    reader.SetFileName(str(path))
    try:
        with itk_files():
            reader.ReadImageInformation()
            check_kind(reader.GetNumberOfComponents(), reader.GetPixelIDValue() in _COMPLEX)
            size = reader.GetSize()
            dimension = len(size)
            if dimension not in (3, 4):
                raise Refused(f"has {dimension} dimensions; give a single 3D volume.")
            check_matrix(size[:3])
            matrix, warnings = _orientation(reader, format_name)
            grid = fit_grid(matrix, size[:3])
            check_extent(grid)
            frame = choose_frame(size[3] if dimension == 4 else 1, frame)
            if dimension == 4:
                reader.SetExtractIndex([0, 0, 0, frame])
                reader.SetExtractSize([*size[:3], 0])
            _check_stream(path)
            image = reader.Execute()
    except (RuntimeError, zlib.error):
        raise Refused(
            f"cannot be read as {format_name}: it is truncated or damaged, or its data file is missing; copy it again."
        ) from None
    grid.put_on(image)
    return Volume(image, format_name, _files(path), warnings=(*warnings, *grid.warnings))


def _orientation(reader: sitk.ImageFileReader, format_name: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Voxel index -> LPS mm. ITK turns NRRD's RAS spaces into LPS, except those with a time axis."""
    matrix = grid_matrix(reader)
    if format_name != "NRRD":
        return matrix, ()
    space = reader.GetMetaData("NRRD_space") if reader.HasMetaDataKey("NRRD_space") else ""
    if space == "right-anterior-superior-time":
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix, ()
    if space.startswith("left-posterior-superior"):
        return matrix, ()
    return matrix, ("The file does not say how the head is oriented; left and right may be swapped.",)


def _check_stream(path: Path) -> None:
    """Compare compressed voxels with the check sum at their end, which ITK does not: damaged ones open as noise.

    Raises zlib.error. What is not deflated, or begins at a place that only ITK can find, is not looked at.
    """
    *_, data = _files(path)
    with path.open("rb") as file:
        header = file.read(65536)
    if not _COMPRESSED.search(header):
        return
    with data.open("rb") as file:
        if data == path:
            end = re.search(rb"\nElementDataFile *= *LOCAL *\r?\n|\n\r?\n", header)
            file.seek(end.end() if end else 0)
        stream = zlib.decompressobj(wbits=47)  # gzip or zlib, as its first bytes say
        for piece in iter(lambda: file.read(1 << 16), b""):
            stream.decompress(piece)
    if not stream.eof:
        raise zlib.error("cut off")


def _files(path: Path) -> tuple[Path, ...]:
    """The file and, for a header that names one, the file with its voxels."""
    with path.open("rb") as stream:
        named = _DATA_FILE.search(stream.read(65536))
    data = path.parent / named.group(1).decode("utf-8", "replace") if named else path
    return (path, data) if data != path and data.is_file() else (path,)
