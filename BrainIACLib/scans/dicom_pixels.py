"""The pixels of DICOM slices, decoded by ITK (GDCM): every compression it knows, MONOCHROME1, and the rescale."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.private_folder import temporary_folder
from BrainIACLib.scans.dicom_headers import Slice, quiet_pydicom
from BrainIACLib.scans.itk_files import itk_files
from BrainIACLib.scans.scan import Refused

_PIXEL_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
]


def read_pixels(slices: Sequence[Slice]) -> np.ndarray:
    """Rescaled pixels of ``slices``, float32, shape (slice, row, column).

    Raises
    ------
    Refused : a file holds fewer pixels than its header says.
    RuntimeError : ITK cannot decode a file.
    """
    columns, rows = slices[0].size
    volume = np.empty((len(slices), rows, columns), np.float32)
    by_file: dict[Path, list[int]] = {}
    for index, piece in enumerate(slices):
        by_file.setdefault(piece.file, []).append(index)
    for file, indices in by_file.items():
        is_multiframe = slices[indices[0]].frames_in_file > 1
        frames = _stored_frames(file) if is_multiframe else _decode(file)
        if frames.shape != (slices[indices[0]].frames_in_file, rows, columns):
            raise Refused("holds a DICOM file with fewer pixels than its header says; copy or export it again.")
        for index in indices:
            volume[index] = frames[slices[index].frame]
            if is_multiframe:
                slope, intercept = slices[index].rescale
                volume[index] = volume[index] * slope + intercept
    return volume


def _decode(file: Path) -> np.ndarray:
    """Pixels with the rescale of the file level applied, float32, shape (frame, row, column)."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetOutputPixelType(sitk.sitkFloat32)
    reader.SetFileName(str(file))
    with itk_files():
        return sitk.GetArrayFromImage(reader.Execute())


def _stored_frames(file: Path) -> np.ndarray:
    """Pixels of a multi-frame file without any rescale: GDCM would use one for all frames, which one varies.

    It is given a copy that holds the pixels and nothing else.
    """
    import pydicom

    with temporary_folder() as folder:
        copy = folder / "frames.dcm"
        try:
            with quiet_pydicom():
                dataset = pydicom.dcmread(file, force=True, specific_tags=_PIXEL_TAGS)
                dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
                dataset.preamble = bytes(128)
                dataset.save_as(copy)
        except Exception as error:  # whatever a damaged file makes the parser stumble over
            raise RuntimeError("not decodable") from error
        return _decode(copy)
