"""What differs between brains of one label map: ventricles and sulci wide or narrow, structures large or small.

Sixteen heads are few. Aging widens the ventricles and the sulci, thins the cortex, and shrinks hippocampus, thalamus
and striatum; children have neither. Every one of these is drawn by itself here, so that the network can't guess one
from another.
"""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from Training.starter.anatomy.labelled import STRIDE, StructuredLabelMap
from Training.synthesis.anatomy import Grid, Pose, pose_matrix, smooth_noise
from Training.synthesis.tissue_parameters import CLASS

LATTICE_MM = 4.0
REACH_MM = 14.0  # of a widening, beyond the wall of the ventricle
DEEP_GREY = {  # tissue: what takes its place where it shrinks
    "hippocampus": ("ventricular_csf", "white_matter"),
    "caudate": ("ventricular_csf", "white_matter"),
    "thalamus": ("ventricular_csf", "white_matter"),
    "putamen": ("white_matter",),
    "pallidum": ("white_matter",),
}


def ventricle_displacement(
    label_map: StructuredLabelMap, grid: Grid, pose: Pose, rng: np.random.Generator, generator: torch.Generator
) -> Tensor:
    """(3, X', Y', Z') mm on a lattice: the walls of the ventricles 4 mm further in to 7 mm further out."""
    size = tuple(round(n * step / LATTICE_MM) + 1 for n, step in zip(grid.size, grid.spacing, strict=True))
    extent = [(n - 1) * step for n, step in zip(grid.size, grid.spacing, strict=True)]
    lattice = Grid(size, tuple(length / (n - 1) for length, n in zip(extent, size, strict=True)), grid.origin)
    matrix = torch.from_numpy(label_map.voxel_of_template @ pose_matrix(pose)).float()
    axes = lattice.axes()
    places = []
    for row in range(3):
        voxel = matrix[row, 0] * axes[0] + matrix[row, 1] * axes[1] + (matrix[row, 2] * axes[2] + matrix[row, 3])
        places.append(voxel / STRIDE / (label_map.to_ventricles.shape[row] - 1) * 2 - 1)
    where = torch.stack([places[2], places[1], places[0]], dim=-1)[None]
    known = torch.from_numpy(label_map.to_ventricles.astype(np.float32))[None, None]
    distance = F.grid_sample(known, where, align_corners=True, padding_mode="border")[0, 0]
    outwards = torch.stack(torch.gradient(distance, spacing=list(lattice.spacing)))
    outwards = outwards / outwards.square().sum(0).sqrt().clamp_min(0.5)
    widening = rng.normal(-0.3, 2.0) if rng.random() < 0.8 else rng.uniform(2, 7)
    amount = (smooth_noise(lattice, 60, generator) * rng.uniform(0, 1.2) + widening).clamp(-4, 7)
    # at most half a mm per mm, so that nothing folds
    fade = torch.exp(-distance.clamp_min(0) / REACH_MM) * torch.exp(distance.clamp_max(0) / 3)
    return -(amount * fade) * outwards


def vary_structures(tissue: Tensor, grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> None:
    """Cortex thinner towards the fluid or the white matter, or thicker; deep structures a voxel larger or smaller.

    In place; the boundary moves by parts of a voxel, because only a share of its voxels changes sides.
    """
    atrophy = rng.uniform(-1.5, 1.3)
    loser, winner = ("cortex", "sulcal_csf") if atrophy > 0 else ("sulcal_csf", "cortex")
    for share in (min(1.0, abs(atrophy)), abs(atrophy) - 1):
        if share > 0:
            _exchange(tissue, loser, winner, share, grid, rng, generator)
    if rng.random() < 0.7:
        first, second = ("cortex", "white_matter") if rng.random() < 0.5 else ("white_matter", "cortex")
        _exchange(tissue, first, second, rng.uniform(0, 0.8), grid, rng, generator)
    if rng.random() < 0.5:
        _exchange(tissue, "cerebellar_cortex", "sulcal_csf", rng.uniform(0, 1), grid, rng, generator)
    for name, neighbours in DEEP_GREY.items():
        box = _box(tissue == CLASS[name])
        if box is None or rng.random() < 0.2:
            continue
        part = tissue[box]
        for neighbour in neighbours:
            share = rng.uniform(0, 1.0)
            if rng.random() < 0.6:
                _exchange(part, name, neighbour, share, None, rng, generator)
            else:
                _exchange(part, neighbour, name, 0.7 * share, None, rng, generator)


def _exchange(
    tissue: Tensor,
    loser: str,
    winner: str,
    share: float,
    grid: Grid | None,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> None:
    """A share of the voxels of ``loser`` that touch ``winner`` become ``winner``; with a grid, not alike everywhere."""
    losing, winning = tissue == CLASS[loser], tissue == CLASS[winner]
    near = torch.zeros_like(losing)
    for axis in range(3):
        n = tissue.shape[axis] - 1
        near.narrow(axis, 0, n).logical_or_(winning.narrow(axis, 1, n))
        near.narrow(axis, 1, n).logical_or_(winning.narrow(axis, 0, n))
    losing &= near
    places = losing.nonzero()
    chance = torch.full((len(places),), float(share))
    if grid is not None:
        chance += smooth_noise(grid, 30, generator)[places.unbind(1)] * rng.uniform(0, 0.4)
    lost = places[torch.rand(len(places), generator=generator) < chance]
    tissue[lost.unbind(1)] = CLASS[winner]


def _box(inside: Tensor) -> tuple[slice, ...] | None:
    """Of the voxels inside, with two more on each side; None if there are none."""
    places = inside.nonzero()
    if len(places) == 0:
        return None
    first, last = places.amin(0).tolist(), places.amax(0).tolist()
    return tuple(slice(max(0, a - 2), b + 3) for a, b in zip(first, last, strict=True))
