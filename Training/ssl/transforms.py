"""The transforms of a view (P-10), each on a whole batch at once, with plain torch operations that run on any device.

Volumes are float32 (B, 1, X, Y, Z) in 0..1. Parameters hold one entry a volume, live on the CPU and say everything: the
same parameters give the same view again. Identity parameters give the volume back bit by bit, because it is left out of
the computation. Held against scipy and MONAI by Testing/training/test_ssl_transforms.py.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

BLUR_TRUNCATED_AT = 4.0  # standard deviations, as in scipy.ndimage.gaussian_filter


@dataclass(frozen=True)
class Flip:
    """``mirrored`` : bool (B,), along the first axis: right and left in RAS order (D-16)."""

    mirrored: Tensor


@dataclass(frozen=True)
class Geometry:
    """Affine and crop-and-resize together, so that a volume is interpolated once.

    The view shows a box of ``crop`` of the edge, ``crop_centre`` of the way to where it touches the border, blown up to
    the whole grid; in it the head is turned, magnified by ``zoom`` and moved.

    rotation : (B, 3) degrees about the X, Y and Z axes through the middle, applied in this order.
    zoom : (B, 3), > 1 magnifies.
    shift : (B, 3), share of the edge by which the head moves towards larger indices.
    crop : (B,), share of the edge that is kept, 1 keeps everything.
    crop_centre : (B, 3) in -1..1.
    """

    rotation: Tensor
    zoom: Tensor
    shift: Tensor
    crop: Tensor
    crop_centre: Tensor


@dataclass(frozen=True)
class Blur:
    """``sigma`` : (B,) standard deviation of the Gaussian in voxels, 0 for none. Beyond the border lies 0."""

    sigma: Tensor


@dataclass(frozen=True)
class Intensity:
    """v -> gain * v ** gamma, then 1 - v inside the head where ``inverted``, each (B,).

    Inversion turns a T1-like contrast into a T2-like one: the strongest view against shortcuts through contrast. Border
    voxels that are partly background become a bright rim by it.
    """

    gamma: Tensor
    gain: Tensor
    inverted: Tensor


@dataclass(frozen=True)
class Noise:
    """Gaussian noise on every voxel: ``deviation`` (B,) and a ``seed`` (B,) int64 for each volume's own field.

    The field of a seed is the same on every run, batch and rank, but another on another kind of device.
    """

    deviation: Tensor
    seed: Tensor


def flip(volumes: Tensor, parameters: Flip) -> Tensor:
    """Mirror the chosen volumes."""
    return _applied(volumes, parameters.mirrored, lambda chosen, _: chosen.flip(2))


def resample(volumes: Tensor, parameters: Geometry) -> Tensor:
    """Affine, crop and resize by one linear interpolation; beyond the border lies 0."""

    def sampled(chosen: Tensor, rows: Tensor) -> Tensor:
        theta = normalised_matrices(voxel_matrices(parameters, chosen.shape[2:])[rows], chosen.shape[2:])
        places = places_seen(theta.to(chosen), chosen.shape[2:])
        return F.grid_sample(chosen, places, mode="bilinear", padding_mode="zeros", align_corners=False)

    identity = (parameters.rotation == 0).all(1) & (parameters.zoom == 1).all(1) & (parameters.shift == 0).all(1)
    return _applied(volumes, ~(identity & (parameters.crop == 1)), sampled)


def blur(volumes: Tensor, parameters: Blur) -> Tensor:
    """Gaussian smoothing, as three products with banded matrices: one pass an axis whatever the width."""

    def smoothed(chosen: Tensor, rows: Tensor) -> Tensor:
        x, y, z = (_gaussian_matrices(parameters.sigma[rows], size).to(chosen) for size in chosen.shape[2:])
        chosen = (x @ chosen[:, 0].flatten(2)).reshape(chosen.shape)  # (B, X, X) @ (B, X, Y * Z)
        chosen = y[:, None, None] @ chosen  # (B, 1, 1, Y, Y) @ (B, 1, X, Y, Z)
        return chosen @ z[:, None, None].mT

    return _applied(volumes, parameters.sigma > 0, smoothed)


def change_intensity(volumes: Tensor, parameters: Intensity) -> Tensor:
    """Gamma, gain and inversion of volumes in 0..1."""

    def changed(chosen: Tensor, rows: Tensor) -> Tensor:
        gamma, gain, inverted = (
            values[rows].reshape(-1, 1, 1, 1, 1).to(chosen.device)
            for values in (parameters.gamma.float(), parameters.gain.float(), parameters.inverted)
        )
        value = gain * chosen.clamp_min(0) ** gamma
        return torch.where(inverted & (chosen > 0), 1 - value, value)

    return _applied(volumes, (parameters.gamma != 1) | (parameters.gain != 1) | parameters.inverted, changed)


def add_noise(volumes: Tensor, parameters: Noise) -> Tensor:
    """Add each volume's own noise field."""

    def noisy(chosen: Tensor, rows: Tensor) -> Tensor:
        generator = torch.Generator(chosen.device)
        chosen = chosen.clone()
        for volume, row in zip(chosen, rows.tolist(), strict=True):
            generator.manual_seed(int(parameters.seed[row]))
            field = torch.randn(volume.shape, generator=generator, device=volume.device)
            volume.add_(field, alpha=float(parameters.deviation[row]))
        return chosen

    return _applied(volumes, parameters.deviation > 0, noisy)


