"""A brain at the resolutions at which it is registered, and how well two of them overlap."""

from __future__ import annotations

import functools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing.registration.motion import Motion
from BrainIACLib.preprocessing.resampling import index_to_point, with_spacing
from BrainIACLib.preprocessing.template import Template

BINS = 16  # of intensities; 0 is the background
THINNEST_MM = 24.0


@dataclass(frozen=True)
class Pose:
    """Where the search stands: rigid part, scan to template, and scale about the center of the scan's brain."""

    motion: Motion
    scale: float
    information: float  # mutual information there
    ambiguous: bool = False


class BrainLevels:
    """A masked brain and its mask at 2, 4 and 8 mm."""

    def __init__(self, image: sitk.Image, mask: sitk.Image):
        share = sitk.Cast(mask, sitk.sitkFloat32)
        self.images, self.masks = {}, {}
        for spacing in (2.0, 4.0, 8.0):
            image = with_spacing(image, (spacing,) * 3, sitk.sitkLinear)
            share = with_spacing(share, (spacing,) * 3, sitk.sitkLinear)
            self.images[spacing] = image
            self.masks[spacing] = share > 0.5
        points, _ = self.points(4.0, self.masks[4.0])
        size = sitk.GetArrayViewFromImage(self.masks[4.0])
        occupied = [size.any(tuple(other for other in range(3) if other != axis)).sum() * 4 for axis in range(3)]
        if min(occupied) < THINNEST_MM:
            raise PreprocessingError(
                f"The brain in this scan is thinner than {THINNEST_MM:.0f} mm, too little to find its place in the "
                "template; use a scan that covers more of the brain."
            )
        self.centroid = points.mean(0)

    def region(self, spacing: float) -> sitk.Image:
        """The brain with a margin of 6 to 8 mm, as far as the scan goes."""
        return sitk.BinaryDilate(self.masks[spacing], [max(1, round(6 / spacing))] * 3)

    def points(self, spacing: float, region: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 3) in mm of a region, and which voxels (z, y, x) they are."""
        where = sitk.GetArrayViewFromImage(region) > 0
        matrix, origin = index_to_point(self.images[spacing])
        return np.argwhere(where)[:, ::-1] @ matrix.T + origin, where

    def binned(self, spacing: float) -> np.ndarray:
        """Intensities (z, y, x) in bins 1 to BINS - 1; 0 outside the brain."""
        array = sitk.GetArrayViewFromImage(self.images[spacing])
        inside = sitk.GetArrayViewFromImage(self.masks[spacing]) > 0
        low, high = np.percentile(array[inside], (2, 98))
        scaled = np.clip((array - low) / max(high - low, 1e-6), 0, 1) * (BINS - 2)
        return np.where(inside, 1 + np.rint(scaled).astype(np.int64), 0)


@functools.cache
def template_levels(template: Template) -> BrainLevels:
    """Of the template brain, made once."""
    return BrainLevels(template.image, template.mask)


def volume_of(levels: BrainLevels) -> float:
    """Of the brain, in voxels of 4 mm."""
    return float(sitk.GetArrayViewFromImage(levels.masks[4.0]).sum())


def overlap_of(scan: BrainLevels, goal: BrainLevels, pose: Pose) -> float:
    """Dice of both brains at 4 mm, sizes made equal, where the scan has data."""
    everywhere = scan.masks[4.0] >= 0
    points, _ = scan.points(4.0, everywhere)
    centre = pose.motion(scan.centroid)
    matrix, origin = index_to_point(goal.masks[4.0])
    places = (centre + pose.scale * (pose.motion(points) - centre) - origin) @ np.linalg.inv(matrix).T + 1
    table = np.pad(sitk.GetArrayViewFromImage(goal.masks[4.0]) > 0, 1)
    x, y, z = np.clip(np.rint(places), 0, np.array(table.shape[::-1]) - 1).astype(np.int64).T
    there, here = table[z, y, x], sitk.GetArrayViewFromImage(scan.masks[4.0]).ravel() > 0
    return float(2 * (there & here).sum() / (there.sum() + here.sum()))
