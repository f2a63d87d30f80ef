"""DICOM studies made of real scans and chosen headers, written by pydicom."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid

NAME, PATIENT_ID, BIRTH_DATE = "Doe^Jane", "PATIENT-4711", "19700101"
IDENTITY_WORDS = ("Doe", "Jane", PATIENT_ID, BIRTH_DATE, "Elsewhere", "20240315")
MPRAGE = {
    "ScanningSequence": ["GR", "IR"], "SequenceVariant": ["SK", "SP", "MP"], "MRAcquisitionType": "3D",
    "RepetitionTime": 2300, "EchoTime": 2.98, "InversionTime": 900, "FlipAngle": 9,
}  # fmt: skip
TSE_T2 = {
    "ScanningSequence": "SE", "SequenceVariant": "SK", "MRAcquisitionType": "2D",
    "RepetitionTime": 4500, "EchoTime": 95, "FlipAngle": 150, "EchoTrainLength": 15,
}  # fmt: skip
FLAIR = {
    "ScanningSequence": ["SE", "IR"], "SequenceVariant": ["SK", "SP", "MP"], "MRAcquisitionType": "2D",
    "RepetitionTime": 9000, "EchoTime": 110, "InversionTime": 2500, "FlipAngle": 150,
}  # fmt: skip
MPRAGE_CE = {**MPRAGE, "ContrastBolusAgent": "Gadobutrol"}
EPI_B0 = {
    "ScanningSequence": "EP", "SequenceVariant": "SK", "MRAcquisitionType": "2D", "RepetitionTime": 6000,
    "EchoTime": 80, "FlipAngle": 90, "ImageType": ["ORIGINAL", "PRIMARY", "DIFFUSION", "NONE"], "DiffusionBValue": 0.0,
}  # fmt: skip
LOCALIZER = {
    "ScanningSequence": "GR", "SequenceVariant": "SP", "MRAcquisitionType": "2D", "RepetitionTime": 8,
    "EchoTime": 3, "FlipAngle": 20, "ImageType": ["ORIGINAL", "PRIMARY", "M", "LOCALIZER"],
}  # fmt: skip


@dataclass
class FabricatedStudy:
    """One study of one person, written series by series into ``folder``."""

    folder: Path
    study_uid: str = field(default_factory=generate_uid)
    frame_uid: str = field(default_factory=generate_uid)
    patient_id: str = PATIENT_ID
    count: int = 0

    def add(self, image: sitk.Image, tags: dict, *, leave_out: tuple[int, ...] = (), **more) -> str:
        """Write ``image`` (any orientation) as a classic series with ``tags``; returns its UID."""
        self.count += 1
        tags = {"SeriesNumber": self.count, "AcquisitionTime": f"10{self.count:02d}00", **tags, **more}
        series = generate_uid()
        folder = self.folder / f"s{self.count:02d}"
        folder.mkdir(parents=True)
        voxels = _as_uint16(image)
        for number in range(voxels.shape[0]):
            if number not in leave_out:
                self._header(series, number, image, voxels[number], tags).save_as(
                    folder / f"{number:04d}.dcm", enforce_file_format=True
                )
        return series

    def _header(self, series: str, number: int, image: sitk.Image, pixels: np.ndarray, tags: dict) -> Dataset:
        header = Dataset()
        header.file_meta = FileMetaDataset()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = MRImageStorage
        header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        header.SpecificCharacterSet = "ISO_IR 100"
        header.PatientName, header.PatientID, header.PatientBirthDate, header.PatientSex = (
            NAME, self.patient_id, BIRTH_DATE, "F",
        )  # fmt: skip
        header.StudyInstanceUID, header.SeriesInstanceUID = self.study_uid, series
        header.FrameOfReferenceUID, header.PositionReferenceIndicator = self.frame_uid, ""
        header.StudyDate = header.SeriesDate = header.AcquisitionDate = header.ContentDate = "20240315"
        header.StudyTime, header.StudyID, header.AccessionNumber = "100000", "1", "ACC-1"
        header.ContentTime = header.SeriesTime = "100000"
        header.InstitutionName, header.ReferringPhysicianName = "St. Elsewhere", ""
        header.Manufacturer, header.Modality, header.MagneticFieldStrength = "SIEMENS", "MR", 3
        header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
        header.InstanceNumber = number + 1
        header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
        header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
        header.Rows, header.Columns = pixels.shape
        direction = np.reshape(image.GetDirection(), (3, 3))
        spacing = image.GetSpacing()
        header.PixelSpacing, header.SliceThickness = [spacing[1], spacing[0]], spacing[2]
        header.ImageOrientationPatient = [round(float(x), 6) for x in (*direction[:, 0], *direction[:, 1])]
        position = image.TransformIndexToPhysicalPoint((0, 0, number))
        header.ImagePositionPatient = [round(float(x), 4) for x in position]
        for keyword, value in tags.items():
            setattr(header, keyword, value)
        header.PixelData = pixels.tobytes()
        return header


def _as_uint16(image: sitk.Image) -> np.ndarray:
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    values -= values.min()
    return np.round(values * min(1.0, 60000 / max(float(values.max()), 1.0))).astype(np.uint16)


def read(path: Path) -> sitk.Image:
    """An image file."""
    return sitk.ReadImage(str(path))


def secondary_capture(study: FabricatedStudy) -> Path:
    """A screenshot in the study."""
    image = sitk.GetImageFromArray(np.zeros((1, 64, 64), np.uint16))
    study.add(image, {"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"], "Modality": "OT"})
    folder = study.folder / f"s{study.count:02d}"
    file = next(folder.iterdir())
    header = pydicom.dcmread(file)
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"
    header.save_as(file, enforce_file_format=True)
    return file
