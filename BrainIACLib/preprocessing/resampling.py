"""Grids of another voxel size over the same extent: what working copies of a scan live on."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


def index_to_point(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """(3, 3) matrix and (3,) origin: point (mm, LPS) = matrix @ index (x, y, z) + origin."""
    return np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing()), np.array(image.GetOrigin())


def with_spacing(image: sitk.Image, spacing: tuple[float, float, float], interpolator: int) -> sitk.Image:
    """The image on voxels of about ``spacing``, their outer faces where those of the image are.

    Where voxels become at least twice as long, whole voxels are averaged first, so that nothing aliases. Values beyond
    the outermost voxel centers are those of the nearest voxel.
    """
    factors = [max(1, int(new / old + 1e-3)) for new, old in zip(spacing, image.GetSpacing(), strict=True)]
    factors = [min(factor, size) for factor, size in zip(factors, image.GetSize(), strict=True)]
    extent = np.array(image.GetSize()) * np.array(image.GetSpacing())
    matrix, origin = index_to_point(image)
    size = np.maximum(1, np.rint(extent / np.array(spacing))).astype(int)
    new_spacing = extent / size
    corner = origin - matrix @ np.full(3, 0.5)
    grid = sitk.Image(size.tolist(), sitk.sitkUInt8)
    grid.SetSpacing(new_spacing.tolist())
    grid.SetDirection(image.GetDirection())
    grid.SetOrigin((corner + (matrix / np.array(image.GetSpacing())) @ (new_spacing / 2)).tolist())
    if max(factors) > 1 and interpolator != sitk.sitkNearestNeighbor:
        image = sitk.BinShrink(image, factors)
    return sitk.Resample(image, grid, sitk.Transform(), interpolator, 0.0, image.GetPixelID(), True)
