"""One DICOM series becomes one volume, or the reason why it cannot.

The geometry comes from the positions in the headers and not from ITK, which only warns of a missing slice and then
spreads the others evenly over the gap, and which takes the frames of an enhanced file in their stored order.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.scans.dcm2niix_fallback import converted_to_nifti
from BrainIACLib.scans.dicom_arrangement import arrange, filled_in, stack_matrix
from BrainIACLib.scans.dicom_headers import find_series
from BrainIACLib.scans.dicom_pixels import check_frames_are_whole, read_pixels
from BrainIACLib.scans.dicom_slices import Series
from BrainIACLib.scans.dicom_stored import Undecodable
from BrainIACLib.scans.fill_values import set_aside
from BrainIACLib.scans.grid import Grid, corners_of, fit_grid
from BrainIACLib.scans.nifti import read_nifti
from BrainIACLib.scans.scan import Refused, SeriesSummary, Volume
from BrainIACLib.scans.usability import check_extent, check_kind, check_matrix

MODALITIES = {
    "CR": "a radiograph",
    "CT": "computed tomography",
    "DX": "a radiograph",
    "KO": "a selection of images",
    "MG": "a mammogram",
    "NM": "nuclear medicine",
    "OT": "other, often a screenshot",
    "PR": "a presentation state",
    "PT": "positron emission tomography",
    "REG": "a registration",
    "RTDOSE": "a radiotherapy dose",
    "RTPLAN": "a radiotherapy plan",
    "RTSTRUCT": "radiotherapy contours",
    "SC": "a screenshot",
    "SEG": "a segmentation",
    "SR": "a report",
    "US": "ultrasound",
    "XA": "angiography",
}
SAME_PLACE_MM = 1.0
WIDE_GAP = 1.9  # distance of slices over their thickness
_SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"


def read_series(files: Iterable[Path], series_uid: str | None, frame: int | None) -> Volume:
    """The series ``series_uid`` among ``files``, or the only one with images.

    Raises
    ------
    Refused : no DICOM, several series and none chosen, no MR volume, missing or doubled slices, damaged pixels.
    """
    found, warnings = find_series(files)
    return volume_of(_choose(found, series_uid), frame, warnings)


def volume_of(series: Series, frame: int | None, warnings: tuple[str, ...] = ()) -> Volume:
    """One volume of a series that was found before; ``warnings`` are said of it first. Raises as ``read_series``."""
    _check_is_mr_volume(series)
    image_types = {piece for one in series.slices for piece in one.image_type.split("\\")}
    if "DERIVED" in image_types:
        warnings += ("The DICOM header calls it DERIVED: computed (a reformat, projection or map), not as measured.",)
    if series.is_mosaic:  # Siemens tiles all slices into one; only dcm2niix takes them apart
        return _read_with_dcm2niix(series, series.files, frame, warnings)
    arrangement = arrange(series.slices, frame)
    slices = arrangement.slices
    size = (*slices[0].size, arrangement.count)
    check_matrix(size)
    grid = fit_grid(stack_matrix(arrangement), size)
    check_extent(grid)
    warnings += arrangement.warnings + grid.warnings + _gap_warning(slices[0].thickness, grid.spacing[2])
    try:
        pixels = read_pixels(slices)
    except Undecodable:
        files = sorted({piece.file for piece in slices})
        return _read_with_dcm2niix(series, files, None, warnings, None if arrangement.gaps else grid)
    image = sitk.GetImageFromArray(filled_in(set_aside(pixels.values, pixels.filled), arrangement.gaps))
    grid.put_on(image)
    return Volume(image, "DICOM", series.files, series.modality, warnings + pixels.warnings)


def summarise_series(files: Iterable[Path]) -> list[SeriesSummary]:
    """The series among ``files``."""
    return [series.summary() for series in find_series(files)[0]]


def _choose(found: Sequence[Series], series_uid: str | None) -> Series:
    if not found:
        raise Refused("holds no DICOM images; give a DICOM folder or zip, or name a NIfTI, NRRD or MetaImage file.")
    with_images = [series for series in found if series.slices] or list(found)
    matching = with_images if series_uid is None else [series for series in found if series.uid == series_uid]
    if len(matching) == 1:
        return matching[0]
    listing = "".join(f"\n  {series.summary()}" for series in found)
    if series_uid is not None:
        raise Refused(f"holds no series {series_uid}; choose one of these:{listing}", "--series UID")
    raise Refused(f"holds {len(matching)} series; choose one:{listing}", "--series UID")


def _check_is_mr_volume(series: Series) -> None:
    if series.modality not in ("MR", None):
        meaning = MODALITIES.get(series.modality, "not magnetic resonance")
        raise Refused(f"is a DICOM series of modality {series.modality} ({meaning}); give an MR series.")
    if series.sop_class.startswith(_SECONDARY_CAPTURE) and series.is_mosaic:
        raise Refused("is a grid of slices (a mosaic) saved as a screenshot; give the original MR series.")
    if series.sop_class.startswith(_SECONDARY_CAPTURE):
        raise Refused("is a screenshot (DICOM secondary capture); give the original MR series.")
    if not series.slices:
        raise Refused("is a DICOM series without images; give an MR image series.")
    check_kind(series.samples, complex_values=False)
    if series.photometric.startswith("PALETTE"):
        raise Refused("holds pictures in palette colors, whose numbers are no brightness; give the original MR series.")
    if any("LOCALIZER" in piece.image_type or "SCOUT" in piece.image_type for piece in series.slices):
        raise Refused("is a localizer by its DICOM header; give a 3D scan of the brain.")


def _gap_warning(thickness: float | None, step: float) -> tuple[str, ...]:
    """Every second slice may be missing: positions alone cannot tell."""
    if not thickness or step < WIDE_GAP * thickness:
        return ()
    return (f"Slices of {thickness:g} mm lie {step:.1f} mm apart; check that none is missing.",)


def _read_with_dcm2niix(
    series: Series, files: Sequence[Path], frame: int | None, warnings: tuple[str, ...], grid: Grid | None = None
) -> Volume:
    """What dcm2niix makes of ``files``; it must lie on ``grid`` where one is known.

    dcm2niix reads on over the end of a file, so it is not asked before all pixels are known to be there.
    """
    check_frames_are_whole(files)
    with converted_to_nifti(files) as nifti:
        volume = read_nifti(nifti, frame)
    if grid is not None and not _same_place(volume.image, grid):
        raise Refused("is read in two ways that do not agree on its place in space; export the series uncompressed.")
    said = (*warnings, *volume.warnings, "Read by dcm2niix.")
    return Volume(volume.image, "DICOM", series.files, series.modality, said)


def _same_place(image: sitk.Image, grid: Grid) -> bool:
    """Whether the same corners, in any order of axes, lie within a millimeter of each other."""
    expected = sitk.Image(list(grid.size), sitk.sitkUInt8)
    grid.put_on(expected)
    found, wanted = (corners_of(one) for one in (image, expected))
    return bool(np.linalg.norm(found[:, None] - wanted[None], axis=2).min(axis=1).max() < SAME_PLACE_MM)
