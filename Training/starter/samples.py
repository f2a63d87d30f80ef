"""Training samples: from (seed, index) to several normalized volumes on the model grid with their labels.

One index is one head (or one region away from the brain) that is rendered under several protocols, each with its own
brain mask and image formation. What preprocessing does to real scans is imitated at its end: zero outside the mask,
area resize over the voxels inside, the library's own N4, then its clipping and normalization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing.bias_field import correct_bias_field
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.sequences import STANDARD_OR_OTHER
from Training.synthesis.acquisition import (
    bias_field,
    echo_planar_distortion,
    ghosts,
    gibbs_ringing,
    rician_noise,
    signal_image,
    smooth,
    thick_slices,
)
from Training.synthesis.anatomy import Anatomy, Grid, Pose, build_anatomy, draw_tumours, smooth_noise
from Training.synthesis.brain_masks import draw_brain_mask
from Training.synthesis.label_maps import LabelMap
from Training.synthesis.non_brain import draw_non_brain
from Training.synthesis.sequences import SEQUENCES, Contrast, draw_contrast
from Training.synthesis.template_grid import template_grid
from Training.synthesis.tissue_parameters import draw_tissues

LABELS = STANDARD_OR_OTHER
INPUT_SIZE = (66, 78, 63)
CLIP_PERCENTILES = (0.5, 99.5)
N4_VOXEL_MM = 6.0  # half the resolution of the input: a twentieth of a second
OTHER = ("PD", "T2*", "DWI-b0", "DWI-trace", "ADC", "CT", "MRA", "unnatural")
OTHER_SHARES = (0.18, 0.14, 0.16, 0.12, 0.10, 0.09, 0.08, 0.13)  # in the order of OTHER


@dataclass(frozen=True)
class Sample:
    """``volume`` is uint8 (X, Y, Z): 0 outside, else the normalized value (see ``decode``)."""

    volume: Tensor
    label: str
    detail: str


MODEL_GRID = template_grid(INPUT_SIZE)
FINE_GRID = template_grid(tuple(2 * n for n in INPUT_SIZE))  # 1.5 mm


def encode(volumes: Tensor) -> Tensor:
    """Normalized values in steps of 1/21 between -5 and 7 as uint8; exact zeros (outside) stay 0."""
    return torch.where(volumes == 0, 0, ((volumes + 5) * (254 / 12)).round().clamp(0, 254) + 1).to(torch.uint8)


def decode(volumes: Tensor) -> Tensor:
    """float32 volumes from ``encode``."""
    return torch.where(volumes == 0, 0.0, (volumes.float() - 1) * (12 / 254) - 5)


def draw_samples(seed: int, index: int, label_maps: list[LabelMap], contract: EncoderContract) -> list[Sample]:
    """All samples of one index; the same arguments give the same bytes."""
    rng = np.random.default_rng((seed, index))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    label_map = label_maps[int(rng.integers(len(label_maps)))]
    if index % 8 == 7:
        drawn = _away_from_the_brain(label_map, rng, generator)
    else:
        drawn = _one_head(label_map, rng, generator)
    volumes = normalise(torch.stack([volume for volume, _, _ in drawn])[:, None], contract)[:, 0]
    return [Sample(v, label, detail) for v, (_, label, detail) in zip(encode(volumes), drawn, strict=True)]


def _one_head(label_map: LabelMap, rng: np.random.Generator, generator: torch.Generator):
    pose, maturity = draw_subject(rng)
    tumours = draw_tumours(rng) if maturity > 0.7 else []
    anatomy = build_anatomy(label_map, FINE_GRID, pose, tumours, rng, generator)
    wanted = [label for label in LABELS for _ in range(2)]
    wanted.pop(int(rng.integers(2, 6)))
    drawn = []
    for label in wanted:
        tissues = draw_tissues(rng, float(rng.choice([1.0, 1.5, 3.0], p=[0.05, 0.45, 0.5])), maturity)
        if label == "other" and rng.random() < 0.25:
            drawn.append(_nonsense(anatomy, rng, generator))
            continue
        sequence = label if label != "other" else str(rng.choice(OTHER, p=OTHER_SHARES))
        contrast = draw_contrast(sequence, tissues, rng)
        mask_kind, mask = draw_brain_mask(anatomy, rng, generator)
        volume = form_image(anatomy, contrast, mask, mask_kind == "whole head", rng, generator)
        drawn.append((volume, label, f"{sequence}, {mask_kind}, maturity {maturity:.2f}"))
    return drawn


def draw_subject(rng: np.random.Generator) -> tuple[Pose, float]:
    """Pose left over after registration, head size and maturity (1 adult, 0 newborn)."""
    chance = rng.random()
    if chance < 0.75:
        rotation, shift = rng.normal(0, 2.5, 3), rng.normal(0, 2.5, 3)
    elif chance < 0.92:
        rotation, shift = rng.normal(0, 8, 3), rng.normal(0, 8, 3)
    else:  # registration failed
        rotation, shift = rng.uniform(-25, 25, 3), rng.uniform(-20, 20, 3)
    chance, size, maturity = rng.random(), 1.0, 1.0
    if chance < 0.06:
        maturity, size = rng.uniform(0.0, 0.75), rng.uniform(0.68, 0.92)
    elif chance < 0.14:
        maturity, size = rng.uniform(0.75, 1.0), rng.uniform(0.86, 1.0)
    scale = np.clip(size * (1.02 + rng.normal(0, 0.04)) * (1 + rng.normal(0, 0.025, 3)), 0.62, 1.13)
    pose = Pose(tuple(rotation), tuple(shift), tuple(scale), bool(rng.random() < 0.5), float(rng.uniform(0, 3.5)))
    return pose, maturity


def form_image(
    anatomy: Anatomy,
    contrast: Contrast,
    mask: Tensor,
    whole_head: bool,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    """From tissue signals to the image on the model grid, before normalization: float32 (X, Y, Z)."""
    image = signal_image(anatomy, contrast)
    texture = smooth_noise(anatomy.grid, rng.uniform(4, 12), generator)
    image.mul_(texture.mul_(rng.uniform(0.0, 0.06)).add_(1))
    if contrast.echo_planar:
        factors = (rng.integers(1, 3), rng.integers(1, 3), rng.integers(1, 5))
    elif rng.random() < 0.5:
        factors = [int(rng.integers(1, 2 + (rng.random() < 0.2)))] * 3
        factors[int(rng.choice(3, p=[0.2, 0.2, 0.6]))] = int(rng.integers(2, 6))  # 3 to 7.5 mm
    else:
        factors = (1, 1, 1)
    for axis, factor in enumerate(factors):
        if factor > 1:
            image = thick_slices(image, axis, int(factor))
    if rng.random() < 0.8:  # point spread and interpolation: real scans are smoother than rendered labels
        for _ in range(int(rng.integers(1, 3))):
            image = smooth(image, tuple(rng.uniform(0, 0.33, 3)))
    visible = mask & field_of_view(anatomy, whole_head, rng)
    if whole_head and rng.random() < 0.2:
        visible &= ~face(anatomy, rng)
    image.mul_(visible)
    image, filled = (F.avg_pool3d(v[None, None], 2)[0, 0] for v in (image, visible.float()))
    if contrast.echo_planar:
        stretch, loss = rng.normal(0, 9), rng.uniform(0.2, 1.0)
        image = echo_planar_distortion(image, MODEL_GRID, stretch, loss)
        filled = echo_planar_distortion(filled, MODEL_GRID, stretch, 0.0)
    elif contrast.sequence == "T2*":
        image = echo_planar_distortion(image, MODEL_GRID, 0.0, rng.uniform(0.1, 1.0))
    inside = filled >= 0.5
    image = (image / filled).where(inside, 0.0)
    if rng.random() < 0.85 and contrast.sequence != "CT":
        image = image * bias_field(MODEL_GRID, rng.uniform(0, 0.35), generator)
    if whole_head and rng.random() < 0.3 and contrast.sequence != "CT":  # surface coils: bright near the skin
        image = image * torch.exp(
            -F.avg_pool3d(anatomy.hull[None, None], 2)[0, 0].clamp(-40, 60) * rng.uniform(0, 0.012)
        )
    if rng.random() < 0.1:
        image = gibbs_ringing(image, int(rng.integers(3)), rng.uniform(0.65, 0.95))
    if rng.random() < (0.25 if contrast.echo_planar else 0.08):
        image = ghosts(image, int(rng.integers(2)), rng.uniform(0.02, 0.15), int(rng.integers(2, 5)))
    image = rician_noise(image, float(np.exp(rng.uniform(np.log(0.002), np.log(0.05)))), generator)
    if rng.random() < 0.4:
        top = image.max().clamp_min(1e-6)
        image = (image / top) ** float(np.exp(rng.uniform(-0.35, 0.35))) * top
    if rng.random() < 0.1:
        image = image.clamp(max=float(image.max()) * rng.uniform(0.5, 0.9))
    if rng.random() < 0.15:
        step = float(image.max()) / int(rng.integers(30, 255))
        image = (image / step).round_() * step
    if whole_head:
        if rng.random() < 0.8:  # what preprocessing does when brain extraction is switched off
            inside &= otsu_head(image)
    elif rng.random() < 0.08:
        image = image + rng.uniform(0, 0.5)
    image = image * inside
    return bias_corrected(image, rng) if rng.random() < 0.65 else image


def bias_corrected(image: Tensor, rng: np.random.Generator) -> Tensor:
    """The library's N4, which takes large lesions for a field; its splines span a random field of view."""
    filled = (image > 0).nonzero()
    if len(filled) == 0:
        return image
    first, last = filled.amin(0).numpy(), filled.amax(0).numpy() + 1
    first, last = np.maximum(first - rng.integers(0, 12, 3), 0), np.minimum(last + rng.integers(0, 12, 3), image.shape)
    box = tuple(slice(a, b) for a, b in zip(first, last, strict=True))
    part = sitk.GetImageFromArray(image[box].numpy())
    part.SetSpacing((N4_VOXEL_MM / 2,) * 3)
    try:
        part = correct_bias_field(part, working_voxel_mm=N4_VOXEL_MM).image
    except PreprocessingError:  # a sheet or threads that its coarse grid misses
        return image
    corrected = image.clone()
    corrected[box] = torch.from_numpy(sitk.GetArrayFromImage(part))
    return corrected


