"""Scans from which somebody has already removed everything but the brain."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from BrainIACLib.preprocessing.brain_extraction.backend import MaskRequest, RawMask
from BrainIACLib.preprocessing.resampling import with_spacing


def find(request: MaskRequest) -> RawMask:
    """Everything that is not background."""
    return RawMask(sitk.Cast(request.image != _background(request.image), sitk.sitkUInt8))


def is_stripped(image: sitk.Image) -> bool:
    """Whether somebody has already removed everything but the brain.

    The background must be exactly one value, the rest about as large as a brain, and its rim must not be dark: under
    the skin of a head lies the dark shell of the skull, under the surface of a brain lies brain. When in doubt the
    answer is no, because extracting a brain twice does little harm.
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
    values = values - background
    core = np.median(values[inside & (depth >= np.quantile(depth[inside], 0.8))])
    rim = values[inside & (depth >= 3) & (depth < 12)]
    return bool(np.mean(np.abs(rim) < 0.35 * abs(core)) < 0.18)


def _background(image: sitk.Image) -> float:
    """The commonest value on the faces of the scan."""
    array = sitk.GetArrayViewFromImage(image)
    faces = np.concatenate([array.take(index, axis).ravel() for axis in range(3) for index in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()])
