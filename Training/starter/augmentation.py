"""Cheap changes of normalised volumes while training; drawn per volume from one numpy generator."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor


def augment(volumes: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """(B, 1, X, Y, Z) -> the same shape: mirror, shift up to 3 voxels, gain and offset, noise, cut-outs.

    The outside (exact zeros) stays outside.
    """
    return torch.stack([_augment_one(volume[0], rng, generator)[None] for volume in volumes])


def _augment_one(volume: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
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


def _shift(volume: Tensor, voxels: np.ndarray) -> Tensor:
    shifted = torch.zeros_like(volume)
    source, target = [], []
    for n, step in zip(volume.shape, voxels.tolist(), strict=True):
        source.append(slice(max(0, -step), n - max(0, step)))
        target.append(slice(max(0, step), n - max(0, -step)))
    shifted[tuple(target)] = volume[tuple(source)]
    return shifted
