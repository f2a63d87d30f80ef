"""What a reader hands out: a scan with its provenance, or the reason why there is none."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk


@dataclass(frozen=True)
class Scan:
    """One 3D volume of a brain MRI as it was stored, and where it came from.

    ``image`` is three-dimensional, real and finite, in LPS millimeters. ``name`` is the file or folder name without
    its suffix. ``sha256`` is that of the one file, or of the sorted per-file hashes joined together, so a DICOM series
    has the same hash in a folder, in a zip and under other file names; whether two scans are the same is asked of
    ``identity``. ``warnings`` are sentences.
    """

    image: sitk.Image
    name: str
    path: Path
    format: str  # "NIfTI", "NRRD", "MetaImage", "MGH" or "DICOM"
    modality: str | None  # as the DICOM header says
    sha256: str
    warnings: tuple[str, ...]

    @functools.cached_property
    def identity(self) -> str:
        """What was read, whatever files it was in: see ``image_identity``. 0.1 s for 50 MB, once."""
        return image_identity(self.image)


def image_identity(image: sitk.Image) -> str:
    """sha256 of the voxels, their type and their grid (size, spacing, origin, direction), to the last bit.

    Two files with it in common give the same answers. The bytes of one file would not do: a header whose voxels lie in
    another file (``.hdr``, ``.mhd``, ``.nhdr``) may be the same for two persons, and one file may hold several volumes.
    """
    grid = (*image.GetSize(), *image.GetSpacing(), *image.GetOrigin(), *image.GetDirection())
    digest = hashlib.sha256(image.GetPixelIDTypeAsString().encode())
    digest.update(np.array(grid, "<f8").tobytes())
    voxels = sitk.GetArrayViewFromImage(image)
    digest.update(np.ascontiguousarray(voxels).reshape(-1).view(np.uint8).data)
    return digest.hexdigest()


@dataclass(frozen=True)
class SeriesSummary:
    """What distinguishes one DICOM series from another, without anything that could name a person."""

    uid: str
    modality: str | None
    files: int
    size: tuple[int, int, int] | None  # columns, rows, slices; None without pixels
    spacing: tuple[float, float, float] | None  # mm; None without a position in space

    def __str__(self) -> str:
        size = " x ".join(str(n) for n in self.size) + " voxels" if self.size else "no image"
        spacing = " of " + " x ".join(f"{mm:.2f}" for mm in self.spacing) + " mm" if self.spacing else ""
        files = "1 file" if self.files == 1 else f"{self.files} files"
        return f"{self.uid}: {self.modality or 'unknown modality'}, {files}, {size}{spacing}"


@dataclass(frozen=True)
class Volume:
    """A volume as one of the readers found it, before its voxels are judged."""

    image: sitk.Image
    format: str
    files: tuple[Path, ...]  # every file that it was read from
    modality: str | None = None
    warnings: tuple[str, ...] = ()


class Refused(Exception):
    """Why an input is no usable scan: the rest of a sentence that starts with the path the person gave.

    Readers raise it without naming any file, so only the path that the person typed is ever shown: the names of
    files inside a folder or zip, and anything in a header, may name a patient. ``command`` as in ``BrainIACError``.
    """

    def __init__(self, reason: str = "", command: str = ""):
        super().__init__(reason)
        self.command = command
