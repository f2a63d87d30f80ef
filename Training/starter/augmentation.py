"""Cheap changes of normalized volumes while training; drawn per volume from one numpy generator."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor


def augment(volumes: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """(B, 1, X, Y, Z) -> the same shape: mirror, shift up to 3 voxels, rim, gain and offset, noise, cut-outs.

    The outside (exact zeros) stays outside.
    """
    return torch.stack([_augment_one(volume[0], rng, generator)[None] for volume in volumes])


def _augment_one(volume: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    if rng.random() < 0.5:
        volume = volume.flip(0)
    if rng.random() < 0.6:
        volume = _shift(volume, rng.integers(-3, 4, 3))
    inside = volume != 0
    if rng.random() < 0.35:
        volume = _strange_rim(volume, inside, rng, generator)
    gain = rng.uniform(0.9, 1.1) if rng.random() < 0.7 else np.exp(rng.uniform(np.log(0.45), np.log(1.3)))
    volume = volume * float(gain) + float(rng.normal(0, 0.08))
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


def _strange_rim(volume: Tensor, inside: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Patches of the outermost voxels dark or bright, as remains of skull, dura and fluid make them in real masks.

    Normalized again, since such a rim lowers the contrast of everything within it.
    """
    outside = (~inside)[None, None].float()
    rim = inside & (F.max_pool3d(outside, 3, stride=1, padding=1)[0, 0] > 0)
    patches = torch.randn(1, 1, 6, 6, 6, generator=generator)
    patches = F.interpolate(patches, size=volume.shape, mode="trilinear", align_corners=True)[0, 0]
    level = rng.uniform(-5, -1.5) if rng.random() < 0.75 else rng.uniform(1.5, 5)
    volume = volume.where(~(rim & (patches > rng.uniform(-1, 0.6))), torch.tensor(float(level)))
    values = volume[inside]
    return (
        ((volume - values.mean()) / values.std().clamp_min(1e-3)).clamp(-5, 7) * inside if len(values) > 1 else volume
    )


def _shift(volume: Tensor, voxels: np.ndarray) -> Tensor:
    shifted = torch.zeros_like(volume)
    source, target = [], []
    for n, step in zip(volume.shape, voxels.tolist(), strict=True):
        source.append(slice(max(0, -step), n - max(0, step)))
        target.append(slice(max(0, step), n - max(0, -step)))
    shifted[tuple(target)] = volume[tuple(source)]
    return shifted
