"""What counts as a usable brain MRI: enough voxels of a plausible size, one real value in each, and not a CT.

All checks but the last need the header only and come before any voxel is read.
"""

from __future__ import annotations

import math

import numpy as np
import SimpleITK as sitk

from BrainIACLib.scans.fill_values import fill_values, set_aside
from BrainIACLib.scans.grid import Grid
from BrainIACLib.scans.scan import Refused

FEWEST_SLICES = 8
FEWEST_VOXELS_IN_PLANE = 32
SMALLEST_EXTENT_MM = 40.0  # 8 slices of 5 mm; thick-slice clinical scans have 18 to 25
LARGEST_EXTENT_MM = 600.0
MOST_VOXELS = 2**30  # 4 GiB as float32; a whole head at 0.25 mm has half as many
LEAST_VARIED_FRACTION = 0.001
MOST_EMPTY, MUCH = 0.1, 0.05  # of the slices between those that hold at least this part of the fullest
MOST_AT_THE_TOP = 0.03  # of the voxels above air, in the top twentieth; at most .011 in the real scans measured


def choose_frame(frames: int, frame: int | None, described: str = "") -> int:
    """The frame to read of ``frames``; ``described`` says what they are.

    Raises
    ------
    Refused : there are several and none was chosen, or there is none of that number.
    """
    if frame is None and frames > 1:
        raise Refused(
            f"holds {frames} volumes (time points, echoes or directions); choose one, 0 to {frames - 1}{described}.",
            "--frame N",
        )
    if frame is not None and not 0 <= frame < frames:
        if frames == 1:
            raise Refused(f"holds a single volume and has no frame {frame}; choose none.")
        raise Refused(f"has no frame {frame}; choose one, 0 to {frames - 1}.", "--frame N")
    return frame or 0


def check_kind(components: int, complex_values: bool) -> None:
    """One real number per voxel, or ``Refused``."""
    if complex_values:
        raise Refused("holds complex numbers (raw MR data); give the magnitude image instead.")
    if components > 1:
        kind = "a color image" if components in (3, 4) else "several channels"
        raise Refused(
            f"holds {components} values in each voxel ({kind} or a vector field); give a plain gray-value scan."
        )


def check_matrix(size: tuple[int, int, int]) -> None:
    """Enough slices and voxels (x, y, z), and not absurdly many, or ``Refused``."""
    matrix = " x ".join(str(n) for n in size) + " voxels"
    fewest, middle, _ = sorted(size)
    if fewest <= 1:
        raise Refused(f"is a single slice ({matrix}): a 2D image or a localizer; give a 3D scan of the brain.")
    if math.prod(size) > MOST_VOXELS:
        raise Refused(f"declares {matrix}, more than any brain MRI; its header is damaged or it is no MRI.")
    if fewest < FEWEST_SLICES or middle < FEWEST_VOXELS_IN_PLANE:
        raise Refused(
            f"has too few voxels ({matrix}): a localizer or a fragment; give a scan with at least {FEWEST_SLICES} "
            f"slices of {FEWEST_VOXELS_IN_PLANE} x {FEWEST_VOXELS_IN_PLANE} voxels."
        )


def check_extent(grid: Grid) -> None:
    """Large enough for a brain and no larger than a head with its surroundings, or ``Refused``."""
    extents = [n * mm for n, mm in zip(grid.size, grid.spacing, strict=True)]
    extent = " x ".join(f"{mm:.4g}" for mm in extents) + " mm"
    if min(extents) < SMALLEST_EXTENT_MM:
        raise Refused(
            f"covers too little of a brain ({extent}); give a scan of the whole brain, or correct its voxel size."
        )
    if max(extents) > LARGEST_EXTENT_MM:
        raise Refused(f"is larger than a head ({extent}); give a scan of the head, or correct its voxel size.")


