"""The mask of a scan: the back end is chosen, its answer cleaned and judged, and an empty one refused."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing.brain_extraction.backend import Backend, Finds, MaskRequest, RawMask, Report
from BrainIACLib.preprocessing.brain_extraction.registry import AUTO, BACKENDS, choices, chosen_backend

PLAUSIBLE_ML = (500, 2200)  # of a whole brain with its fluid, from infants to large men
LEAST_ML = 100  # below, there is no brain in the scan
CUT_SHARE = 0.01  # of the brain's voxels on a face of the scan: more means that the brain goes on outside
UNIFORM = 0.05  # robust spread inside the mask over its median brightness: white and gray matter differ by more
STRAY_SHARE = 0.05  # of the raw mask in other pieces than the largest: more is worth a warning


@dataclass(frozen=True)
class BrainMask:
    """``mask`` is uint8 (0, 1) on the grid of the scan; ``quality`` holds the figures behind the warnings."""

    mask: sitk.Image
    backend: str
    volume_ml: float
    warnings: tuple[str, ...]
    parameters: dict[str, object]
    quality: dict[str, float]


def extract_brain(
    image: sitk.Image,
    backend: str = AUTO,
    mask: sitk.Image | None = None,
    device: str = "cpu",
    report: Report | None = None,
) -> BrainMask:
    """Find the brain of a scan.

    Parameters
    ----------
    backend : one of ``choices()``; ``auto`` takes a mask that is handed in, else sees whether the scan is already
        stripped, else uses HD-BET where it is installed, else the bundled network. ``none`` finds the whole head.
    mask : an existing brain mask on any grid (non-zero is brain).
    device : the networks' torch device.
    report : gets the fraction done; may raise to stop.

    Raises
    ------
    PreprocessingError : unknown or missing back end, a mask that does not fit, or no brain in the scan.
    """
    report = report or (lambda fraction: None)
    image = sitk.Cast(image, sitk.sitkFloat32)
    name = chosen_backend(image, mask) if backend == AUTO else backend
    if name not in BACKENDS:
        raise PreprocessingError(
            f"BrainIAC has no brain extraction called '{name}'; choose one of {', '.join(choices())}."
        )
    chosen = BACKENDS[name]
    if not chosen.is_installed():
        raise PreprocessingError(
            f"Brain extraction with '{name}' needs {chosen.needs}; choose another way, or {chosen.installation}."
        )
    raw = chosen.find(MaskRequest(image, mask, device, report))
    report(1.0)
    return _judged(image, raw, chosen)


def _judged(image: sitk.Image, raw: RawMask, backend: Backend) -> BrainMask:
    """The cleaned mask, and what gives reason to doubt it."""
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.Cast(raw.mask, sitk.sitkUInt8)))
    sizes = np.bincount(sitk.GetArrayViewFromImage(pieces).ravel())[1:]
    kept = raw.mask if backend.finds is Finds.GIVEN else sitk.BinaryFillhole(pieces == 1)
    mask = sitk.Cast(kept, sitk.sitkUInt8)
    inside = sitk.GetArrayViewFromImage(mask) > 0
    volume = float(inside.sum()) * float(np.prod(image.GetSpacing())) / 1000
    if volume < LEAST_ML and backend.takes_mask:
        raise PreprocessingError(
            f"The brain mask that was handed in covers only {volume:.0f} ml of this scan; hand in the mask "
            "of this scan."
        )
    if volume < LEAST_ML:
        raise PreprocessingError(
            f"No brain was found in this scan ({volume:.0f} ml with '{backend.name}'); check that it shows a head, or "
            "hand in a brain mask."
        )
    faces = [inside.take(index, axis).sum() / inside.sum() for axis in range(3) for index in (0, -1)]
    stray = 1 - sizes.max() / sizes.sum()
    quality = {
        "volume_ml": round(volume, 1),
        "pieces": len(sizes),
        "share_outside_largest_piece": round(float(stray), 4),
        "largest_share_on_a_face": round(float(max(faces)), 4),
        "contrast_inside": round(_contrast_inside(image, inside), 4),
    }
    doubts = () if backend.finds is Finds.HEAD else _doubts(quality)
    return BrainMask(mask, backend.name, volume, (*doubts, *raw.warnings), raw.parameters, quality)


def _doubts(quality: dict[str, float]) -> tuple[str, ...]:
    """What is unusual for a brain, as sentences."""
    doubts = []
    cut = quality["largest_share_on_a_face"] > CUT_SHARE
    volume, stray = quality["volume_ml"], quality["share_outside_largest_piece"]
    if cut:
        doubts.append("The brain touches the edge of the scan: a part of it may be missing.")
    if volume > PLAUSIBLE_ML[1] or (volume < PLAUSIBLE_ML[0] and not cut):
        doubts.append(
            f"The brain mask holds {volume:.0f} ml, outside the {PLAUSIBLE_ML[0]} to {PLAUSIBLE_ML[1]} ml of whole "
            "brains: look at it before using the result."
        )
    if stray > STRAY_SHARE:
        doubts.append(f"The brain mask falls into pieces ({100 * stray:.0f}% lie outside the largest).")
    if quality["contrast_inside"] < UNIFORM:
        doubts.append("The scan is nearly uniform inside the mask, as no brain is: it may show a phantom.")
    return tuple(doubts)


def _contrast_inside(image: sitk.Image, inside: np.ndarray) -> float:
    """Interquartile range over 1.349 (so the standard deviation, were it normal) divided by the median; brightness is
    counted from the darkest hundredth of the scan."""
    values = sitk.GetArrayViewFromImage(image)
    low, middle, high = np.percentile(values[inside], [25, 50, 75]) - np.percentile(values, 1)
    return float((high - low) / 1.349 / max(abs(middle), 1e-12))
