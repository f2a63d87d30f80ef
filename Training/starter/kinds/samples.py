"""Training samples of thirteen kinds: from (seed, index) to normalized volumes on the model grid with their labels.

One index is one head (or one region away from the brain) that is rendered under several protocols, each with its own
brain mask and image formation. What preprocessing does to real scans is imitated at its end: zero outside the mask,
area resize over the voxels inside, the library's own N4, then its clipping and normalization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.sequences import ALL_NAMES, NOT_A_HEAD, STANDARD_NAMES
from Training.starter.samples import (
    FINE_GRID,
    MODEL_GRID,
    bias_corrected,
    draw_subject,
    encode,
    face,
    field_of_view,
    otsu_head,
    small_box,
)
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
from Training.synthesis.anatomy import (
    Anatomy,
    Pose,
    Tumour,
    add_plaques,
    build_anatomy,
    draw_tumours,
    smooth_noise,
)
from Training.synthesis.brain_masks import draw_brain_mask
from Training.synthesis.label_maps import LabelMap
from Training.synthesis.non_brain import draw_fruit, draw_non_brain
from Training.synthesis.sequences import OTHER, SEQUENCES, Contrast, draw_contrast
from Training.synthesis.tissue_parameters import draw_tissues

LABELS = ALL_NAMES
UNNAMED = "unnatural"  # a contrast of no sequence: the right answer is to be unsure
N4_SHARE = 0.15  # of the volumes; of another half, a cheap likeness of it
OTHER_SHARES = (0.12, 0.13, 0.13, 0.12, 0.11, 0.13, 0.10, 0.10, 0.06)  # in the order of OTHER
OTHERS_A_HEAD, FOUR_A_HEAD = 7, 3  # renderings of one head: of the others together, of each of the four


@dataclass(frozen=True)
class Sample:
    """``volume`` is uint8 (X, Y, Z): 0 outside, else the normalized value (see ``decode``).

    label : one of ``LABELS``, or ``UNNAMED``. sureness : how sure an answer ought to be, 0 to 1.
    """

    volume: Tensor
    label: str
    detail: str
    sureness: float = 1.0


def draw_samples(seed: int, index: int, label_maps: list[LabelMap], contract: EncoderContract) -> list[Sample]:
    """All samples of one index; the same arguments give the same bytes."""
    rng = np.random.default_rng((seed, index))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    label_map = label_maps[int(rng.integers(len(label_maps)))]
    if index % 12 == 11:
        drawn = _away_from_the_brain(label_map, rng, generator)
    else:
        drawn = _one_head(label_map, rng, generator)
    volumes = normalise(torch.stack([volume for volume, *_ in drawn])[:, None], contract)[:, 0]
    return [Sample(volume, *facts) for volume, (_, *facts) in zip(encode(volumes), drawn, strict=True)]


def _one_head(label_map: LabelMap, rng: np.random.Generator, generator: torch.Generator):
    pose, maturity = draw_subject(rng) if rng.random() < 0.93 else _draw_infant(rng)
    tumours = draw_tumours(rng) if maturity > 0.7 else []
    if maturity > 0.7 and rng.random() < 0.06:
        tumours = [Tumour("infiltrating", rng.uniform(18, 45), 2.0, 0.0)]
    anatomy = build_anatomy(label_map, FINE_GRID, pose, tumours, rng, generator)
    if maturity > 0.7 and rng.random() < 0.25:
        add_plaques(anatomy.tissue, FINE_GRID, rng)
    wanted = list(STANDARD_NAMES) * FOUR_A_HEAD
    wanted += rng.choice(OTHER, OTHERS_A_HEAD, p=OTHER_SHARES).tolist()
    if rng.random() < 0.5:
        wanted.append(NOT_A_HEAD.name)
    sureness = surely_named(maturity)
    drawn = []
    for label in wanted:
        tissues = draw_tissues(rng, float(rng.choice([1.0, 1.5, 3.0], p=[0.05, 0.45, 0.5])), maturity)
        if label == NOT_A_HEAD.name:
            drawn.append(_nonsense(anatomy, rng, generator))
            continue
        contrast = draw_contrast(label, tissues, rng)
        mask_kind, mask = draw_brain_mask(anatomy, rng, generator)
        volume = form_image(anatomy, contrast, mask, mask_kind == "whole head", rng, generator)
        drawn.append((volume, label, f"{label}, {mask_kind}, maturity {maturity:.2f}", sureness))
    return drawn


def surely_named(maturity: float) -> float:
    """How sure an answer ought to be: of adults and children quite, of a newborn by a half, in between by degrees."""
    return float(np.clip(0.5 + 0.5 * (maturity - 0.25) / 0.55, 0.5, 1.0))


def _draw_infant(rng: np.random.Generator) -> tuple[Pose, float]:
    """As ``draw_subject``, in the first year and a half: head size and maturity go together."""
    months = rng.uniform(0, 18)
    maturity = float(np.clip(months / 20 + rng.normal(0, 0.06), 0, 0.95))
    size = 0.70 + 0.20 * (1 - np.exp(-months / 6)) + rng.normal(0, 0.03)
    scale = np.clip(size * (1 + rng.normal(0, 0.025, 3)), 0.62, 1.05)
    pose = Pose(
        tuple(rng.normal(0, 5, 3)),
        tuple(rng.normal(0, 5, 3)),
        tuple(scale),
        bool(rng.random() < 0.5),
        float(rng.uniform(0, 3)),
    )
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
        if rng.random() < 0.3:  # fine acquisitions, and those that were resampled
            factors = (1, 1, int(rng.integers(1, 3)))
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
    if contrast.sequence == "MRA" and rng.random() < 0.7:  # a slab about the circle of Willis
        _, y, z = anatomy.grid.axes()
        visible &= (z + rng.normal(0, 0.15) * y - rng.normal(0, 15)).abs() < rng.uniform(22, 60)
    if whole_head and rng.random() < 0.2:
        visible &= ~face(anatomy, rng)
    image.mul_(visible)
    image, filled = (F.avg_pool3d(v[None, None], 2)[0, 0] for v in (image, visible.float()))
    if contrast.echo_planar:
        stretch, loss = rng.normal(0, 9), rng.uniform(0.2, 1.0)
        if rng.random() < 0.4:  # corrected, or several shots
            stretch, loss = rng.normal(0, 2), rng.uniform(0, 0.35)
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
    chance = rng.random()
    if chance < N4_SHARE:
        return bias_corrected(image, rng)
    return _field_taken_out(image, rng.uniform(0.2, 0.9)) if chance < 0.65 else image


def _field_taken_out(image: Tensor, share: float) -> Tensor:
    """A ``share`` of what is smooth in the logarithm of the image, as N4 finds it, at a hundredth of its cost."""
    inside = (image > 0).float()
    logarithm = image.clamp_min(1e-4).log() * inside
    lattice = [max(2, n // 15) for n in image.shape]
    smooth_part, weight = (F.adaptive_avg_pool3d(v[None, None], lattice) for v in (logarithm, inside))
    known = weight > 0.05
    mean = smooth_part.sum() / weight.sum().clamp_min(1e-6)
    field = torch.where(known, smooth_part / weight.clamp_min(0.05) - mean, 0.0)
    field = F.avg_pool3d(field, 3, 1, 1)
    field = F.interpolate(field, size=image.shape, mode="trilinear", align_corners=False)[0, 0]
    return image * torch.exp(-share * field.clamp(-1, 1))


def _nonsense(anatomy: Anatomy, rng: np.random.Generator, generator: torch.Generator):
    """No brain: a phantom, noise or a map, whole, or cut to the shape of a brain as a brain extraction may do."""
    if rng.random() < 0.14:
        kind, volume = "fruit", draw_fruit(MODEL_GRID, rng, generator)
    else:
        kind, volume = draw_non_brain(MODEL_GRID, rng, generator)
    if rng.random() < 0.15:  # a mask or a tissue class instead of an image
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
    return bias_corrected(volume, rng) if rng.random() < N4_SHARE else volume, NOT_A_HEAD.name, kind, 1.0


def _away_from_the_brain(label_map: LabelMap, rng: np.random.Generator, generator: torch.Generator):
    """Neck, face or neither in the field of view, as spines and misplaced scans show: six renderings, no head."""
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
        drawn.append((volume, NOT_A_HEAD.name, f"away from the brain, {contrast.sequence}", 1.0))
    return drawn
