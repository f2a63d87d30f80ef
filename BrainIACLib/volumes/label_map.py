"""The label map of structures on a scan's own grid, from the shares that the anatomy network gives.

The structure of the largest share is taken at half the network's voxel size, between whose voxels shares are
interpolated linearly. A block of eight new voxels lies between eight old ones. Where all eight have one structure in
front, so have the new ones, whatever the shares; only the other blocks, a tenth of all, are interpolated.
"""

from __future__ import annotations

import typing

import numpy as np
import SimpleITK as sitk

from BrainIACLib.preprocessing.intensity import image_on_model_grid
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.structures import STRUCTURES

if typing.TYPE_CHECKING:
    import torch

BLOCKS_AT_ONCE = 1 << 14  # keeps what is interpolated below 10 MiB


def label_map(shares: "torch.Tensor", standardised: Standardised, orientation: str) -> sitk.Image:
    """uint8 numbers as in ``STRUCTURES``: the nearest of half the network's voxels, on the grid of the scan.

    Parameters
    ----------
    shares : (structures, X, Y, Z) of the template's extent, in ``orientation``.
    """
    fine = fine_structures(shares)
    sides = np.array([[structure.left, structure.right] for structure in STRUCTURES], np.uint8)
    half = fine.shape[0] // 2
    numbers = np.concatenate([sides[fine[:half], 0], sides[fine[half:], 1]])
    on_template = image_on_model_grid(numbers, standardised.image, orientation)
    way = standardised.transform.GetInverse()
    return sitk.Resample(on_template, standardised.native, way, sitk.sitkNearestNeighbor, 0, sitk.sitkUInt8)


def fine_structures(shares: "torch.Tensor") -> np.ndarray:
    """(structures, X, Y, Z) -> (2 X, 2 Y, 2 Z) uint8: which share is largest after trilinear interpolation.

    The same as ``F.interpolate(shares[None], scale_factor=2, mode="trilinear").argmax(1)``, whose memory is 200 times
    that of the answer; only where two shares are equal up to rounding may another of the two be named.
    """
    import torch

    voxels = shares.movedim(0, -1).contiguous()  # (X, Y, Z, structures)
    size, channels = voxels.shape[:3], voxels.shape[3]
    coarse = np.pad(voxels.argmax(-1).numpy().astype(np.uint8), 1, mode="edge")
    eighth = coarse[:-1, :-1, :-1]  # of each block of eight voxels (X + 1, Y + 1, Z + 1), the first
    fine = eighth.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    mixed = np.zeros(eighth.shape, bool)
    for corner in np.ndindex(2, 2, 2):
        mixed |= coarse[tuple(slice(at, at + n) for at, n in zip(corner, eighth.shape, strict=True))] != eighth
    blocks = np.argwhere(mixed)

    table = voxels.reshape(-1, channels)
    strides = np.array([size[1] * size[2], size[2], 1])
    corners = np.array(list(np.ndindex(2, 2, 2)))
    # of the new voxels of a block (rows): a quarter from the nearer face is worth three quarters
    near = np.where(corners[:, None] == corners[None], 0.75, 0.25)
    weights = torch.from_numpy(near.prod(-1).astype(np.float32))
    for start in range(0, len(blocks), BLOCKS_AT_ONCE):
        some = blocks[start : start + BLOCKS_AT_ONCE]
        places = np.clip(some[:, None] + corners - 1, 0, np.array(size) - 1) @ strides  # (blocks, 8)
        around = table.index_select(0, torch.from_numpy(places.ravel())).reshape(len(some), 8, channels)
        found = (weights @ around).argmax(-1).numpy().astype(np.uint8)
        x, y, z = (2 * some[:, None] + corners).transpose(2, 0, 1)
        fine[x, y, z] = found
    return fine[1:-1, 1:-1, 1:-1]
