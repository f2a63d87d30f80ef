"""Training samples: one random head under many contrasts, acquisitions and fields of view, with its border distance.

Everything is drawn at 1.25 mm and brought to the network's 2.5 mm as a scan is before the network sees it.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.preprocessing.brain_extraction.bundled import normalised, resampled
from BrainIACLib.sequences import STANDARD_NAMES
from Training.starter.brain_extraction.border import BorderedLabelMap
from Training.starter.brain_extraction.surroundings import textured_outside, vary_contrast, vary_surroundings
from Training.synthesis.acquisition import bias_field, ghosts, gibbs_ringing, rician_noise, signal_image, thick_slices
from Training.synthesis.anatomy import Anatomy, Grid, Pose, build_anatomy, draw_tumours, smooth_noise
from Training.synthesis.non_brain import draw_non_brain
from Training.synthesis.random_contrast import draw_random_contrast
from Training.synthesis.sequences import OTHER, Contrast, draw_contrast
from Training.synthesis.tissue_parameters import draw_tissues

SPACING_MM = 2.5
SIZE = (80, 96, 80)
CLIP_MM = 15.0
GRID = Grid(SIZE, (SPACING_MM,) * 3, (-98.75, -136.75, -88.75))
FINE = Grid(tuple(2 * n for n in SIZE), (SPACING_MM / 2,) * 3, (-99.375, -137.375, -89.375))


@dataclass(frozen=True)
class Sample:
    """image : float16 (X, Y, Z), normalized. distance : float16 (X, Y, Z), mm to the border, within +-CLIP_MM."""

    image: Tensor
    distance: Tensor
    contrast: str


def draw_samples(label_map: BorderedLabelMap, count: int, seed: tuple[int, ...]) -> list[Sample]:
    """``count`` renderings of one random head; now and then a volume without a brain."""
    rng = np.random.default_rng(seed)
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    child = bool(rng.random() < 0.2)
    anatomy = build_anatomy(label_map, FINE, _draw_pose(rng, child), draw_tumours(rng), rng, generator)
    anatomy = vary_surroundings(anatomy, label_map, child, rng, generator)
    distance = F.avg_pool3d(anatomy.hull[None, None], 2)[0, 0]
    maturity = rng.uniform(0.2, 1) if child else 1.0
    return [_draw_sample(anatomy, distance, maturity, rng, generator) for _ in range(count)]


def _draw_pose(rng: np.random.Generator, child: bool) -> Pose:
    wild = rng.random() < 0.25
    rotation = rng.normal(0, 18 if wild else 8, 3).clip(-35, 35)
    size = rng.uniform(0.65, 1.0) if child else rng.uniform(0.8, 1.1)
    return Pose(
        rotation=tuple(rotation),
        shift=tuple(rng.uniform(-1, 1, 3) * np.array([15, 15, 30])),
        scale=tuple(size * rng.uniform(0.95, 1.05, 3)),
        mirrored=bool(rng.random() < 0.5),
        warp_mm=rng.uniform(0, 4),
    )


def _draw_sample(
    anatomy: Anatomy, distance: Tensor, maturity: float, rng: np.random.Generator, generator: torch.Generator
) -> Sample:
    if rng.random() < 0.03:
        kind, image = draw_non_brain(GRID, rng, generator)
        return Sample(normalised(image).half(), torch.full(SIZE, -CLIP_MM).half(), kind)
    contrast = vary_contrast(_draw_contrast(maturity, rng), rng)
    image = resampled(signal_image(anatomy, contrast), FINE.spacing, SIZE, GRID.spacing)
    image = textured_outside(image, distance, GRID, rng, generator)
    image = image * (1 + rng.uniform(0, 0.08) * smooth_noise(GRID, rng.uniform(6, 20), generator))
    image, distance = _stripped(image, distance, rng, generator)
    image = _acquired(image, rng, generator)
    image = _defaced(image, distance, rng)
    image, distance = _cut(image, distance, rng)
    image, distance = _turned(image, distance, rng)
    return Sample(normalised(image).half(), distance.clamp(-CLIP_MM, CLIP_MM).half().contiguous(), contrast.sequence)


def _draw_contrast(maturity: float, rng: np.random.Generator) -> Contrast:
    if rng.random() < 0.4:
        return draw_random_contrast(rng)
    tissues = draw_tissues(rng, rng.uniform(1, 3), maturity)
    if rng.random() < 0.12:
        return draw_contrast(str(rng.choice([name for name in OTHER if name not in ("CT", "perfusion")])), tissues, rng)
    return draw_contrast(str(rng.choice(STANDARD_NAMES, p=[0.34, 0.2, 0.23, 0.23])), tissues, rng)


def _stripped(image: Tensor, distance: Tensor, rng: np.random.Generator, generator: torch.Generator):
    """Somebody stripped the scan, tightly to loosely: nothing of the brain lies where the scan is blank."""
    if rng.random() > 0.12:
        return image, distance
    support = distance - rng.uniform(-6, 3) + smooth_noise(GRID, 25, generator) * rng.uniform(0, 1)
    return image * (support > 0), torch.minimum(distance, support)


def _acquired(image: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Slices, blur, coil sensitivity, ringing, ghosts, noise, blanked air, and any gain curve."""
    if rng.random() < 0.4:
        image = thick_slices(image, int(rng.integers(3)), int(rng.integers(2, 4)))
    if rng.random() < 0.3:
        image = _blurred(image, rng.uniform(0.3, 0.9))
    if rng.random() < 0.85:
        image = image * bias_field(GRID, rng.uniform(0.02, 0.4), generator)
    if rng.random() < 0.1:
        image = gibbs_ringing(image, int(rng.integers(3)), rng.uniform(0.5, 0.9))
    if rng.random() < 0.1:
        image = ghosts(image, int(rng.integers(3)), rng.uniform(0.02, 0.15), int(rng.integers(2, 5)))
    noise = float(np.exp(rng.uniform(np.log(0.003), np.log(0.1))))
    blank = rng.random() < 0.4
    air = image.abs() < max(0.02, 2 * noise) if blank else None
    image = rician_noise(image, noise, generator)
    if blank:
        image = image.masked_fill(air, 0.0)
    return image.clamp_min(0) ** float(np.exp(rng.normal(0, 0.25)))


