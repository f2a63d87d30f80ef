"""One DICOM series becomes one volume, or the reason why it cannot.

The geometry comes from the positions in the headers and not from ITK, which only warns of a missing slice and then
spreads the others evenly over the gap, and which takes the frames of an enhanced file in their stored order.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.scans.dcm2niix_fallback import converted_to_nifti
from BrainIACLib.scans.dicom_headers import Series, Slice, find_series
from BrainIACLib.scans.dicom_pixels import read_pixels
from BrainIACLib.scans.grid import fit_grid
from BrainIACLib.scans.nifti import read_nifti
from BrainIACLib.scans.scan import Refused, SeriesSummary, Volume
from BrainIACLib.scans.usability import check_extent, check_kind, check_matrix, choose_frame

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
SAME_ORIENTATION = 0.01  # difference of direction cosines, 0.6 degrees
SAME_POSITION_MM = 0.05
UNEVEN_MM, UNEVEN_FRACTION = 0.2, 0.05  # tolerated distance of a slice from its even place; GE rounds to 0.1 mm
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
    if "MOSAIC" in image_types:  # Siemens tiles all slices into one; only dcm2niix takes them apart
        return _read_with_dcm2niix(series, series.files, frame, warnings)
    slices = arrange(series.slices, frame)
    size = (*slices[0].size, len(slices))
    check_matrix(size)
    grid = fit_grid(stack_matrix(slices), size)
    check_extent(grid)
    warnings += grid.warnings + _gap_warning(slices[0].thickness, grid.spacing[2])
    try:
        image = sitk.GetImageFromArray(read_pixels(slices))
    except RuntimeError:
        return _read_with_dcm2niix(series, sorted({piece.file for piece in slices}), None, warnings)
    grid.put_on(image)
    return Volume(image, "DICOM", series.files, series.modality, warnings)


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
        raise Refused(f"holds no series {series_uid}; choose one of these with --series UID:{listing}")
    raise Refused(f"holds {len(matching)} series; choose one with --series UID:{listing}")


def _check_is_mr_volume(series: Series) -> None:
    if series.modality not in ("MR", None):
        meaning = MODALITIES.get(series.modality, "not magnetic resonance")
        raise Refused(f"is a DICOM series of modality {series.modality} ({meaning}); give an MR series.")
    if series.sop_class.startswith(_SECONDARY_CAPTURE):
        raise Refused("is a screenshot (DICOM secondary capture); give the original MR series.")
    if not series.slices:
        raise Refused("is a DICOM series without images; give an MR image series.")
    check_kind(series.samples, complex_values=False)
    if any("LOCALIZER" in piece.image_type or "SCOUT" in piece.image_type for piece in series.slices):
        raise Refused("is a localizer by its DICOM header; give a 3D scan of the brain.")


def arrange(slices: Sequence[Slice], frame: int | None) -> list[Slice]:
    """The slices of one volume, sorted by their position along the normal.

    Raises
    ------
    Refused : slices without a place, of several orientations or sizes, at uneven distances, missing, or doubled.
    """
    if not all(piece.is_placed for piece in slices):
        raise Refused("has images without a position in space (a screenshot or a copy of one); give the MR series.")
    orientations: list[np.ndarray] = []
    for piece in slices:
        if not any(np.abs(known - piece.orientation).max() < SAME_ORIENTATION for known in orientations):
            orientations.append(np.array(piece.orientation))
    if len(orientations) > 1:
        raise Refused(
            f"has slices in {len(orientations)} different directions: a localizer or a projection; "
            "give a 3D scan of the brain."
        )
    if len({(piece.size, piece.spacing) for piece in slices}) > 1:
        raise Refused("mixes slices of different matrix or pixel sizes; export one scan at a time.")
    places = _group_by_place(slices)
    _check_spacing([place[0].height for place in places])
    return _one_volume(places, frame)


def _group_by_place(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices at the same place together, sorted by place."""
    places: list[list[Slice]] = []
    for piece in sorted(slices, key=lambda one: one.height):
        if places and piece.height - places[-1][0].height < SAME_POSITION_MM:
            places[-1].append(piece)
        else:
            places.append([piece])
    return places


