"""Scans from which somebody has already removed everything but the brain."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from BrainIACLib.preprocessing.background import commonest_on_faces
from BrainIACLib.preprocessing.brain_extraction.backend import MaskRequest, RawMask
from BrainIACLib.preprocessing.resampling import with_spacing

# In 33 stripped scans, plain and z-scored, at most 12 % of the rim is dark; in 31 heads made as small as a brain, at
# least 20 % (one slab without skull apart).
CLEAR_MM, RIM_MM = 3.0, 12.0  # below the surface: free of the background's value, and still near it
EXTREME = 5e-4  # quantile inside: not the single darkest voxel
DARK = 0.35  # of the brightness of the core
DARK_SHARE = 0.18


def find(request: MaskRequest) -> RawMask:
    """Everything that is not background."""
    return RawMask(sitk.Cast(request.image != _background(request.image), sitk.sitkUInt8))


def is_stripped(image: sitk.Image) -> bool:
    """Whether somebody has already removed everything but the brain.

    The background must be exactly one value, of whatever size: in a brain scaled to mean 0 it lies inside the brain's
    range. The rest must be about as large as a brain, and its rim must not be dark: under the skin of a head lies the
    dark shell of the skull, under the surface of a brain lies brain. Dark is what is like the background, or like the
    darkest inside where the background is not outside the range of the rest. When in doubt the answer is no, because
    extracting a brain twice does little harm.
    """
    background = _background(image)
    share = sitk.Cast(image != background, sitk.sitkFloat32)
    if float(np.mean(sitk.GetArrayViewFromImage(share))) > 0.8:
        return False
    spacing = (2.0, 2.0, 2.0)
    rough = sitk.BinaryMorphologicalOpening(with_spacing(share, spacing, sitk.sitkLinear) > 0.5, (1, 1, 1))
    solid = sitk.BinaryFillhole(sitk.RelabelComponent(sitk.ConnectedComponent(rough)) == 1)
    inside = sitk.GetArrayViewFromImage(solid) > 0
    if not 200 < inside.sum() * 8 / 1000 < 2400:
        return False
    depth = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(solid, True, False, True))  # mm below the surface
    values = sitk.GetArrayFromImage(with_spacing(sitk.Cast(image, sitk.sitkFloat32), spacing, sitk.sitkLinear))
    darkest, brightest = np.quantile(values[inside & (depth >= CLEAR_MM)], [EXTREME, 1 - EXTREME])
    dark = darkest if darkest < background < brightest else background
    core = np.median(values[inside & (depth >= np.quantile(depth[inside], 0.8))]) - dark
    rim = values[inside & (depth >= CLEAR_MM) & (depth < RIM_MM)] - dark
    return bool(np.mean(np.abs(rim) < DARK * abs(core)) < DARK_SHARE)


def _background(image: sitk.Image) -> float:
    """Found by its place and its constancy, not by being low."""
    return commonest_on_faces(sitk.GetArrayViewFromImage(image))[0]