def _blurred(image: Tensor, sigma: float) -> Tensor:
    offsets = torch.arange(-2, 3, dtype=torch.float32)
    weights = torch.exp(-0.5 * (offsets / sigma) ** 2)
    weights /= weights.sum()
    for axis in range(3):
        shape = [1, 1, 1, 1, 1]
        shape[axis + 2] = 5
        padding = [0, 0, 0]
        padding[axis] = 2
        image = F.conv3d(image[None, None], weights.reshape(shape), padding=padding)[0, 0]
    return image


def _half_space(rng: np.random.Generator, offset_mm: float, oblique: bool) -> Tensor:
    """mm to a plane that lies ``offset_mm`` from the middle of the grid, positive on the middle's side if positive."""
    normal = np.zeros(3)
    normal[int(rng.integers(3))] = rng.choice([-1, 1])
    if oblique:
        normal = normal + rng.normal(0, 0.4, 3)
        normal /= np.linalg.norm(normal)
    middle = [start + SPACING_MM * (n - 1) / 2 for start, n in zip(GRID.origin, GRID.size, strict=True)]
    terms = (float(a) * (axis - m) for a, axis, m in zip(normal, GRID.axes(), middle, strict=True))
    return sum(terms) + offset_mm


def _defaced(image: Tensor, distance: Tensor, rng: np.random.Generator) -> Tensor:
    """A face, a neck or another part outside the brain is blanked by a plane."""
    if rng.random() > 0.2:
        return image
    gone = (_half_space(rng, rng.uniform(10, 70), oblique=True) < 0) & (distance < -rng.uniform(3, 15))
    return image.masked_fill(gone, 0.0)


def _cut(image: Tensor, distance: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """The field of view ends: beyond its planes there is neither signal nor brain."""
    planes = int(rng.choice([0, 1, 2, 3], p=[0.5, 0.25, 0.2, 0.05]))
    for _ in range(planes):
        inside = _half_space(rng, rng.triangular(5, 80, 95), oblique=False)
        image, distance = image * (inside > 0), torch.minimum(distance, inside)
    return image, distance


def _turned(image: Tensor, distance: Tensor, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """A header that lies about the axes: flipped ones, or left-right and head-foot exchanged."""
    if rng.random() < 0.18:
        flips = [axis for axis in range(3) if rng.random() < 0.5]
        image, distance = image.flip(flips), distance.flip(flips)
    if rng.random() < 0.04:
        image, distance = image.transpose(0, 2), distance.transpose(0, 2)
    return image, distance
