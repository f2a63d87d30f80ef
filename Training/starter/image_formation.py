"""From tissue signals to images on the model grid, as scanners and preprocessing show them; and what is no brain.

What preprocessing does to real scans is imitated at the end: zero outside the mask, area resize over the voxels inside,
the library's own N4. Clipping and normalization are left to the caller.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing.bias_field import correct_bias_field
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
from Training.synthesis.anatomy import Anatomy, Grid, Pose, build_anatomy, smooth_noise
from Training.synthesis.label_maps import LabelMap
from Training.synthesis.non_brain import draw_fruit, draw_non_brain
from Training.synthesis.sequences import Contrast, draw_contrast
from Training.synthesis.template_grid import template_grid
from Training.synthesis.tissue_parameters import draw_tissues

INPUT_SIZE = (66, 78, 63)
MODEL_GRID = template_grid(INPUT_SIZE)
FINE_GRID = template_grid(tuple(2 * n for n in INPUT_SIZE))  # 1.5 mm
N4_VOXEL_MM = 6.0  # half the resolution of the input: a twentieth of a second


@dataclass(frozen=True)
class Habits:
    """How often what happens, as shares; what never happens draws no random number, so that a seed keeps its images.

    fine_echo_planar : acquired finely, or resampled. corrected_echo_planar : in several shots, or corrected.
    slab_of_vessels : of angiographies. n4, likeness_of_n4 : the library's, and one at a hundredth of its cost.
    fruit, masks, n4_of_no_brain : of what is no brain.
    """

    n4: float
    likeness_of_n4: float
    masks: float
    n4_of_no_brain: float
    fine_echo_planar: float = 0.0
    corrected_echo_planar: float = 0.0
    slab_of_vessels: float = 0.0
    fruit: float = 0.0


def _happens(share: float, rng: np.random.Generator) -> bool:
    return share > 0 and rng.random() < share


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
    habits: Habits,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    """From tissue signals to the image on the model grid, before normalization: float32 (X, Y, Z)."""
    image = signal_image(anatomy, contrast)
    texture = smooth_noise(anatomy.grid, rng.uniform(4, 12), generator)
    image.mul_(texture.mul_(rng.uniform(0.0, 0.06)).add_(1))
    if contrast.echo_planar:
        factors = (rng.integers(1, 3), rng.integers(1, 3), rng.integers(1, 5))
        if _happens(habits.fine_echo_planar, rng):
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
    if contrast.sequence == "MRA" and _happens(habits.slab_of_vessels, rng):  # about the circle of Willis
        _, y, z = anatomy.grid.axes()
        visible &= (z + rng.normal(0, 0.15) * y - rng.normal(0, 15)).abs() < rng.uniform(22, 60)
    if whole_head and rng.random() < 0.2:
        visible &= ~face(anatomy, rng)
    image.mul_(visible)
    image, filled = (F.avg_pool3d(v[None, None], 2)[0, 0] for v in (image, visible.float()))
    if contrast.echo_planar:
        stretch, loss = rng.normal(0, 9), rng.uniform(0.2, 1.0)
        if _happens(habits.corrected_echo_planar, rng):
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
    if chance < habits.n4:
        return bias_corrected(image, rng)
    return field_taken_out(image, rng.uniform(0.2, 0.9)) if chance < habits.n4 + habits.likeness_of_n4 else image


def field_taken_out(image: Tensor, share: float) -> Tensor:
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


def no_brain(
    anatomy: Anatomy, habits: Habits, rng: np.random.Generator, generator: torch.Generator
) -> tuple[Tensor, str]:
    """A phantom, noise or a map, and which; whole, or cut to the shape of a brain as a brain extraction may do."""
    if _happens(habits.fruit, rng):
        kind, volume = "fruit", draw_fruit(MODEL_GRID, rng, generator)
    else:
        kind, volume = draw_non_brain(MODEL_GRID, rng, generator)
    if rng.random() < habits.masks:  # a mask or a tissue class instead of an image
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
    return bias_corrected(volume, rng) if rng.random() < habits.n4_of_no_brain else volume, kind


def away_from_the_brain(
    label_map: LabelMap,
    sequences: tuple[str, ...],
    habits: Habits,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Iterator[tuple[Tensor, str]]:
    """Neck, face or neither in the field of view, as spines and misplaced scans show: six images, and what each is."""
    pose, maturity = draw_subject(rng)
    shift = (rng.normal(0, 20), rng.uniform(-70, 40), rng.uniform(60, 130))
    scale = tuple(float(s) for s in np.array(pose.scale) * rng.uniform(0.9, 1.5))
    pose = Pose(pose.rotation, shift, scale, pose.mirrored, pose.warp_mm)
    anatomy = build_anatomy(label_map, FINE_GRID, pose, [], rng, generator)
    x, y, z = FINE_GRID.axes()
    brain_heights = z.expand(FINE_GRID.size)[anatomy.brain_mask]
    cut = z < (float(brain_heights.amin()) if len(brain_heights) else 120.0) + rng.uniform(-15, 20)
    for _ in range(6):
        tissues = draw_tissues(rng, float(rng.choice([1.5, 3.0])), maturity)
        contrast = draw_contrast(str(rng.choice(sequences)), tissues, rng)
        mask = torch.ones(FINE_GRID.size, dtype=torch.bool)
        chance = rng.random()
        if chance < 0.3:
            mask = smooth_noise(FINE_GRID, 45, generator) > rng.uniform(-0.3, 0.8)
        elif chance < 0.5:
            radii = rng.uniform(45, 80, 3)
            mask = (x / radii[0]) ** 2 + ((y + 18) / radii[1]) ** 2 + ((z - 18) / radii[2]) ** 2 < 1
        visible = mask & cut & small_box(FINE_GRID, rng) if rng.random() < 0.35 else mask & cut
        volume = form_image(anatomy, contrast, visible, bool(mask.all()), habits, rng, generator)
        yield volume, f"away from the brain, {contrast.sequence}"
