"""Images and transforms in files that ITK and 3D Slicer open."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator
from pathlib import Path

import SimpleITK as sitk

from BrainIACLib.errors import BrainIACError
from BrainIACLib.publishing import replacing
from BrainIACLib.scans.itk_files import itk_files

IMAGE_SUFFIXES = (".nii.gz", ".nrrd", ".mha")
TRANSFORM_SUFFIXES = (".tfm", ".h5")
_NIFTI_HEADER_BYTES = 352


def write_image(image: sitk.Image, path: Path | str) -> None:
    """Write ``image`` with its geometry, compressed, as .nii.gz, .nrrd or .mha.

    Raises
    ------
    BrainIACError : the file cannot be written; nothing is left behind and an older file stays as it was.
    """
    with _replacing(Path(path), IMAGE_SUFFIXES) as temporary:
        sitk.WriteImage(image, str(temporary), useCompression=True)
        if temporary.name.endswith(".nii.gz"):
            _check_complete(temporary, image)


def _check_complete(file: Path, image: sitk.Image) -> None:
    """OSError if the gzip stream lacks its end: ITK does not notice a full disk while it writes NIfTI."""
    voxel_bytes = image.GetNumberOfPixels() * image.GetNumberOfComponentsPerPixel() * image.GetSizeOfPixelComponent()
    with file.open("rb") as stream:
        stream.seek(-4, os.SEEK_END)  # gzip ends with the uncompressed length, modulo 2**32
        written = int.from_bytes(stream.read(), "little")
    if written != (_NIFTI_HEADER_BYTES + voxel_bytes) % 2**32:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def write_transform(transform: sitk.Transform, path: Path | str) -> None:
    """Write ``transform`` as .tfm or .h5, which ITK and 3D Slicer open. Raises as ``write_image``."""
    with _replacing(Path(path), TRANSFORM_SUFFIXES) as temporary:
        sitk.WriteTransform(transform, str(temporary))


@contextlib.contextmanager
def _replacing(path: Path, suffixes: tuple[str, ...]) -> Iterator[Path]:
    """As ``publishing.replacing``, for a format that ITK tells by the end of the name."""
    known = next((one for one in suffixes if path.name.lower().endswith(one)), None)
    if known is None:
        raise BrainIACError(f"'{path}' cannot be written: its name must end in {' or '.join(suffixes)}.")
    with replacing(path, known) as temporary, itk_files():
        yield temporary