def check_voxels(image: sitk.Image, modality: str | None) -> tuple[sitk.Image, tuple[str, ...]]:
    """``image`` with every voxel finite and without fill values (both become the lowest value), and what was needed.

    Raises
    ------
    Refused : no finite voxel, (nearly) all voxels equal, or a CT by its numbers where no header says "MR".
    """
    warnings = []
    voxels = sitk.GetArrayViewFromImage(image)
    if voxels.dtype.kind == "f":
        finite = np.isfinite(voxels)
        count = int(voxels.size - np.count_nonzero(finite))
        if count == voxels.size:
            raise Refused("holds no numbers at all (every voxel is NaN or infinite); export or compute it again.")
        if count:
            lowest = voxels.min(where=finite, initial=np.inf)
            image, voxels = _with_voxels(image, np.where(finite, voxels, lowest))
            warnings.append(f"{count} voxels are NaN or infinite; they were set to the lowest value, {lowest:g}.")
    for value in fill_values(voxels):
        filled = voxels == value
        image, voxels = _with_voxels(image, set_aside(voxels, filled))
        warnings.append(
            f"{np.count_nonzero(filled)} voxels have the value {value:g}, far from all others: they were taken for "
            f"places without image and set to the lowest value, {voxels.min():g}."
        )
    lowest = voxels.min()
    if np.count_nonzero(voxels != lowest) < LEAST_VARIED_FRACTION * voxels.size:
        raise Refused(f"is empty: (nearly) every voxel has the value {lowest:g}; export or compute it again.")
    if modality is None and _has_hounsfield_units(voxels):
        raise Refused(
            "is a CT by its values (air near -1000, soft tissue from 0 to 100 Hounsfield units); give an MR scan."
        )
    return image, (*warnings, *_doubts(voxels))


def _doubts(voxels: np.ndarray) -> tuple[str, ...]:
    """What no measured image of a brain has, as sentences; ``Refused`` where too little of it is left.

    Raises
    ------
    Refused : many slices between others hold nothing.
    """
    doubts = []
    empty, between = _empty_slices(voxels)
    if empty > MOST_EMPTY * between:
        raise Refused(f"has {empty} empty slices of {between} from the first to the last; export the whole scan again.")
    if empty:
        doubts.append(f"{empty} of {between} slices are empty: what lay there is missing.")
    sample = voxels[::2, ::2, ::2]
    low, high = float(sample.min()), float(sample.max())
    seen = sample[sample > low + 0.01 * (high - low)]
    share = np.count_nonzero(seen >= low + 0.95 * (high - low)) / max(seen.size, 1)
    if share > MOST_AT_THE_TOP:
        doubts.append(
            f"{100 * share:.0f}% of its voxels have nearly the largest value, as in a map of probabilities, a mask or "
            "a scan that was cut off at the top: it may be no measured image."
        )
    return tuple(doubts)


def _empty_slices(voxels: np.ndarray) -> tuple[int, int]:
    """Slices without anything, and all from the first to the last that hold much; of the worst axis."""
    worst = (0, 1)
    held = voxels != voxels.min()
    for axis in range(3):
        counts = np.count_nonzero(held, tuple(other for other in range(3) if other != axis))
        much = np.flatnonzero(counts > MUCH * counts.max())
        inside = counts[much[0] : much[-1] + 1]
        worst = max(worst, (int(np.count_nonzero(inside == 0)), len(inside)))
    return worst


def _with_voxels(image: sitk.Image, voxels: np.ndarray) -> tuple[sitk.Image, np.ndarray]:
    """``voxels`` on the grid of ``image``, and a view of them."""
    changed = sitk.GetImageFromArray(voxels)
    changed.CopyInformation(image)
    return changed, sitk.GetArrayViewFromImage(changed)


def _has_hounsfield_units(voxels: np.ndarray) -> bool:
    """A head CT: much air around -1000, brain within 0..100, little between them (a shifted MR has a continuum)."""
    if voxels.min() > -900:
        return False
    sample = voxels[::2, ::2, ::2]

    def fraction(low: float, high: float) -> float:
        return np.count_nonzero((sample >= low) & (sample <= high)) / sample.size

    air, between, soft_tissue = fraction(-1100, -900), fraction(-850, -150), fraction(0, 100)
    return air >= 0.15 and soft_tissue >= 0.05 and between < soft_tissue
