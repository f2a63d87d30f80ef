"""Image artifacts at a level, before normalization, the same for every image and run (PROTOCOL P-42, U-14, C-02).

Each takes float32 (B, 1, X, Y, Z) in 0..1 and a level. At the level without an effect the very input comes back, so
that it is bit-exact. The first three are the paper's and those of ``BrainIACLib.trust.perturbations``, with which one
answer is examined; the others are extras. What is drawn at random is drawn once from a seed and scaled by the level, so
that levels differ in strength alone.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.trust import perturbations as of_one_scan
from Training.runs.layout import UNPERTURBED_LEVEL

SEED = 0
FFT_AXES = (-3, -2, -1)


def _of_the_library(change: Callable[[np.ndarray, float], np.ndarray], neutral: float):
    """A change of one scan, as the library examines an answer with it, for a batch."""

    def apply(volumes: Tensor, level: float) -> Tensor:
        if level == neutral:
            return volumes
        changed = [change(volume, level) for volume in volumes[:, 0].cpu().numpy()]
        return torch.from_numpy(np.stack(changed).astype(np.float32))[:, None].to(volumes.device)

    return apply


contrast = _of_the_library(of_one_scan.contrast, 1.0)
gibbs = _of_the_library(of_one_scan.gibbs, 0.0)
bias_field = _of_the_library(of_one_scan.bias_field, 0.0)


def motion(volumes: Tensor, level: float) -> Tensor:
    """The head moves once during the scan: the last ``level`` of the phase-encoding lines (axis 1, from the edge of
    k-space to its center and beyond) are those of the head shifted by 2 % of the field of view."""
    if level == 0:
        return volumes
    lines = volumes.shape[3]
    moved = volumes.roll(max(1, round(0.02 * lines)), dims=3)
    first = lines - round(level * lines)
    order = torch.fft.fftshift(torch.arange(lines))  # k-space lines as they are measured, from -kmax to kmax
    spectrum, of_moved = torch.fft.fft(volumes, dim=3), torch.fft.fft(moved, dim=3)
    late = order[first:].to(volumes.device)
    spectrum[:, :, :, late] = of_moved[:, :, :, late]
    return torch.fft.ifft(spectrum, dim=3).abs()


def noise(volumes: Tensor, sigma: float) -> Tensor:
    """Rician noise inside the brain, ``sigma`` relative to the brightest voxel; the masked background stays 0."""
    if sigma == 0:
        return volumes
    real, imaginary = _noise_pair(tuple(volumes.shape[2:]))
    top = volumes.amax(FFT_AXES, keepdim=True)
    noisy = torch.hypot(volumes + sigma * top * real.to(volumes.device), sigma * top * imaginary.to(volumes.device))
    return torch.where(volumes == 0, volumes, noisy)


def resolution(volumes: Tensor, factor: float) -> Tensor:
    """Slices ``factor`` (a whole number) voxels thick along the last axis, interpolated back linearly."""
    if factor == 1:
        return volumes
    thick = F.avg_pool3d(volumes, (1, 1, int(factor)), ceil_mode=True, count_include_pad=False)
    return F.interpolate(thick, size=volumes.shape[2:], mode="trilinear", align_corners=False)


@dataclass(frozen=True)
class Perturbation:
    """A perturbation at one level: float32 (B, 1, X, Y, Z) in 0..1 to the same shape. ``name`` and ``level`` identify
    it."""

    name: str
    level: float
    apply: Callable[[Tensor, float], Tensor]

    def __call__(self, volumes: Tensor) -> Tensor:
        """The outside of the brain stays 0, as an extraction of the brain after the artifact would leave it."""
        return torch.where(volumes == 0, volumes, self.apply(volumes, self.level))


@dataclass(frozen=True)
class Sweep:
    """A perturbation and its levels; ``neutral`` is the one without an effect."""

    name: str
    apply: Callable[[Tensor, float], Tensor]
    levels: tuple[float, ...]

    @property
    def neutral(self) -> float:
        return UNPERTURBED_LEVEL[self.name]

    def at(self, level: float) -> Perturbation:
        """The perturbation at a level, which need not be one of ``levels``."""
        return Perturbation(self.name, level, self.apply)


SWEEPS = (
    Sweep("contrast", contrast, tuple(round(0.5 + 0.1 * step, 1) for step in range(16))),
    Sweep("gibbs", gibbs, tuple(round(0.05 * step, 2) for step in range(9))),
    Sweep("bias_field", bias_field, tuple(round(0.05 * step, 2) for step in range(9))),
    Sweep("motion", motion, (0.0, 0.1, 0.2, 0.3, 0.4)),
    Sweep("noise", noise, (0.0, 0.02, 0.05, 0.1, 0.15)),
    Sweep("resolution", resolution, (1.0, 2.0, 3.0, 4.0, 6.0)),
)
FEW_LEVELS = {
    "contrast": (0.5, 0.75, 1.0, 1.5, 2.0),
    "gibbs": (0.0, 0.2, 0.4),
    "bias_field": (0.0, 0.2, 0.4),
    "motion": (0.0, 0.3),
    "noise": (0.0, 0.1),
    "resolution": (1.0, 4.0),
}


@lru_cache(maxsize=4)
def _noise_pair(shape: tuple[int, int, int]) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(SEED)
    return torch.randn(shape, generator=generator), torch.randn(shape, generator=generator)
