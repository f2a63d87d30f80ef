"""Changes of a scan that should not change what is said of the head in it."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

HARMLESS = ("turned", "thicker", "bias field")


def changed(image: sitk.Image, kind: str) -> sitk.Image:
    """The scan turned by 10 degrees, with voxels twice as long in one axis, or under another bias field."""
    if kind == "turned":
        turn = sitk.Euler3DTransform()
        turn.SetCenter(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
        turn.SetRotation(0.1, 0.1, np.deg2rad(10))
        return sitk.Resample(image, image, turn, sitk.sitkLinear, 0.0)
    if kind == "thicker":
        return sitk.BinShrink(image, [1, 1, 2])
    array = sitk.GetArrayFromImage(image)
    ramp = [np.linspace(-1, 1, n) for n in array.shape]
    field = np.exp(0.25 * (ramp[0][:, None, None] + ramp[1][:, None] ** 2 - ramp[2]))
    result = sitk.GetImageFromArray((array * field).astype(np.float32))
    result.CopyInformation(image)
    return result
