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


def enhanced_share(before: Standardised, after: Standardised) -> float:
    """The share of the brain in which ``after`` is brighter than ``before``, from 0 to 1; both on the template grid."""
    return share_that_rose(before.image, after.image)


def share_that_rose(before: sitk.Image, after: sitk.Image) -> float:
    """``enhanced_share`` of two images on one grid, 0 outside the brain."""
    values = [sitk.GetArrayViewFromImage(image) for image in (before, after)]
    inside = (values[0] > 0) & (values[1] > 0)
    if not inside.any():
        return 0.0
    smooth = [sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(image, SMOOTHING_MM)) for image in (before, after)]
    scaled = [one / np.median(value[inside]) for one, value in zip(smooth, values, strict=True)]
    return float(np.mean((scaled[1] - scaled[0])[inside] > RISE))