def voxel_matrices(parameters: Geometry, size: tuple[int, ...]) -> Tensor:
    """float64 (B, 3, 4): from a voxel of the view to the voxel of the volume that is seen there.

    Both are counted from the middle of the grid, in the order X, Y, Z.
    """
    edge = torch.tensor(size, dtype=torch.float64)
    crop = parameters.crop.double()[:, None]
    linear = torch.diag_embed(1 / parameters.zoom.double()) @ _rotations(parameters.rotation).mT
    # out of the cropped view into the whole one, undo the shift, then undo rotation and zoom
    offset = parameters.crop_centre.double() * (1 - crop) / 2 * edge - parameters.shift.double() * edge
    return torch.cat([linear * crop[:, None], linear @ offset[:, :, None]], dim=2)


def normalised_matrices(matrices: Tensor, size: tuple[int, ...]) -> Tensor:
    """The same for ``torch.nn.functional.affine_grid``: edges at -1 and 1, axes in the order Z, Y, X."""
    half = torch.tensor(size, dtype=matrices.dtype) / 2
    scaled = torch.cat([matrices[:, :, :3] * half, matrices[:, :, 3:]], dim=2) / half[:, None]
    return torch.cat([scaled[:, :, :3].flip(1, 2), scaled[:, :, 3:].flip(1)], dim=2)


def places_seen(theta: Tensor, size: tuple[int, ...]) -> Tensor:
    """(B, X, Y, Z, 3), the same as ``affine_grid`` without aligned corners, in half its time: one sum an axis."""
    x, y, z = ((torch.arange(n, dtype=theta.dtype, device=theta.device) * 2 + 1) / n - 1 for n in size)
    along_z, along_y, along_x, middle = theta[:, None].unbind(-1)  # (B, 1, 3) each
    plane = (along_x * x[:, None] + middle)[:, :, None] + (along_y * y[:, None])[:, None]  # (B, X, Y, 3)
    return plane[:, :, :, None] + (along_z * z[:, None])[:, None, None]


def _rotations(degrees: Tensor) -> Tensor:
    """(B, 3, 3): about X, then Y, then Z."""
    angles = torch.deg2rad(degrees.double())
    matrix = torch.eye(3, dtype=torch.float64).expand(len(degrees), 3, 3)
    for axis in range(3):
        first, second = (axis + 1) % 3, (axis + 2) % 3
        turn = torch.eye(3, dtype=torch.float64).repeat(len(degrees), 1, 1)
        turn[:, first, first] = turn[:, second, second] = angles[:, axis].cos()
        turn[:, second, first] = angles[:, axis].sin()
        turn[:, first, second] = -turn[:, second, first]
        matrix = turn @ matrix
    return matrix


def _gaussian_matrices(sigma: Tensor, size: int) -> Tensor:
    """(B, size, size) banded matrices whose rows are the sampled Gaussian, cut off where scipy cuts it off."""
    sigma = sigma.double().reshape(-1, 1, 1)
    radius = (BLUR_TRUNCATED_AT * sigma + 0.5).floor()
    place = torch.arange(size, dtype=torch.float64)
    weights = torch.exp(-0.5 * ((place[:, None] - place) / sigma) ** 2)
    weights = weights * ((place[:, None] - place).abs() <= radius)
    taps = torch.arange(-int(radius.max()), int(radius.max()) + 1, dtype=torch.float64)
    sums = (torch.exp(-0.5 * (taps / sigma) ** 2) * (taps.abs() <= radius)).sum(-1, keepdim=True)
    return (weights / sums).float()


def _applied(volumes: Tensor, wanted: Tensor, transform: Callable[[Tensor, Tensor], Tensor]) -> Tensor:
    """The transform on the volumes where ``wanted`` (B,); the others untouched. Which those are is known on the CPU."""
    rows = wanted.nonzero()[:, 0]
    if len(rows) == 0:
        return volumes
    if len(rows) == len(volumes):
        return transform(volumes, rows)
    places = rows.to(volumes.device)
    return volumes.index_copy(0, places, transform(volumes[places], rows))
