"""A random head on a chosen grid: a label map, posed, warped, and given vessels, fat, lesions and tumors.

Anatomy is drawn once and rendered under many contrasts. Everything is torch on the CPU, seeded by generators that are
handed in: the same seed gives the same head.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from Training.synthesis.label_maps import LabelMap
from Training.synthesis.tissue_parameters import CLASS

TUMOUR_KINDS = ("ring", "solid", "non-enhancing", "cavity", "bleed", "meningioma")
TUMOUR_SHARES = (0.38, 0.17, 0.18, 0.14, 0.07, 0.06)


@dataclass(frozen=True)
class Grid:
    """Voxel centers ``origin + spacing * index`` in template RAS millimeters."""

    size: tuple[int, int, int]
    spacing: tuple[float, float, float]
    origin: tuple[float, float, float]

    def axes(self) -> list[Tensor]:
        """Three coordinate vectors in mm, shaped to broadcast over (X, Y, Z)."""
        shapes = ((-1, 1, 1), (1, -1, 1), (1, 1, -1))
        return [
            (torch.arange(n, dtype=torch.float32) * step + start).reshape(shape)
            for n, step, start, shape in zip(self.size, self.spacing, self.origin, shapes, strict=True)
        ]


@dataclass(frozen=True)
class Pose:
    """Where the head lies relative to the template pose: degrees, millimeters, scale per axis, mirrored or not."""

    rotation: tuple[float, float, float] = (0.0, 0.0, 0.0)
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)
    scale: tuple[float, float, float] = (1.0, 1.0, 1.0)
    mirrored: bool = False
    warp_mm: float = 0.0


@dataclass(frozen=True)
class Tumour:
    """A tumor of one of ``TUMOUR_KINDS`` or "infiltrating"; lengths in mm, ``halo`` is the width of its edema."""

    kind: str
    radius: float
    rim: float
    halo: float


@dataclass(frozen=True)
class Anatomy:
    """tissue : uint8 (X, Y, Z), indices into NAMES. hull : float32 (X, Y, Z), signed mm to the brain's closed hull,
    positive inside (its sign is the true brain mask). tumour_voxels : bool (X, Y, Z) without edema.
    voxel : int32 (X, Y, Z), the voxel of the flattened label map that each voxel shows, -1 outside of it."""

    grid: Grid
    tissue: Tensor
    hull: Tensor
    tumour_voxels: Tensor
    voxel: Tensor
    tumours: tuple[Tumour, ...] = field(default=())

    @property
    def brain_mask(self) -> Tensor:
        """bool (X, Y, Z): parenchyma, ventricles and sulci up to the hull."""
        return self.hull > 0


def smooth_noise(grid: Grid, length_mm: float, generator: torch.Generator) -> Tensor:
    """Gaussian noise (X, Y, Z) of unit variance at its lattice points, ``length_mm`` apart, linear in between."""
    lattice = [max(2, round(n * step / length_mm) + 1) for n, step in zip(grid.size, grid.spacing, strict=True)]
    return stretched(torch.randn(lattice, generator=generator), grid.size)


def stretched(lattice: Tensor, size: tuple[int, int, int]) -> Tensor:
    """(X', Y', Z') -> ``size``, linear in between, ends on ends."""
    x, y, z = (_linear_interpolation(n, m) for n, m in zip(size, lattice.shape, strict=True))
    planes = torch.einsum("abc,xa,yb->xyc", lattice, x, y)
    return planes @ z.T  # products of small matrices: four times faster than torch's trilinear upsampling


def _linear_interpolation(size: int, lattice: int) -> Tensor:
    """(size, lattice) weights that stretch ``lattice`` points over ``size`` voxels, ends on ends."""
    position = torch.linspace(0, lattice - 1, size)[:, None]
    return (1 - (position - torch.arange(lattice)).abs()).clamp_min_(0)


def draw_tumours(rng: np.random.Generator) -> list[Tumour]:
    """None in 45 % of heads; of the rest a quarter has several, and one in twelve is huge."""
    if rng.random() < 0.45:
        return []
    count = 1 if rng.random() < 0.75 else int(rng.integers(2, 6))
    tumours = []
    for _ in range(count):
        radius = float(np.exp(rng.uniform(np.log(4), np.log(28 if count == 1 else 14))))
        if count == 1 and rng.random() < 0.08:
            radius = rng.uniform(28, 42)
        halo = rng.uniform(2, 22) if rng.random() < 0.8 else 0.0
        kind = str(rng.choice(TUMOUR_KINDS, p=TUMOUR_SHARES))
        tumours.append(Tumour(kind, radius, rng.uniform(1.5, max(2.0, 0.35 * radius)), halo))
    return tumours


def build_anatomy(
    label_map: LabelMap,
    grid: Grid,
    pose: Pose,
    tumours: list[Tumour],
    rng: np.random.Generator,
    generator: torch.Generator,
    displacement: Tensor | None = None,
) -> Anatomy:
    """Sample the label map on ``grid`` (nearest neighbor) and add what a subject has of its own.

    Parameters
    ----------
    displacement : (3, X', Y', Z') mm on a coarse lattice whose ends lie on those of the grid: each point shows what
        lies that far from it, before the pose.
    """
    tissue, hull, depth, voxel = _sample(label_map, grid, pose, generator, displacement)
    if rng.random() < 0.7:  # sinuses end at the dura: most of their width lies outside the brain's hull
        tissue[(tissue == CLASS["vein"]) & (hull > rng.uniform(-3, 1.5)) & (hull < 5)] = CLASS["sulcal_csf"]
    _narrow_sulci(tissue, grid, rng, generator)
    _divide_soft_tissue(tissue, depth, grid, rng, generator)
    _add_white_matter_lesions(tissue, grid, rng, generator)
    tumour_voxels = torch.zeros(grid.size, dtype=torch.bool)
    for tumour in tumours:
        _add_tumour(tissue, hull, tumour_voxels, tumour, grid, rng, generator)
    _add_small_vessels(tissue, hull, grid, rng, generator)
    return Anatomy(grid, tissue, hull, tumour_voxels, voxel, tuple(tumours))


def _sample(
    label_map: LabelMap, grid: Grid, pose: Pose, generator: torch.Generator, displacement: Tensor | None
) -> tuple[Tensor, ...]:
    """Tissue, hull, depth and the voxels of the label map they come from."""
    matrix = torch.from_numpy(label_map.voxel_of_template @ pose_matrix(pose)).float()
    axes = grid.axes()
    size = label_map.tissue.shape
    moved = None if displacement is None else torch.einsum("rc,cxyz->rxyz", matrix[:, :3], displacement)
    flat = torch.zeros(grid.size, dtype=torch.int32)
    inside = torch.ones(grid.size, dtype=torch.bool)
    for row in range(3):
        coordinate = matrix[row, 0] * axes[0] + matrix[row, 1] * axes[1] + (matrix[row, 2] * axes[2] + matrix[row, 3])
        if pose.warp_mm:
            coordinate = coordinate + smooth_noise(grid, 45, generator).mul_(pose.warp_mm)
        if moved is not None:
            coordinate = coordinate + stretched(moved[row], grid.size)
        index = coordinate.round_().int()
        inside &= (index >= 0) & (index < size[row])
        flat = flat.mul_(size[row]).add_(index.clamp_(0, size[row] - 1))
    tissue = torch.from_numpy(label_map.tissue).reshape(-1)[flat].mul_(inside)
    hull = torch.from_numpy(label_map.hull).reshape(-1)[flat].float()
    hull = torch.where(inside, hull, -100.0) * float(np.mean(pose.scale))
    depth = torch.from_numpy(label_map.depth).reshape(-1)[flat].masked_fill_(~inside, 255)
    return tissue, hull, depth, flat.masked_fill_(~inside, -1)


def pose_matrix(pose: Pose) -> np.ndarray:
    """(4, 4) from posed template mm to unposed template mm: undo shift, rotation, scale and mirroring."""
    rx, ry, rz = np.deg2rad(pose.rotation)
    cx, sx, cy, sy, cz, sz = np.cos(rx), np.sin(rx), np.cos(ry), np.sin(ry), np.cos(rz), np.sin(rz)
    rotation = (
        np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        @ np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        @ np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    )
    centre = np.array([0.0, -18.0, 18.0])  # about the middle of the template brain
    mirror = np.array([-1.0 if pose.mirrored else 1.0, 1, 1])
    matrix = np.eye(4)
    matrix[:3, :3] = np.diag(mirror / np.array(pose.scale)) @ rotation.T
    matrix[:3, 3] = centre - matrix[:3, :3] @ (centre + np.array(pose.shift))
    return matrix


def _narrow_sulci(tissue: Tensor, grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> None:
    """Let the cortex grow by up to two voxels into the sulci, more here and less there: the label maps count all that
    is not parenchyma as CSF, about a third of the hull, which only atrophied brains have."""
    for _ in range(int(rng.integers(0, 3))):
        cortex = tissue == CLASS["cortex"]
        near = torch.zeros_like(cortex)
        for axis in range(3):
            n = tissue.shape[axis]
            near.narrow(axis, 0, n - 1).logical_or_(cortex.narrow(axis, 1, n - 1))
            near.narrow(axis, 1, n - 1).logical_or_(cortex.narrow(axis, 0, n - 1))
        grows = smooth_noise(grid, 20, generator) > rng.uniform(-2.0, 0.3)
        tissue[near & grows & (tissue == CLASS["sulcal_csf"])] = CLASS["cortex"]


def _divide_soft_tissue(
    tissue: Tensor, depth: Tensor, grid: Grid, rng: np.random.Generator, generator: torch.Generator
) -> None:
    """Skin 2 mm thick, then fat of a thickness that differs between people, then muscle with fat between."""
    fat = CLASS["fat"]
    tissue[(tissue == CLASS["skin"]) & (depth > 2)] = fat
    muscle = tissue == CLASS["muscle"]
    septa = smooth_noise(grid, rng.uniform(6, 14), generator) > rng.uniform(0.5, 1.5)
    tissue[muscle & ((depth < rng.uniform(3, 9)) | septa)] = fat


def _add_white_matter_lesions(tissue: Tensor, grid: Grid, rng: np.random.Generator, generator: torch.Generator) -> None:
    white, lesion = CLASS["white_matter"], CLASS["white_matter_lesion"]
    if rng.random() < 0.4:
        tissue[tissue == lesion] = white
    if rng.random() < 0.4:
        noise = smooth_noise(grid, rng.uniform(4, 10), generator)
        tissue[(tissue == white) & (noise > rng.uniform(1.9, 2.6))] = lesion


def add_plaques(tissue: Tensor, grid: Grid, rng: np.random.Generator) -> None:
    """Multiple sclerosis: 4 to 60 ovoid lesions, most of them at the ventricles, a few of which enhance."""
    white, fluid = tissue == CLASS["white_matter"], tissue == CLASS["ventricular_csf"]
    reach = [2 * round(rng.uniform(4, 10) / step / 4) + 1 for step in grid.spacing]  # of every second voxel, odd
    near = F.max_pool3d(fluid[None, None, ::2, ::2, ::2].float(), reach, 1, [n // 2 for n in reach])
    at_ventricles = F.interpolate(near, size=grid.size)[0, 0] > 0
    places = [(white & at_ventricles).nonzero(), white.nonzero()]
    for _ in range(int(np.exp(rng.uniform(np.log(4), np.log(60))))):
        candidates = places[0] if len(places[0]) and rng.random() < 0.65 else places[1]
        if not len(candidates):
            return
        middle = candidates[int(rng.integers(len(candidates)))].tolist()
        radii = np.exp(rng.uniform(np.log(1.5), np.log(6))) * rng.uniform(0.7, 1.3, 3)
        box, distance = [], torch.zeros(())
        for axis, (centre, radius) in enumerate(zip(middle, radii, strict=True)):
            half = int(np.ceil(radius / grid.spacing[axis]))
            part = slice(max(0, centre - half), min(grid.size[axis], centre + half + 1))
            offset = (torch.arange(part.start, part.stop) - centre) * grid.spacing[axis] / float(radius)
            distance = distance + offset.reshape([-1 if i == axis else 1 for i in range(3)]) ** 2
            box.append(part)
        kind = "tumour_solid" if rng.random() < 0.08 else "white_matter_lesion"
        around = tissue[tuple(box)]
        around[(distance < 1) & (around == CLASS["white_matter"])] = CLASS[kind]


def _add_tumour(
    tissue: Tensor,
    hull: Tensor,
    tumour_voxels: Tensor,
    tumour: Tumour,
    grid: Grid,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> None:
    band = (-1, 3) if tumour.kind == "meningioma" else (5, 100)
    candidates = ((hull > band[0]) & (hull < band[1])).reshape(-1).nonzero()
    if len(candidates) == 0:
        return
    chosen = int(candidates[int(rng.integers(len(candidates)))])
    stretch = rng.uniform(0.75, 1.25, 3)
    distance = torch.zeros(())
    for axis, index, scale in zip(grid.axes(), np.unravel_index(chosen, grid.size), stretch, strict=True):
        distance = distance + ((axis - axis.flatten()[int(index)]) * float(scale)) ** 2
    distance = distance.sqrt_()
    rough = smooth_noise(grid, max(6.0, 0.7 * tumour.radius), generator) * (0.22 * tumour.radius)
    distance = distance + rough
    brain = hull > 0
    inner = brain & (distance < tumour.radius)
    if tumour.halo:
        oedematous = tissue == CLASS["white_matter"]
        oedematous |= (tissue == CLASS["cortex"]) & (rough > 0)
        tissue[oedematous & brain & (distance < tumour.radius + tumour.halo)] = CLASS["oedema"]
    shell = distance > tumour.radius - tumour.rim
    core, rim = {
        "ring": ("necrosis", "tumour_rim"),
        "solid": ("tumour_solid", "tumour_solid"),
        "non-enhancing": ("tumour_non_enhancing", "tumour_non_enhancing"),
        "cavity": ("cavity", "tumour_rim" if rng.random() < 0.5 else "cavity"),
        "bleed": ("haemorrhage", "haemorrhage" if rng.random() < 0.5 else "tumour_rim"),
        "meningioma": ("tumour_solid", "tumour_solid"),
        "infiltrating": ("tumour_non_enhancing", "tumour_non_enhancing"),
    }[tumour.kind]
    if tumour.kind == "infiltrating":  # the brain keeps its shape: white matter, and cortex and nuclei in patches
        white = (tissue == CLASS["white_matter"]) | (tissue == CLASS["brainstem"])
        gray = (tissue == CLASS["cortex"]) | (tissue == CLASS["thalamus"]) | (tissue == CLASS["putamen"])
        inner &= white | (gray & (rough > 0))
    tissue[inner] = CLASS[core]
    tissue[inner & shell] = CLASS[rim]
    if tumour.kind in ("solid", "non-enhancing") and rng.random() < 0.4:  # a small dead center
        tissue[inner & (distance < 0.4 * tumour.radius)] = CLASS["necrosis"]
    tumour_voxels |= inner


def _add_small_vessels(
    tissue: Tensor, hull: Tensor, grid: Grid, rng: np.random.Generator, generator: torch.Generator
) -> None:
    """Curves where two noise fields cross zero together: thick in the sulci, thin and sparse in the parenchyma."""
    length = rng.uniform(8, 14)
    first, second = (smooth_noise(grid, length, generator).abs_() for _ in range(2))
    sulci = (tissue == CLASS["sulcal_csf"]) & (hull > -1)
    sulcal_width = rng.uniform(0.7, 2.0) / length  # the fields' slope is about one per lattice length
    vessel = sulci & (first < sulcal_width) & (second < sulcal_width)
    parenchyma = (tissue == CLASS["cortex"]) | (tissue == CLASS["white_matter"])
    thin_width = rng.uniform(0.3, 0.9) / length
    vessel |= parenchyma & (first < thin_width) & (second < thin_width)
    tissue[vessel] = CLASS["small_vessel"]