def _check_spacing(heights: Sequence[float]) -> None:
    """Even distances between the places, or ``Refused`` that says which slices are missing."""
    if len(heights) < 3:
        return
    steps = np.diff(heights)
    step = float(np.median(steps[steps < 1.5 * steps.min()]))
    multiples = np.maximum(np.round(steps / step), 1).astype(int)
    first_guess = np.concatenate([[0], np.cumsum(multiples)])
    step, start = np.polyfit(first_guess, heights, 1)
    uneven = np.abs(heights - (start + step * first_guess)).max()
    if uneven > max(UNEVEN_MM, UNEVEN_FRACTION * step):
        raise Refused(
            f"has slices at uneven distances ({steps.min():.2f} to {steps.max():.2f} mm), so slices are missing or "
            "several scans are mixed; export the series again."
        )
    missing = multiples - 1
    if missing.any():
        total = int(missing.sum())
        gaps = [f"{missing[i]} after slice {i + 1}" for i in np.flatnonzero(missing)]
        raise Refused(
            f"lacks {total} of {len(heights) + total} slices ({', '.join(gaps[:5])}{', ...' if len(gaps) > 5 else ''}, "
            "counted by position); export or copy the whole series again."
        )


def _one_volume(places: list[list[Slice]], frame: int | None) -> list[Slice]:
    """One slice of each place: the ``frame``-th by contrast and time."""
    counts = Counter(len(place) for place in places)
    if len(counts) > 1:
        raise Refused(
            f"has {min(counts)} to {max(counts)} images at each of its {len(places)} slice positions, so some are "
            "missing or several scans are mixed; export the series again."
        )
    ordered = [sorted(place, key=lambda piece: (*piece.contrast, *piece.order)) for place in places]
    number = choose_frame(len(ordered[0]), frame, _describe(ordered[0]))
    chosen = [place[number] for place in ordered]
    if len({piece.contrast for piece in chosen}) > 1:
        raise Refused(
            "mixes images of different contrast (echo time, b-value or image type) in one series that cannot be "
            "told apart by position; export one scan at a time."
        )
    return chosen


def _describe(place: Sequence[Slice]) -> str:
    """What distinguishes the images at one place, for the person who has to choose."""
    for name, unit in (("echo_time", " ms"), ("b_value", " s/mm²"), ("image_type", "")):
        values = [getattr(piece, name) for piece in place]
        if len(set(values)) > 1 and None not in values:
            shown = [f"{value:g}{unit}" if isinstance(value, float) else value for value in values[:12]]
            return f" ({name.replace('_', ' ')} {', '.join(shown)}{', ...' if len(values) > 12 else ''})"
    return ""


def _gap_warning(thickness: float | None, step: float) -> tuple[str, ...]:
    """Every second slice may be missing: positions alone cannot tell."""
    if not thickness or step < WIDE_GAP * thickness:
        return ()
    return (f"Slices of {thickness:g} mm lie {step:.1f} mm apart; check that none is missing.",)


def stack_matrix(slices: Sequence[Slice]) -> np.ndarray:
    """Voxel index (column, row, slice) -> LPS mm, 4x4 (PS3.3 C.7.6.2.1.1)."""
    first, last = slices[0], slices[-1]
    between_rows, between_columns = first.spacing
    row, column = np.reshape(first.orientation, (2, 3))
    matrix = np.eye(4)
    matrix[:3, 0] = row * between_columns
    matrix[:3, 1] = column * between_rows
    matrix[:3, 2] = (np.array(last.position) - first.position) / max(len(slices) - 1, 1)
    matrix[:3, 3] = first.position
    return matrix


def _read_with_dcm2niix(series: Series, files: Sequence[Path], frame: int | None, warnings: tuple[str, ...]) -> Volume:
    with converted_to_nifti(files) as nifti:
        volume = read_nifti(nifti, frame)
    said = (*warnings, *volume.warnings, "Read by dcm2niix.")
    return Volume(volume.image, "DICOM", series.files, series.modality, said)
