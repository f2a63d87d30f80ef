"""A brain mask that somebody hands in."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing.brain_extraction.backend import MaskRequest, RawMask


def find(request: MaskRequest) -> RawMask:
    """The mask on the scan's grid; PreprocessingError if there is none, or it is empty or of another scan."""
    image, mask = request.image, request.mask
    if mask is None:
        raise PreprocessingError("Brain extraction 'mask' needs a mask image; hand one in or choose another way.")
    binary = sitk.Cast(sitk.Cast(mask, sitk.sitkFloat32) != 0, sitk.sitkUInt8)
    before = float(sitk.GetArrayViewFromImage(binary).sum()) * float(np.prod(mask.GetSpacing()))
    if before == 0:
        raise PreprocessingError("The brain mask that was handed in is empty.")
    placed = sitk.Resample(binary, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    after = float(sitk.GetArrayViewFromImage(placed).sum()) * float(np.prod(image.GetSpacing()))
    if after < 0.5 * before:
        raise PreprocessingError(
            f"Only {100 * after / before:.0f}% of the brain mask lies inside the scan; hand in the mask of this scan."
        )
    return RawMask(placed)
