"""Whether a scan that is called contrast-enhanced enhances against its partner before contrast agent.

Vessels, sinuses and the choroid plexus always do. Both scans are divided by their median inside the brain and smoothed
a little; the share of the brain that rose by 0.4 of the median was .006 to .033 in seven patients of the open data
(``Testing/benchmarks/study.py``), and below .0006 in their unenhanced scans with another gray scale, noise and a shift.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from BrainIACLib.preprocessing.standardised import Standardised

RISE = 0.4  # of the median in the brain
LEAST_SHARE = 0.002
SMOOTHING_MM = 0.7
MARGIN = 6  # voxels of 1 mm


def enhanced_share(before: Standardised, after: Standardised) -> float:
    """The share of the brain in which ``after`` is brighter than ``before``, from 0 to 1; both on the template grid."""
    return share_that_rose(before.image, after.image)


def share_that_rose(before: sitk.Image, after: sitk.Image) -> float:
    """``enhanced_share`` of two images on one grid, 0 outside the brain."""
    values = [sitk.GetArrayViewFromImage(image) for image in (before, after)]
    inside = (values[0] > 0) & (values[1] > 0)
    if not inside.any():
        return 0.0
    box = _box(inside)
    shares = []
    for image, value in zip((before, after), values, strict=True):
        cut = image[tuple(slice(part.start, part.stop) for part in reversed(box))]
        smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(cut, SMOOTHING_MM))
        shares.append(smooth[inside[box]] / np.median(value[inside]))
    return float(np.mean(shares[1] - shares[0] > RISE))


def _box(inside: np.ndarray) -> tuple[slice, ...]:
    """Around what is true, with a margin beyond which the smoothing does not reach."""
    found = []
    for axis in range(3):
        occupied = np.flatnonzero(inside.any(axis=tuple(other for other in range(3) if other != axis)))
        found.append(slice(max(0, int(occupied[0]) - MARGIN), int(occupied[-1]) + MARGIN + 1))
    return tuple(found)
