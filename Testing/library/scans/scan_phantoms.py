"""Small scans with a known geometry, written by other libraries (nibabel, pydicom) than the one under test."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, generate_uid
from scipy.spatial.transform import Rotation

from BrainIACLib.errors import ScanError
from BrainIACLib.scans import read_scan

ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
OBLIQUE = np.array([[0.36, 0.48, -0.8], [-0.8, 0.6, 0.0], [0.48, 0.64, 0.6]]).T  # orthonormal, determinant 1
IDENTITY_WORDS = ("Doe", "Jane", "PATIENT-4711", "19700101", "St. Elsewhere")


@dataclass(frozen=True)
class Phantom:
    """Voxels (x, y, z), uint16, no two corners alike, and their place: column vectors ``axes`` (mm) in LPS."""

    voxels: np.ndarray
    axes: np.ndarray  # 3x3, LPS mm per voxel index
    origin: np.ndarray  # LPS mm

    @property
    def matrix(self) -> np.ndarray:
        """4x4, voxel index -> LPS mm."""
        matrix = np.eye(4)
        matrix[:3, :3], matrix[:3, 3] = self.axes, self.origin
        return matrix

    @property
    def affine(self) -> np.ndarray:
        """4x4, voxel index -> RAS mm, nibabel's convention."""
        return np.diag([-1.0, -1.0, 1.0, 1.0]) @ self.matrix


def phantom(size=(40, 36, 10), spacing=(1.5, 2.0, 5.0), direction=OBLIQUE, origin=(-20.0, 31.5, 7.25)) -> Phantom:
    """A blob on a ramp: every flip or permutation of axes changes it."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij")
    voxels = 1000 * np.exp(-2 * ((x - 0.3) ** 2 + (y + 0.2) ** 2 + z**2)) + 200 * (x + 2 * y + 3 * z + 6)
    return Phantom(voxels.astype(np.uint16), np.asarray(direction) * spacing, np.array(origin, dtype=float))


@st.composite
def phantoms(draw) -> Phantom:
    """Phantoms in any pose: rotated, with permuted and mirrored axes, anisotropic."""
    quaternion = draw(arrays(float, 4, elements=st.floats(-1, 1)).filter(lambda q: np.linalg.norm(q) > 0.1))
    order = draw(st.sampled_from(list(itertools.permutations(range(3)))))
    signs = draw(st.tuples(*[st.sampled_from([-1, 1])] * 3))
    spacing = draw(st.tuples(*[st.floats(1.25, 6.0)] * 3))
    origin = draw(st.tuples(*[st.floats(-200, 200)] * 3))
    return phantom((33, 36, 34), spacing, Rotation.from_quat(quaternion).as_matrix()[:, order] * signs, origin)


def refusal(path: Path, **options) -> str:
    """What ``read_scan`` says when it refuses ``path``: a sentence about it that names nobody."""
    with pytest.raises(ScanError) as caught:
        read_scan(path, **options)
    message = str(caught.value)
    assert message.startswith(f"'{path}' ")
    assert not any(word in message for word in IDENTITY_WORDS)
    return message


def image_of(scan: Phantom) -> sitk.Image:
    """The phantom as an ITK image."""
    image = sitk.GetImageFromArray(scan.voxels.transpose())
    spacing = np.linalg.norm(scan.axes, axis=0)
    image.SetSpacing(spacing)
    image.SetDirection((scan.axes / spacing).ravel())
    image.SetOrigin(scan.origin)
    return image


def matrix_of(image: sitk.Image) -> np.ndarray:
    """4x4, voxel index -> LPS mm, by asking ITK for the place of four voxels."""
    corner, *ends = (
        np.array(image.TransformContinuousIndexToPhysicalPoint(index))
        for index in ((0.0, 0.0, 0.0), (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    )
    return np.vstack([np.column_stack([*(end - corner for end in ends), corner]), [0, 0, 0, 1]])


def values_of(image: sitk.Image) -> np.ndarray:
    """Voxel values (x, y, z)."""
    return sitk.GetArrayFromImage(image).transpose()


def same_in_space(image: sitk.Image, scan: Phantom, tolerance_mm=1e-3) -> bool:
    """Whether every voxel of ``scan`` is found, with its value, at its place in ``image``, whatever the voxel order."""
    back = np.linalg.inv(matrix_of(image)) @ scan.matrix
    indices = np.indices(scan.voxels.shape).reshape(3, -1)
    found = back[:3, :3] @ indices + back[:3, 3:]
    nearest = np.round(found).astype(int)
    in_mm = np.abs(found - nearest) * np.array(image.GetSpacing())[:, None]
    inside = (nearest >= 0).all() and (nearest < np.array(image.GetSize())[:, None]).all()
    if not inside or in_mm.max() >= tolerance_mm:
        return False
    return bool((values_of(image)[tuple(nearest)] == scan.voxels.ravel()).all())


def write_nifti(path: Path, scan: Phantom, voxels: np.ndarray | None = None, **header) -> Path:
    """By nibabel, with qform and sform equal unless ``header`` changes a field."""
    image = nibabel.Nifti1Image(scan.voxels if voxels is None else voxels, None)
    image.set_qform(scan.affine, 1, update_affine=False)
    image.set_sform(scan.affine, 1, update_affine=False)
    image.header.set_xyzt_units("mm", "sec")
    for name, value in header.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def mr_header(**tags) -> Dataset:
    """What every MR file of one series has, and an identity that must never be shown."""
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.file_meta.MediaStorageSOPClassUID = header.SOPClassUID = MRImageStorage
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = generate_uid()
    header.PatientName, header.PatientID, header.PatientBirthDate = "Doe^Jane", "PATIENT-4711", "19700101"
    header.InstitutionName, header.SeriesDescription = "St. Elsewhere", "Doe T1 19700101"
    header.StudyInstanceUID, header.SeriesInstanceUID = generate_uid(), generate_uid()
    header.Modality = "MR"
    header.ImageType = ["ORIGINAL", "PRIMARY", "M", "ND"]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    for keyword, value in tags.items():
        setattr(header, keyword, value)
    return header


def write_series(
    folder: Path, scan: Phantom, order: list[int] | None = None, name="{:04d}.dcm", change=None, **tags
) -> list[Path]:
    """One classic file per slice; ``order`` says which slices, in the order of the names and instance numbers.

    ``change(header, k)`` may alter the header of slice k before it is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = generate_uid()
    spacing = np.linalg.norm(scan.axes, axis=0)
    files = []
    for number, k in enumerate(range(scan.voxels.shape[2]) if order is None else order, start=1):
        header = mr_header(**{"SeriesInstanceUID": series, "InstanceNumber": number, **tags})
        header.Rows, header.Columns = scan.voxels.shape[1], scan.voxels.shape[0]
        header.PixelSpacing = [spacing[1], spacing[0]]
        header.SliceThickness = spacing[2]
        header.ImageOrientationPatient = [*(scan.axes[:, 0] / spacing[0]), *(scan.axes[:, 1] / spacing[1])]
        header.ImagePositionPatient = list(scan.matrix[:3] @ [0, 0, k, 1])
        header.PixelData = np.ascontiguousarray(scan.voxels[:, :, k].T).tobytes()
        if change is not None:
            change(header, k)
        file = folder / name.format(number)
        header.save_as(file, enforce_file_format=True)
        files.append(file)
    return files


