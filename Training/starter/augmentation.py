"""Cheap changes of normalised volumes while training; drawn per volume from one numpy generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def augment(volumes: Tensor, rng: np.random.Generator, generator: torch.Generator, blur: float) -> Tensor:
    """(B, 1, X, Y, Z) -> the same shape: mirror, shift up to 3 voxels, gain and offset, noise, cut-outs.

    The outside (exact zeros) stays outside. ``blur`` is the share of volumes that are smoothed first.
    """
    return torch.stack([_augment_one(volume[0], rng, generator, blur)[None] for volume in volumes])


def _augment_one(volume: Tensor, rng: np.random.Generator, generator: torch.Generator, blur: float) -> Tensor:
    if blur and rng.random() < blur:
        volume = _blur(volume, rng)
    if rng.random() < 0.5:
        volume = volume.flip(0)
    if rng.random() < 0.6:
        volume = _shift(volume, rng.integers(-3, 4, 3))
    inside = volume != 0
    volume = volume * float(rng.uniform(0.9, 1.1)) + float(rng.normal(0, 0.08))
    if rng.random() < 0.25:
        volume = volume + torch.randn(volume.shape, generator=generator) * float(rng.uniform(0.03, 0.3))
    volume = volume * inside
    if rng.random() < 0.2:
        for axis in range(3):
            if rng.random() < 0.5:
                width = int(rng.integers(3, volume.shape[axis] // 3))
                start = 0 if rng.random() < 0.5 else volume.shape[axis] - width
                volume.narrow(axis, start, width).zero_()
    return volume


def _blur(volume: Tensor, rng: np.random.Generator) -> Tensor:
    """Smooth by up to about 1 voxel (3 mm) per axis within the non-zero voxels, then z-score them again."""
    inside = (volume != 0).float()
    if inside.sum() < 2:
        return volume
    smooth, weight = volume, inside
    for axis, side in enumerate(rng.uniform(0, 0.3, 3)):
        for _ in range(int(rng.integers(1, 3))):
            smooth, weight = (
                v * (1 - 2 * side) + (v.roll(1, axis) + v.roll(-1, axis)) * side for v in (smooth, weight)
            )
    smooth = smooth / weight.clamp_min(1e-3) * inside
    values = smooth[inside > 0]
    return (smooth - values.mean()) / values.std(correction=0).clamp_min(1e-6) * inside


def _shift(volume: Tensor, voxels: np.ndarray) -> Tensor:
    shifted = torch.zeros_like(volume)
    source, target = [], []
    for n, step in zip(volume.shape, voxels.tolist(), strict=True):
        source.append(slice(max(0, -step), n - max(0, step)))
        target.append(slice(max(0, step), n - max(0, -step)))
    shifted[tuple(target)] = volume[tuple(source)]
    return shifted