def field_of_view(anatomy: Anatomy, whole_head: bool, rng: np.random.Generator) -> Tensor:
    """bool (X, Y, Z): everything, or a slab along one slightly oblique axis that keeps at least 30 % of the brain."""
    x, y, z = anatomy.grid.axes()
    view = torch.ones(anatomy.grid.size, dtype=torch.bool)
    if whole_head and rng.random() < 0.6:
        view &= z + rng.normal(0, 0.15) * y > rng.uniform(-72, -40)
    if rng.random() < 0.4:
        normal = rng.normal(0, 0.12, 3)
        normal[int(rng.choice(3, p=[0.2, 0.15, 0.65]))] += 1
        along = float(normal[0]) * x + float(normal[1]) * (y + 18) + float(normal[2]) * (z - 15)
        middle, half = rng.normal(0, 20), rng.uniform(22, 65)
        slab = (along - middle).abs() < half
        brain = anatomy.brain_mask
        if (view & slab & brain).sum() > 0.3 * brain.sum():
            view &= slab
    return view


def otsu_head(image: Tensor) -> Tensor:
    """bool (X, Y, Z): the largest part above Otsu's threshold, its holes filled."""
    bright = sitk.OtsuThreshold(sitk.GetImageFromArray(image.numpy()), 0, 1, 128)
    parts = sitk.RelabelComponent(sitk.ConnectedComponent(bright), sortByObjectSize=True)
    return torch.from_numpy(sitk.GetArrayFromImage(sitk.BinaryFillhole(parts == 1))) > 0


