"""What lies around the brain and differs between people: the fluid rim, the skull with its marrow, face and neck.

The label maps show a thick rim of fluid, a plain skull and one muscle for all of face and neck. Real adults have about
2 mm of fluid there, some less, children almost none; bone or dark dura then touches the cortex. Without such heads the
network takes the outer millimeter of the cortex for dura.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import torch
from torch import Tensor

from Training.starter.brain_extraction.border import BorderedLabelMap
from Training.synthesis.anatomy import Anatomy, Grid, smooth_noise
from Training.synthesis.sequences import Contrast
from Training.synthesis.tissue_parameters import CLASS

_BONES = ("cortical_bone", "marrow")
_SOFT = ("muscle", "fat", "mucosa", "skin")
_FACE = (*_SOFT, "vein", "artery", "air", "cortical_bone", "vitreous", "marrow", "dura")
_ALIKE = (("sulcal_csf", "cortical_bone"), ("sulcal_csf", "cortex"), ("dura", "cortex"), ("muscle", "cortex"))
_REACHED_MM = 8.0  # fluid further out than this lies in the spinal canal and stays


def vary_surroundings(
    anatomy: Anatomy, label_map: BorderedLabelMap, child: bool, rng: np.random.Generator, generator: torch.Generator
) -> Anatomy:
    """The same brain in another head; ``hull`` is the distance to the border, which moves inwards with a skull.

    ``anatomy`` must come from ``label_map`` and is changed in place where it can be.
    """
    tissue, border = anatomy.tissue, anatomy.hull
    if rng.random() < (0.9 if child else 0.65):
        border = _move_skull_inwards(anatomy, label_map, child, rng, generator)
    elif rng.random() < 0.4:  # dura that no image shows apart from the bone
        tissue[(tissue == CLASS["dura"]) & (border < 0)] = CLASS["cortical_bone"]
    if rng.random() < 0.6:
        _fill_skull_with_marrow(tissue, anatomy.grid, rng, generator)
    outside = border < -4
    if rng.random() < 0.7:
        _divide_face(tissue, outside, anatomy.grid, rng, generator)
    elif rng.random() < 0.4:  # skin, fat and muscle look the same
        tissue[_is(tissue, ("fat", "skin")) & outside] = CLASS["muscle"]
    return dataclasses.replace(anatomy, hull=border)


def vary_contrast(contrast: Contrast, rng: np.random.Generator) -> Contrast:
    """Other brightness around the brain: dura is dark where it does not enhance; fat, marrow and skin differ freely.

    With contrast agent it enhances in every second head: healthy dura does so only in short thin pieces.

    Of random contrasts some tell neighbors hardly apart, so that the border must come from the shape.
    """
    signal = contrast.signal.copy()
    if contrast.sequence == "random":
        if rng.random() < 0.4:
            name, like = _ALIKE[int(rng.integers(len(_ALIKE)))]
            signal[CLASS[name]] = signal[CLASS[like]] * np.exp(rng.normal(0, 0.1))
        return dataclasses.replace(contrast, signal=signal)
    if contrast.sequence == "T1CE" and rng.random() < 0.5:
        signal[CLASS["dura"]] *= rng.uniform(0.8, 1.8)
    elif rng.random() < 0.8:  # fibers: their signal is gone at most echo times, and they enhance in short thin pieces
        signal[CLASS["dura"]] *= rng.uniform(0.1, 0.8)
    for name in ("fat", "marrow", "skin", "muscle", "mucosa"):
        signal[CLASS[name]] *= np.exp(rng.normal(0, 0.25))
    return dataclasses.replace(contrast, signal=signal)


def textured_outside(
    image: Tensor, distance: Tensor, grid: Grid, rng: np.random.Generator, generator: torch.Generator
) -> Tensor:
    """Muscle bundles, glands and vessels too small to draw: a brightness that wavers outside the brain only."""
    if rng.random() < 0.4:
        return image
    texture = (smooth_noise(grid, rng.uniform(5, 15), generator) * rng.uniform(0.1, 0.6)).exp_()
    return torch.where(distance < -4, image * texture, image)


def _move_skull_inwards(
    anatomy: Anatomy, label_map: BorderedLabelMap, child: bool, rng: np.random.Generator, generator: torch.Generator
) -> Tensor:
    """Bone takes the place of fluid and dura, up to 0 to 3 mm from the closed hull. Returns the new border."""
    tissue = anatomy.tissue
    closed = torch.from_numpy(label_map.closed_hull).reshape(-1)[anatomy.voxel.clamp_min(0)].float()
    left = rng.uniform(0, 0.8) if child else rng.uniform(0.3, 2.8)
    left = left + smooth_noise(anatomy.grid, 30, generator) * rng.uniform(0, 0.8)
    border = torch.minimum(anatomy.hull, closed + left.clamp_(0, 3.0))
    dura = border > -(rng.uniform(0.3, 1.8) if rng.random() < 0.5 else 0.0)
    rim = _is(tissue, ("sulcal_csf", "dura", "small_vessel")) & (border <= 0) & (closed > -_REACHED_MM)
    tissue[rim & dura] = CLASS["dura"]
    tissue[rim & ~dura] = CLASS["cortical_bone"]
    return border


def _fill_skull_with_marrow(tissue: Tensor, grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> None:
    """Bone more than a voxel from its surfaces becomes marrow, in patches or nearly everywhere."""
    bone = _is(tissue, _BONES)
    core = bone.clone()
    for axis in range(3):
        n = tissue.shape[axis] - 1
        core.narrow(axis, 0, n).logical_and_(bone.narrow(axis, 1, n))
        core.narrow(axis, 1, n).logical_and_(bone.narrow(axis, 0, n))
    patches = smooth_noise(grid, rng.uniform(12, 40), generator) > rng.uniform(-2, 1)
    tissue[core & patches] = CLASS["marrow"]


def _divide_face(
    tissue: Tensor, outside: Tensor, grid: Grid, rng: np.random.Generator, generator: torch.Generator
) -> None:
    """Bands of a noise field become other tissues: about half of the soft tissue of face, neck and scalp."""
    noise = smooth_noise(grid, rng.uniform(5, 16), generator)
    soft = _is(tissue, _SOFT) & outside
    for low in np.arange(-1.5, 1.5, 0.5):
        if rng.random() < 0.5:
            name = _SOFT if rng.random() < 0.5 else _FACE
            chosen = CLASS[str(rng.choice(name))]
            tissue[soft & (noise > float(low)) & (noise < float(low) + rng.uniform(0.2, 0.5))] = chosen


def _is(tissue: Tensor, names: tuple[str, ...]) -> Tensor:
    wanted = torch.zeros(256, dtype=torch.bool)
    wanted[[CLASS[name] for name in names]] = True
    return wanted[tissue.int()]
