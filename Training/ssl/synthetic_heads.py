"""Synthetic brains in template pose, four sequences a person, for trying the chain out without any patient.

From SynthSeg's label maps where they are at hand (``Training/synthesis``); otherwise from the bundled atlas alone,
divided into tissues by brightness, warped, and given each sequence's order of brightness. The latter is a stand-in: one
anatomy, no lesions, no head around the brain.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.preprocessing.intensity import ras_array
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.sequences import STANDARD_NAMES
from Training.synthesis.acquisition import bias_field, rician_noise, signal_image
from Training.synthesis.anatomy import Pose, build_anatomy, draw_tumours, smooth_noise
from Training.synthesis.label_maps import label_map_files, load_label_map
from Training.synthesis.sequences import draw_contrast
from Training.synthesis.template_grid import template_grid
from Training.synthesis.tissue_parameters import draw_tissues

LABEL_MAPS = 2  # of those at hand; preparing each takes longer than all else in the smoke run
# Mean brightness of dark (CSF), middle (gray matter), bright (white matter) and very bright (vessels, dura) voxels of
# the atlas' T1 in each sequence, after the usual textbook order.
BRIGHTNESS = {
    "T1": (0.15, 0.5, 0.8, 0.9),
    "T2": (0.95, 0.55, 0.35, 0.2),
    "FLAIR": (0.1, 0.6, 0.45, 0.3),
    "T1CE": (0.15, 0.45, 0.7, 1.0),
}


def draw_person(
    size: tuple[int, int, int], seed: int, labelmaps: Path | None, work: Path
) -> Iterator[tuple[str, Tensor]]:
    """Sequence and float32 (X, Y, Z), 0 outside the brain, for each of the four sequences of one person.

    Parameters
    ----------
    size : the whole template grid is divided into so many voxels.
    seed : of everything.
    labelmaps : folder of SynthSeg's label maps, or None for the atlas.
    work : where prepared label maps are kept.
    """
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(seed)
    if labelmaps is None:
        yield from _from_atlas(size, rng, generator)
        return
    files = label_map_files(labelmaps)[:LABEL_MAPS]
    label_map = load_label_map(files[seed % len(files)], work)
    pose = Pose(
        rotation=tuple(rng.normal(0, 3, 3)), scale=tuple(rng.normal(1, 0.04, 3)), mirrored=bool(rng.random() < 0.5),
        warp_mm=2.0,
    )  # fmt: skip
    grid = template_grid(tuple(2 * n for n in size))
    anatomy = build_anatomy(label_map, grid, pose, draw_tumours(rng), rng, generator)
    for sequence in STANDARD_NAMES:
        contrast = draw_contrast(sequence, draw_tissues(rng), rng)
        image = signal_image(anatomy, contrast) * bias_field(grid, rng.uniform(0, 0.2), generator)
        image = image.mul_(anatomy.brain_mask)
        image, inside = (F.avg_pool3d(v[None, None].float(), 2)[0, 0] for v in (image, anatomy.brain_mask))
        yield sequence, rician_noise(image, 0.02, generator) * (inside > 0)


def _from_atlas(
    size: tuple[int, int, int], rng: np.random.Generator, generator: torch.Generator
) -> Iterator[tuple[str, Tensor]]:
    atlas = torch.from_numpy(ras_array(icbm152().image))
    bounds = torch.quantile(atlas[atlas > 0][::97], torch.tensor([0.2, 0.6, 0.97]))
    tissue = torch.where(atlas > 0, torch.bucketize(atlas, bounds) + 1, 0)
    shares = torch.stack([(tissue == index).float() for index in range(1, 5)])[None]
    shares = F.interpolate(shares, size=size, mode="area")  # (1, 4, X, Y, Z): share of each tissue in a voxel
    grid = template_grid(size)
    warp = torch.stack([smooth_noise(grid, 45, generator) for _ in range(3)], dim=-1)[None] * 0.02
    scale = torch.diag(torch.from_numpy(rng.normal(1, 0.05, 3)).float())
    theta = torch.cat([scale, torch.zeros(3, 1)], dim=1)[None]
    places = F.affine_grid(theta, [1, 1, *size], align_corners=False) + warp
    shares = F.grid_sample(shares, places, align_corners=False)[0]
    inside = shares.sum(0) > 0.5
    for sequence, brightness in BRIGHTNESS.items():
        levels = torch.tensor(brightness) * torch.from_numpy(np.exp(rng.normal(0, 0.1, 4))).float()
        image = torch.einsum("txyz,t->xyz", shares, levels) * bias_field(grid, rng.uniform(0, 0.2), generator)
        yield sequence, rician_noise(image, 0.02, generator) * inside
