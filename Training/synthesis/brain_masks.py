"""What brain extraction leaves: good masks, loose and over-eager ones, and failures.

Distances are millimeters inside (positive) the closed hull of the brain.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from Training.synthesis.anatomy import Anatomy, smooth_noise
from Training.synthesis.tissue_parameters import CLASS

SHARES = {
    "whole head": 0.26,
    "tight": 0.22,
    "middle": 0.20,
    "loose": 0.13,
    "residual skull": 0.07,
    "parenchyma": 0.04,
    "over-stripped": 0.03,
    "chunk missing": 0.02,
    "face and neck left": 0.03,
}
_FLUIDS = ("sulcal_csf", "dura", "small_vessel", "vein", "artery")


def draw_brain_mask(anatomy: Anatomy, rng: np.random.Generator, generator: torch.Generator) -> tuple[str, Tensor]:
    """A kind of mask by ``SHARES`` and its voxels, bool (X, Y, Z)."""
    kind = str(rng.choice(list(SHARES), p=list(SHARES.values())))
    if kind == "whole head":
        return kind, torch.ones(anatomy.grid.size, dtype=torch.bool)
    hull = anatomy.hull + smooth_noise(anatomy.grid, 12, generator) * rng.uniform(0.3, 1.2)
    if kind == "tight":
        return kind, hull > rng.uniform(0.5, 2.5)
    if kind == "middle":
        return kind, hull > rng.uniform(-1.0, 0.5)
    if kind == "loose":
        return kind, hull > -rng.uniform(1.0, 5.0)
    blobs = smooth_noise(anatomy.grid, 22, generator)
    if kind == "residual skull":
        reach = rng.uniform(8, 22)
        return kind, (hull > -1) | ((hull > -reach) & (blobs > rng.uniform(0.2, 1.2)))
    if kind == "face and neck left":
        _, y, z = anatomy.grid.axes()
        low = (z + 0.3 * y < rng.uniform(-40, -20)) & (hull > -rng.uniform(15, 50))
        return kind, (hull > 0) | low
    if kind == "chunk missing":
        x, y, z = anatomy.grid.axes()
        normal = rng.normal(size=3)
        normal /= np.linalg.norm(normal)
        plane = normal[0] * x + normal[1] * (y + 18) + normal[2] * (z - 18)
        return kind, (hull > 0) & (plane + 8 * blobs < rng.uniform(15, 45))
    fluid = torch.zeros(256, dtype=torch.bool)
    fluid[[CLASS[name] for name in _FLUIDS]] = True
    parenchyma = (hull > 0) & ~fluid[anatomy.tissue.int()]
    if kind == "parenchyma":
        return kind, parenchyma
    grey = (anatomy.tissue == CLASS["cortex"]) & (blobs > rng.uniform(-1.5, 0.5))
    return kind, parenchyma & ~grey & (hull > rng.uniform(1, 5))