def face(anatomy: Anatomy, rng: np.random.Generator) -> Tensor:
    _, y, z = anatomy.grid.axes()
    return (y - rng.uniform(0.3, 1.2) * z > rng.uniform(30, 75)) & (anatomy.hull < -rng.uniform(4, 14))


def small_box(grid: Grid, rng: np.random.Generator) -> Tensor:
    """bool (X, Y, Z): a field of view of 3 to 10 cm, somewhere in the middle, slightly rotated."""
    x, y, z = grid.axes()
    angle, centre, half = rng.normal(0, 0.2), rng.normal((0, -18, 18), 12), rng.uniform(15, 50, 3)
    u, v, w = x - float(centre[0]), y - float(centre[1]), z - float(centre[2])
    v, w = np.cos(angle) * v + np.sin(angle) * w, np.cos(angle) * w - np.sin(angle) * v
    return (u.abs() < half[0]) & (v.abs() < half[1]) & (w.abs() < half[2])


def _nonsense(anatomy: Anatomy, rng: np.random.Generator, generator: torch.Generator):
    """No brain: a phantom, noise or a map, whole, or cut to the shape of a brain as a brain extraction may do."""
    kind, volume = draw_non_brain(MODEL_GRID, rng, generator)
    if rng.random() < 0.1:  # a mask or a tissue class instead of an image
        kind = "mask"
        chosen = anatomy.brain_mask if rng.random() < 0.5 else anatomy.tissue == int(rng.integers(1, 5))
        volume = F.avg_pool3d(chosen[None, None].float(), 2)[0, 0]
    elif rng.random() < 0.6:
        volume = rician_noise(volume, rng.uniform(0, 0.15), generator) if volume.min() >= 0 else volume
    if rng.random() < 0.3:
        volume = volume * small_box(MODEL_GRID, rng)
    chance = rng.random()
    if chance < 0.35:
        volume = volume * (F.avg_pool3d(anatomy.brain_mask[None, None].float(), 2)[0, 0] > 0.5)
    elif chance < 0.55:
        volume = volume * (smooth_noise(MODEL_GRID, 45, generator) > rng.uniform(-0.3, 0.8))
    return bias_corrected(volume, rng) if rng.random() < 0.5 else volume, "other", kind


