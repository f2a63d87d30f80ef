"""The headers of the images that a result was made from: evidence of the objects, and the source of their identity."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pydicom
from pydicom import Dataset

from BrainIACLib.errors import BrainIACError
from BrainIACLib.scans.dicom_slices import Series
from BrainIACLib.scans.dicom_values import quiet_pydicom

_NEEDED = {  # type 2 attributes that some archives leave out: present, and empty where nothing is known
    "AccessionNumber": "",
    "PatientBirthDate": "",
    "PatientID": "",
    "PatientName": "",
    "PatientSex": "",
    "ReferringPhysicianName": "",
    "StudyDate": "",
    "StudyID": "",
    "StudyTime": "",
}


def source_headers(series: Series) -> list[Dataset]:
    """The headers of all files of ``series``, without pixels, in the order of their slices.

    Raises
    ------
    BrainIACError : a file is gone, or no longer readable.
    """
    files: Sequence[Path] = list(
        dict.fromkeys(piece.file for piece in sorted(series.slices, key=lambda one: one.height))
    )
    headers: list[Dataset] = []
    for file in files or series.files:
        try:
            with quiet_pydicom():
                header = pydicom.dcmread(file, stop_before_pixels=True)
        except Exception as error:  # whatever a file that changed makes the parser stumble over
            raise BrainIACError(
                "A file of the study can no longer be read, so no DICOM objects are made; keep the study in its place."
            ) from error
        for keyword, value in _NEEDED.items():
            if keyword not in header:
                setattr(header, keyword, value)
        headers.append(header)
    return headers
