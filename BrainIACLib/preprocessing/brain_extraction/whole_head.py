"""No brain extraction: the head as it is."""

from __future__ import annotations

import SimpleITK as sitk

from BrainIACLib.preprocessing.brain_extraction.backend import MaskRequest, RawMask
from BrainIACLib.preprocessing.resampling import with_spacing


def find(request: MaskRequest) -> RawMask:
    """Everything within the skin: what is brighter than air, closed over the skull and filled."""
    coarse = with_spacing(request.image, (4.0, 4.0, 4.0), sitk.sitkLinear)
    bright = sitk.OtsuMultipleThresholds(coarse, 2) > 0
    closed = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(bright, (4, 4, 4)))
    soft = sitk.Cast(closed, sitk.sitkFloat32)
    return RawMask(sitk.Resample(soft, request.image, sitk.Transform(), sitk.sitkLinear) > 0.5)
