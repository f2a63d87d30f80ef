"""N4 bias-field correction (P-05, U-08) on a shrunken copy, the field applied at full resolution."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import SimpleITK as sitk

WORKING_VOXEL_MM = 4.0
ITERATIONS = (50, 40, 30, 20)


@dataclass(frozen=True)
class BiasFieldResult:
    """``image`` = input / exp(``log_field``), both float32 on the input's grid."""

    image: sitk.Image
    log_field: sitk.Image
    parameters: dict


def correct_bias_field(
    image: sitk.Image, mask: sitk.Image | None = None, report: Callable[[float], None] | None = None
) -> BiasFieldResult:
    """Divide the image by its smooth multiplicative field; ``report`` gets the fraction done and may raise."""
    image = sitk.Cast(image, sitk.sitkFloat32)
    shrink = [
        max(1, min(round(WORKING_VOXEL_MM / spacing), size // 8))
        for spacing, size in zip(image.GetSpacing(), image.GetSize(), strict=True)
    ]
    small = sitk.Shrink(image, shrink)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations(ITERATIONS)
    if mask is None:
        n4.Execute(small)
    else:
        n4.Execute(small, sitk.Shrink(sitk.Cast(mask, sitk.sitkUInt8), shrink))
    log_field = n4.GetLogBiasFieldAsImage(image)
    if report is not None:
        report(1.0)
    corrected = sitk.Cast(image / sitk.Exp(log_field), sitk.sitkFloat32)
    parameters = {"shrink": shrink, "iterations": list(ITERATIONS), "mask": mask is not None}
    return BiasFieldResult(corrected, sitk.Cast(log_field, sitk.sitkFloat32), parameters)
