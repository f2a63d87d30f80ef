"""Image formation: slices, field of view, coil sensitivity, noise, ringing, ghosts, quantization.

Two ways in. ``ScannerGrid`` and ``acquire`` make an image as a scanner would store it, oblique and anisotropic.
The training samples of ``Training.starter`` go the short way: they form the image directly on the template grid.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from torch import Tensor

from Training.synthesis.anatomy import Anatomy, Grid, smooth_noise
from Training.synthesis.sequences import Contrast


def signal_image(anatomy: Anatomy, contrast: Contrast) -> Tensor:
    """float32 (X, Y, Z): each voxel shows its tissue's signal."""
    return torch.from_numpy(contrast.signal)[anatomy.tissue.int()]


def thick_slices(image: Tensor, axis: int, factor: int) -> Tensor:
    """Average ``factor`` voxels along ``axis`` into one slice and interpolate linearly back to the same grid."""
    kernel = [1, 1, 1]
    kernel[axis] = factor
    slices = F.avg_pool3d(image[None, None], kernel, ceil_mode=True, count_include_pad=False)
    return F.interpolate(slices, size=image.shape, mode="trilinear", align_corners=False)[0, 0]


def smooth(image: Tensor, sides: tuple[float, float, float]) -> Tensor:
    """Convolve each axis with (side, 1 - 2 side, side), zero beyond the ends: spread of sqrt(2 side) voxels r.m.s."""
    for axis, side in enumerate(sides):
        inner = image.shape[axis] - 1
        smoothed = image * (1 - 2 * side)
        smoothed.narrow(axis, 1, inner).add_(image.narrow(axis, 0, inner), alpha=side)
        smoothed.narrow(axis, 0, inner).add_(image.narrow(axis, 1, inner), alpha=side)
        image = smoothed
    return image


def bias_field(grid: Grid, strength: float, generator: torch.Generator) -> Tensor:
    """A smooth positive factor exp(strength * noise), (X, Y, Z)."""
    return (smooth_noise(grid, 90, generator) * strength).exp_()


def rician_noise(image: Tensor, sigma: float, generator: torch.Generator) -> Tensor:
    """|image + complex Gaussian noise| (Gudbjartsson and Patz 1995): in air its mean is sigma sqrt(pi/2)."""
    real = image + sigma * torch.randn(image.shape, generator=generator)
    imaginary = sigma * torch.randn(image.shape, generator=generator)
    return torch.hypot(real, imaginary)


def gibbs_ringing(image: Tensor, axis: int, kept: float) -> Tensor:
    """Drop the outer 1 - ``kept`` of k-space along ``axis``: ringing along edges."""
    spectrum = torch.fft.rfft(image, dim=axis)
    last = max(1, round(kept * spectrum.shape[axis]))
    spectrum.narrow(axis, last, spectrum.shape[axis] - last).zero_()
    return torch.fft.irfft(spectrum, n=image.shape[axis], dim=axis).abs_()


def ghosts(image: Tensor, axis: int, amplitude: float, copies: int) -> Tensor:
    """Add a faint copy shifted by a fraction of the field of view, as motion and flow do along the phase axis."""
    return image + amplitude * image.roll(image.shape[axis] // copies, axis)


def echo_planar_distortion(image: Tensor, grid: Grid, stretch_mm: float, loss: float) -> Tensor:
    """Shift along the anterior-posterior axis and signal loss near the frontal sinus and the petrous bones."""
    x, y, z = grid.axes()
    field_map = torch.zeros(())
    for cx, cy, cz, width in ((0, 52, -22, 22), (-48, -18, -32, 16), (48, -18, -32, 16)):
        field_map = field_map + torch.exp(-((x - cx) ** 2 + (y - cy) ** 2 + (z - cz) ** 2) / (2 * width**2))
    shifted = (y + stretch_mm * field_map - grid.origin[1]) / (grid.spacing[1] * (grid.size[1] - 1)) * 2 - 1
    x_unit, z_unit = (torch.linspace(-1, 1, grid.size[i]).reshape(axis.shape) for i, axis in ((0, x), (2, z)))
    where = torch.stack(torch.broadcast_tensors(z_unit, shifted, x_unit), dim=-1)[None]
    moved = F.grid_sample(image[None, None], where, align_corners=True)[0, 0]
    return moved * (1 - loss * field_map.clamp(0, 1))


@dataclass(frozen=True)
class ScannerGrid:
    """A scanner's image: spacing in mm (the last axis is the slice axis), size, and axes and center in template
    RAS mm (``axes`` holds one unit vector per column)."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    axes: tuple[tuple[float, float, float], ...]
    centre: tuple[float, float, float]


def acquire(image: Tensor, grid: Grid, scanner: ScannerGrid) -> sitk.Image:
    """Sample an image of the fine ``grid`` as slices of full thickness on the scanner's grid. float32, LPS."""
    axes = np.array(scanner.axes)
    spacing = np.array(scanner.spacing)
    fine = sitk.GetImageFromArray(np.ascontiguousarray(image.numpy().transpose(2, 1, 0)))
    fine.SetSpacing(grid.spacing)
    lps = np.diag([-1.0, -1.0, 1.0])
    fine.SetOrigin((lps @ np.array(grid.origin)).tolist())
    fine.SetDirection(lps.flatten().tolist())
    samples = [max(1, round(step / min(grid.spacing))) for step in spacing]
    dense = spacing / samples  # several samples per voxel, averaged below: the voxel's own extent
    target = sitk.Image([n * s for n, s in zip(scanner.size, samples, strict=True)], sitk.sitkFloat32)
    target.SetSpacing(dense.tolist())
    target.SetDirection((lps @ axes).flatten().tolist())
    first = np.array(scanner.centre) - axes @ (dense * (np.array(target.GetSize()) - 1) / 2)
    target.SetOrigin((lps @ first).tolist())
    return sitk.BinShrink(sitk.Resample(fine, target, sitk.Transform(), sitk.sitkLinear, 0.0), samples)
