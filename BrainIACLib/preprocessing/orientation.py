"""The voxels of an image in another order of its axes: what SimpleITK's ``DICOMOrient`` gives, as views of an array.

``DICOMOrient`` copies voxel by voxel: 0.7 CPU seconds for a sagittal head of 12.6 million, there and again back.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

OPPOSITE = dict(zip("RLAPSI", "LRPAIS", strict=True))


def oriented_view(image: sitk.Image, orientation: str) -> np.ndarray:
    """A view (X, Y, Z) of the voxels, whose indices grow towards the letters of ``orientation``, such as "RAS".

    The direction closest to it is taken, so an oblique image keeps its obliqueness. Valid as long as ``image`` lives.
    """
    order, flipped = _axes(image, orientation)
    return _flipped(sitk.GetArrayViewFromImage(image).transpose(2, 1, 0).transpose(order), flipped)


def image_as_stored(array: np.ndarray, image: sitk.Image, orientation: str) -> sitk.Image:
    """An array as ``oriented_view`` gives it, as an image on the grid of ``image``."""
    order, flipped = _axes(image, orientation)
    stored = _flipped(array, flipped).transpose(np.argsort(order))
    result = sitk.GetImageFromArray(np.ascontiguousarray(stored.transpose(2, 1, 0)))
    result.CopyInformation(image)
    return result


def oriented_axes(image: sitk.Image, orientation: str) -> list[int]:
    """Which axis (x 0, y 1, z 2) of the image is the first, the second and the third in that order."""
    return _axes(image, orientation)[0]


def _axes(image: sitk.Image, orientation: str) -> tuple[list[int], list[bool]]:
    """For each axis of the result: which axis of the image it is, and whether it is turned round."""
    stored = sitk.DICOMOrientImageFilter.GetOrientationFromDirectionCosines(image.GetDirection())
    order = [next(i for i, letter in enumerate(stored) if letter in (wish, OPPOSITE[wish])) for wish in orientation]
    return order, [stored[axis] != wish for axis, wish in zip(order, orientation, strict=True)]


def _flipped(array: np.ndarray, flipped: list[bool]) -> np.ndarray:
    return array[tuple(slice(None, None, -1 if turned else 1) for turned in flipped)]