def _away_from_the_brain(label_map: LabelMap, rng: np.random.Generator, generator: torch.Generator):
    """Neck, face or neither in the field of view, as spines and misplaced scans show: six renderings, all 'other'."""
    pose, maturity = draw_subject(rng)
    shift = (rng.normal(0, 20), rng.uniform(-70, 40), rng.uniform(60, 130))
    scale = tuple(float(s) for s in np.array(pose.scale) * rng.uniform(0.9, 1.5))
    pose = Pose(pose.rotation, shift, scale, pose.mirrored, pose.warp_mm)
    anatomy = build_anatomy(label_map, FINE_GRID, pose, [], rng, generator)
    x, y, z = FINE_GRID.axes()
    brain_heights = z.expand(FINE_GRID.size)[anatomy.brain_mask]
    cut = z < (float(brain_heights.amin()) if len(brain_heights) else 120.0) + rng.uniform(-15, 20)
    drawn = []
    for _ in range(6):
        tissues = draw_tissues(rng, float(rng.choice([1.5, 3.0])), maturity)
        contrast = draw_contrast(str(rng.choice(SEQUENCES + OTHER)), tissues, rng)
        mask = torch.ones(FINE_GRID.size, dtype=torch.bool)
        chance = rng.random()
        if chance < 0.3:
            mask = smooth_noise(FINE_GRID, 45, generator) > rng.uniform(-0.3, 0.8)
        elif chance < 0.5:
            radii = rng.uniform(45, 80, 3)
            mask = (x / radii[0]) ** 2 + ((y + 18) / radii[1]) ** 2 + ((z - 18) / radii[2]) ** 2 < 1
        visible = mask & cut & small_box(FINE_GRID, rng) if rng.random() < 0.35 else mask & cut
        volume = form_image(anatomy, contrast, visible, bool(mask.all()), rng, generator)
        drawn.append((volume, "other", f"away from the brain, {contrast.sequence}"))
    return drawn
