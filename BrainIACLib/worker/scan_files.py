"""The files that a client hands over: what identifies them, and the scan behind each of them."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import ScanError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.scans import Scan, read_scan


def read_handed_over(
    path: Path, original: Path | None, series: str | None = None, frame: int | None = None
) -> tuple[Scan, sitk.Image]:
    """The scan, and the image as handed over, on whose grid the client wants its maps.

    A program that loads and hands over a scan may round its geometry in the last bits or reverse its slices. With the
    file that it was loaded from, if that holds the same image, the numbers are those of the command line to the last
    bit, and so are the format and hash in the provenance.
    """
    scan = read_scan(path, series_uid=series, frame=frame)
    if original is None:
        return scan, scan.image
    try:
        first = read_scan(original)
    except ScanError:  # moved since, or one of several volumes of a file
        return scan, scan.image
    return first if same_image(first.image, scan.image) else scan, scan.image


def same_image(first: sitk.Image, second: sitk.Image, tolerance: float = 0.0) -> bool:
    """Equal voxels at equal places, whatever the order of the axes and their directions.

    Parameters
    ----------
    tolerance : of the difference of two voxels, as a share of the largest absolute value.
    """
    for axis in (None, 0, 1, 2):
        corner = [0 if other != axis else second.GetSize()[other] - 1 for other in range(3)]
        index = first.TransformPhysicalPointToContinuousIndex(second.TransformIndexToPhysicalPoint(corner))
        if any(min(abs(i), abs(i - size + 1)) > 1e-3 for i, size in zip(index, first.GetSize(), strict=True)):
            return False
    if first.GetNumberOfPixels() != second.GetNumberOfPixels():
        return False
    ours, theirs = sitk.GetArrayFromImage(on_grid(first, second)), sitk.GetArrayViewFromImage(second)
    if not tolerance:
        return bool((ours == theirs).all())
    limit = tolerance * float(np.abs(theirs).max())
    return bool(np.allclose(ours.astype(np.float64), theirs.astype(np.float64), rtol=0.0, atol=limit))


def on_grid(image: sitk.Image, grid: sitk.Image) -> sitk.Image:
    """The same voxels in the order of another grid with the same voxel centers."""
    return sitk.Resample(image, grid, sitk.Transform(), sitk.sitkNearestNeighbor)


def content_sha256(path: Path) -> str:
    """Of a file, or of all files in a folder."""
    try:
        if path.is_file():
            return file_sha256(path)
        files = sorted(file for file in path.rglob("*") if file.is_file())
        joined = "".join(file_sha256(file) for file in files)
        return hashlib.sha256(joined.encode()).hexdigest() if files else ""
    except OSError as error:
        raise ScanError(f"The file '{path.name}' cannot be read ({error.strerror}); load the scan again.") from None
