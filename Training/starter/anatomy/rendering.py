"""One scan of a head as preprocessing hands it over: contrast, brain mask, slices, blur, field, noise; then z-score."""

from __future__ import annotations

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.preprocessing.intensity import normalise
from Training.starter.anatomy.contract import anatomy_encoder_contract
from Training.starter.anatomy.heads import GRID, Head
from Training.synthesis.acquisition import bias_field, ghosts, gibbs_ringing, rician_noise, smooth, thick_slices
from Training.synthesis.anatomy import smooth_noise
from Training.synthesis.random_contrast import draw_random_contrast
from Training.synthesis.sequences import Contrast, draw_contrast
from Training.synthesis.tissue_parameters import draw_tissues

CONTRASTS = {"T1": 0.48, "T2": 0.12, "FLAIR": 0.12, "T1CE": 0.12, "PD": 0.03, "random": 0.13}


def render(head: Head, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """float32 (X, Y, Z) at 2.4 mm, normalized, 0 outside the mask."""
    contrast = _contrast(head.maturity, rng)
    fine = torch.from_numpy(contrast.signal)[head.tissue.int()]
    image = F.avg_pool3d(fine[None, None], 2)[0, 0]
    image = image * (1 + rng.uniform(0, 0.07) * smooth_noise(GRID, rng.uniform(5, 15), generator))
    if rng.random() < 0.3:
        image = thick_slices(image, int(rng.choice(3, p=[0.2, 0.2, 0.6])), int(rng.integers(2, 4)))
    if rng.random() < 0.75:  # point spread, interpolation, and the averaging of three voxels by two and a half
        image = smooth(image, tuple(rng.uniform(0, 0.22, 3)))
    if rng.random() < 0.85:
        image = image * bias_field(GRID, rng.uniform(0, 0.22), generator)
    if rng.random() < 0.08:
        image = gibbs_ringing(image, int(rng.integers(3)), rng.uniform(0.7, 0.95))
    if rng.random() < 0.08:
        image = ghosts(image, int(rng.integers(2)), rng.uniform(0.02, 0.1), int(rng.integers(2, 5)))
    image = rician_noise(image, float(np.exp(rng.uniform(np.log(0.003), np.log(0.06)))), generator)
    top = image.max().clamp_min(1e-6)
    image = (image / top) ** float(np.exp(rng.normal(0, 0.2))) * top
    return normalise((image * _mask(head, rng, generator))[None, None], anatomy_encoder_contract())[0, 0]


def _contrast(maturity: float, rng: np.random.Generator) -> Contrast:
    name = str(rng.choice(list(CONTRASTS), p=list(CONTRASTS.values())))
    if name == "random":
        return draw_random_contrast(rng)
    return draw_contrast(name, draw_tissues(rng, float(rng.choice([1.5, 3.0, rng.uniform(1, 3)])), maturity), rng)


def _mask(head: Head, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """bool (X, Y, Z): mostly what a good brain extraction leaves, tight or loose; at times a whole head or a slab."""
    hull = head.hull.float() / 2 + smooth_noise(GRID, 14, generator) * rng.uniform(0.2, 1.0)
    chance = rng.random()
    if chance < 0.80:
        mask = hull > rng.normal(-0.8, 1.3)
    elif chance < 0.88:
        mask = hull > -rng.uniform(2, 6)
    elif chance < 0.95:
        mask = torch.ones_like(hull, dtype=torch.bool)
    else:  # fluid is cut away with the skull, as SPM-like masks do
        mask = (hull > rng.uniform(0, 2)) & (head.shares[4] < 5)
    if rng.random() < 0.08:
        axis = int(rng.choice(3, p=[0.15, 0.25, 0.6]))
        n = mask.shape[axis]
        mask.narrow(axis, 0, int(rng.integers(0, n // 4))).zero_()
        cut = int(rng.integers(0, n // 3))
        mask.narrow(axis, n - cut, cut).zero_()
    return mask