def write_enhanced(path: Path, scan: Phantom, order: list[int] | None = None, rescale=None, change=None) -> Path:
    """One multi-frame file (Enhanced MR); frame geometry in per-frame groups, pixel size and orientation shared.

    ``rescale`` gives (slope, intercept) for each frame; ``change(group, number)`` may alter a frame's group.
    """
    order = list(range(scan.voxels.shape[2])) if order is None else order
    spacing = np.linalg.norm(scan.axes, axis=0)
    header = mr_header(SOPClassUID=ENHANCED_MR)
    header.file_meta.MediaStorageSOPClassUID = ENHANCED_MR
    header.NumberOfFrames, header.Rows, header.Columns = len(order), scan.voxels.shape[1], scan.voxels.shape[0]
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [spacing[1], spacing[0]], spacing[2]
    orientation.ImageOrientationPatient = [*(scan.axes[:, 0] / spacing[0]), *(scan.axes[:, 1] / spacing[1])]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = Sequence([measures]), Sequence([orientation])
    header.SharedFunctionalGroupsSequence = Sequence([shared])
    groups = []
    for number, k in enumerate(order):
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = list(scan.matrix[:3] @ [0, 0, k, 1])
        group.PlanePositionSequence = Sequence([position])
        if rescale is not None:
            transformation = Dataset()
            transformation.RescaleSlope, transformation.RescaleIntercept = rescale[number]
            transformation.RescaleType = "US"
            group.PixelValueTransformationSequence = Sequence([transformation])
        if change is not None:
            change(group, number)
        groups.append(group)
    header.PerFrameFunctionalGroupsSequence = Sequence(groups)
    header.PixelData = np.ascontiguousarray(scan.voxels[:, :, order].transpose(2, 1, 0)).tobytes()
    pydicom.dcmwrite(path, header, enforce_file_format=True)
    return path
