"""Volumes that show no brain: noise, ramps, phantoms, blobs, vertebral columns, masks and maps.

Each is drawn on a grid that covers the template, as the preprocessing would hand it over when it was fed nonsense.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from Training.synthesis.anatomy import Grid, smooth_noise

KINDS = ("noise", "ramp", "checkerboard", "phantom", "blobs", "spine", "cells", "cloud", "few slices")


def draw_non_brain(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> tuple[str, Tensor]:
    """The kind drawn and a float32 volume (X, Y, Z)."""
    kind = str(rng.choice(KINDS, p=[0.14, 0.08, 0.07, 0.18, 0.12, 0.20, 0.08, 0.08, 0.05]))
    draw = {
        "noise": _noise,
        "ramp": _ramp,
        "checkerboard": _checkerboard,
        "phantom": _phantom,
        "blobs": _blobs,
        "spine": _spine,
        "cells": _cells,
        "cloud": _cloud,
        "few slices": _few_slices,
    }[kind]
    return kind, draw(grid, rng, generator).float()


def _noise(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    white = torch.randn(grid.size, generator=generator)
    if rng.random() < 0.3:
        return white.abs()
    if rng.random() < 0.3:
        return torch.rand(grid.size, generator=generator)
    return white * rng.uniform(0.1, 1) + rng.uniform(0, 3) + smooth_noise(grid, rng.uniform(8, 80), generator)


def _ramp(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    x, y, z = grid.axes()
    a, b, c = rng.normal(size=3)
    ramp = (a * x + b * y + c * z) / 80
    if rng.random() < 0.3:
        ramp = ramp**2
    return ramp + 1.5 + rng.uniform(0, 0.1) * torch.randn(grid.size, generator=generator)


def _checkerboard(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    x, y, z = grid.axes()
    period = rng.uniform(8, 60)
    board = sum(torch.floor(axis / period) for axis in (x, y, z)).remainder(2)
    return board * rng.uniform(0.3, 1) + 0.3 + 0.05 * torch.randn(grid.size, generator=generator)


def _phantom(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Ellipsoids, cylinders or boxes of uniform brightness, with inserts."""
    volume = torch.zeros(grid.size)
    shape = rng.choice(["ellipsoid", "cylinder", "box"])
    size, centre = rng.uniform(45, 95, 3), np.array([0, -18, 20]) + rng.normal(0, 8, 3)
    volume[_inside(grid, shape, centre, size)] = 1
    for _ in range(int(rng.integers(0, 12))):
        part = _inside(
            grid, rng.choice(["ellipsoid", "cylinder", "box"]), centre + rng.normal(0, 35, 3), rng.uniform(4, 30, 3)
        )
        volume[part & (volume > 0)] = rng.uniform(0, 2)
    return volume


def _inside(grid: Grid, shape: str, centre: np.ndarray, size: np.ndarray) -> Tensor:
    u, v, w = ((axis - float(c)) / float(s) for axis, c, s in zip(grid.axes(), centre, size, strict=True))
    if shape == "ellipsoid":
        return u**2 + v**2 + w**2 < 1
    if shape == "cylinder":
        return (u**2 + v**2 < 1) & (w.abs() < 1)
    return (u.abs() < 1) & (v.abs() < 1) & (w.abs() < 1)


def _blobs(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    volume = torch.zeros(grid.size)
    for _ in range(int(rng.integers(1, 5))):
        volume[smooth_noise(grid, rng.uniform(10, 50), generator) > rng.uniform(0, 1)] = rng.uniform(0.2, 1)
    return volume


def _spine(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Vertebral bodies and discs in a column, a canal with the cord behind them, muscle and fat around."""
    x, y, z = grid.axes()
    y = y - rng.uniform(-40, 20) - rng.uniform(5, 20) * torch.sin(z / rng.uniform(40, 90) + rng.uniform(0, 6))
    x = x - rng.normal(0, 10) - 4 * torch.sin(z / 60)
    size = rng.uniform(0.6, 1.6)
    fluid, cord, body, disc, muscle, fat = rng.uniform(0.05, 1, 6)
    volume = torch.zeros(grid.size)
    trunk = (x / (rng.uniform(50, 110))) ** 2 + (y / rng.uniform(50, 100)) ** 2 < 1
    texture = smooth_noise(grid, 12, generator)
    volume[trunk.expand(grid.size) & (texture > -1)] = muscle
    volume[trunk.expand(grid.size) & (texture > 0.8)] = fat
    column = ((x / (20 * size)) ** 2 + ((y - 10) / (14 * size)) ** 2 < 1).expand(grid.size)
    height = (z / (rng.uniform(18, 34) * size)).remainder(1)
    volume[column] = body
    volume[column & (height < 0.25)] = disc
    canal = (x**2 + (y + 14 * size) ** 2 < (9 * size) ** 2).expand(grid.size)
    volume[canal] = fluid
    volume[(x**2 + (y + 14 * size) ** 2 < (5 * size) ** 2).expand(grid.size)] = cord
    return volume


def _cells(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Piecewise constant regions, like a parcellation."""
    codes = sum((smooth_noise(grid, rng.uniform(20, 50), generator) > 0).int() * 2**bit for bit in range(4))
    return torch.from_numpy(rng.uniform(0, 1, 16)).float()[codes]


def _cloud(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    return smooth_noise(grid, rng.uniform(15, 80), generator) + rng.uniform(0, 3)


def draw_fruit(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Skin, flesh in layers or segments about an axis, a core and seeds: fruit and vegetables on a scanner's table."""
    order = rng.permutation(3)
    centre = np.array([0, -18, 20]) + rng.normal(0, 8, 3)
    axes = [grid.axes()[i] - float(centre[i]) for i in order]
    size = rng.uniform(40, 95, 3)
    u, v, w = (axis / float(s) for axis, s in zip(axes, size, strict=True))
    angle = torch.atan2(v + 0 * u, u + 0 * v)
    lobes = 1 + rng.uniform(0, 0.15) * torch.cos(int(rng.integers(2, 12)) * angle)
    radius = (u**2 + v**2 + w**2).sqrt() / lobes + smooth_noise(grid, 30, generator) * rng.uniform(0, 0.08)
    flesh = rng.uniform(0.3, 1) * (1 + rng.uniform(-0.6, 0.6) * radius)
    flesh = flesh * (1 + rng.uniform(0, 0.4) * torch.cos(radius * rng.uniform(5, 60)))
    flesh = flesh * (1 - rng.uniform(0, 0.7) * (torch.cos(int(rng.integers(2, 7)) * angle).abs() < 0.15))
    core = radius < rng.uniform(0.1, 0.5)
    seeds = smooth_noise(grid, rng.uniform(5, 10), generator) > rng.uniform(1.0, 2.2)
    volume = torch.where(core, rng.uniform(0, 1.3) * torch.ones(()), flesh)
    volume = torch.where(core & seeds, rng.uniform(0, 1.5) * torch.ones(()), volume)
    volume = volume * (1 + rng.uniform(0, 0.25) * smooth_noise(grid, rng.uniform(3, 15), generator))
    return volume.clamp_min(0) * (radius < 1) + 0.01 * torch.rand(grid.size, generator=generator)


def _few_slices(grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    volume = torch.zeros(grid.size)
    axis, count = int(rng.integers(3)), int(rng.integers(1, 5))
    start = int(rng.integers(5, grid.size[axis] - 10))
    part = volume.narrow(axis, start, count)
    part.copy_(smooth_noise(grid, 20, generator).narrow(axis, start, count) + 2)
    return volume
