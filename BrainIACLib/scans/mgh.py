"""FreeSurfer's MGH and MGZ: the header by nibabel, the voxels as those of every other format.

Source: surfer.nmr.mgh.harvard.edu/fswiki/FsTutorial/MghFormat, and nibabel's ``freesurfer.mghformat``.
"""

from __future__ import annotations

import io
import math
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.scans.grid import fit_grid
from BrainIACLib.scans.nifti import encoding_of, first_bytes
from BrainIACLib.scans.scan import Refused, Volume
from BrainIACLib.scans.usability import check_extent, check_matrix, choose_frame
from BrainIACLib.scans.voxel_data import Part, read_voxels

_HEADER_BYTES = 284
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def read_mgh(path: Path, frame: int | None) -> Volume:
    """The volume in ``path``.

    Raises
    ------
    Refused : not MGH, truncated, damaged, or not a 3D scan of real numbers.
    """
    try:
        from nibabel.freesurfer.mghformat import MGHHeader
    except ImportError:
        raise Refused("is FreeSurfer's format, which needs the package nibabel; run: pip install nibabel") from None
    block = first_bytes(path, _HEADER_BYTES)
    try:
        header = MGHHeader.from_fileobj(io.BytesIO(block))
        columns, rows, slices, frames = (int(n) for n in header["dims"])
        dtype, affine, said = header.get_data_dtype(), header.get_affine(), int(header["goodRASFlag"]) == 1
    except Exception:  # nibabel has an error for each field, and NumPy's for what is no header at all
        raise Refused("is not an MGH image, or its header is damaged; copy or export it again.") from None
    size = columns, rows, slices
    if min(*size, frames) < 1:
        raise Refused("has an impossible matrix size in its header; export it again.")
    check_matrix(size)
    grid = fit_grid(_RAS_TO_LPS @ affine, size)
    check_extent(grid)
    number, count = choose_frame(frames, frame), math.prod(size)
    part = Part(path, encoding_of(path), skip=_HEADER_BYTES)
    length = count * dtype.itemsize
    voxels, _ = read_voxels([part], frames * length, dtype, number * length, count)  # a footer with scan times follows
    image = sitk.GetImageFromArray(voxels.astype(dtype.newbyteorder("=")).reshape(size[::-1]))
    grid.put_on(image)
    unknown = ("The file does not say how the head is oriented; left and right may be swapped.",)
    return Volume(image, "MGH", (path,), warnings=(*(() if said else unknown), *grid.warnings))
