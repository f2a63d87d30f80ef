"""Patients that never lived: heads from label maps with a drawn age, tumor and course, rendered in four sequences.

What is true: the sequence, the tumor's place, kind and size. What is **simulated**: age, IDH status and survival,
which follow from the drawn anatomy by the rules below, so that a network can learn them. They exercise the machinery of
the paper's tasks and say nothing about patients; no head trained on them may be shown to anybody as a prediction.

Rules. The ventricles widen with age. Non-enhancing tumors are mostly "mutant", enhancing ones mostly "wild type".
Survival is exponential; larger, enhancing tumors and higher age shorten it. A third of the patients is censored.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.sequences import STANDARD_NAMES
from Training.synthesis.acquisition import bias_field, rician_noise, signal_image, smooth, thick_slices
from Training.synthesis.anatomy import Anatomy, Grid, Pose, Tumour, build_anatomy, smooth_noise
from Training.synthesis.label_maps import LabelMap
from Training.synthesis.sequences import draw_contrast
from Training.synthesis.tissue_parameters import CLASS, draw_tissues

NOTE = "simulated patients: age, IDH and survival follow from typed-in rules and are no findings"
KINDS = ("ring", "solid", "non-enhancing", "cavity")
MUTANT_SHARE = {"ring": 0.05, "solid": 0.15, "non-enhancing": 0.9, "cavity": 0.3}
AGES = (20.0, 80.0)
AGE_NOISE = 3.0  # years, which no image shows
VENTRICLE_REACH_MM = 14.0
WIDEST = 0.42


@dataclass(frozen=True)
class Scanner:
    """How scans of one site look; pairs are ranges, from which each scan draws."""

    fields: tuple[float, ...] = (1.5, 3.0)  # tesla
    noise: tuple[float, float] = (0.005, 0.05)  # of the brightest voxel
    bias: tuple[float, float] = (0.0, 0.25)
    thick_slices: float = 0.5  # share of the scans
    thickness: tuple[int, int] = (2, 3)  # voxels of the fine grid
    blur: tuple[float, float] = (0.0, 0.33)


USUAL_SCANNER = Scanner()
OTHER_SCANNER = Scanner((1.0,), (0.03, 0.09), (0.2, 0.5), thick_slices=0.8, thickness=(3, 4), blur=(0.2, 0.6))
"""An older one, for the external test: low field, noisy, uneven, blurred."""


@dataclass(frozen=True)
class SimulatedPatient:
    """``volumes`` is float32 (4, X, Y, Z) in 0..1, skull-stripped, in the order of ``STANDARD_NAMES``; ``tumour`` bool
    (X, Y, Z) without edema."""

    age_years: float
    idh: int
    survival_months: float
    event: int
    kind: str
    radius_mm: float
    volumes: Tensor
    tumour: Tensor


def draw_patient(
    seed: int, index: int, label_maps: list[LabelMap], grid: Grid, scanner: Scanner = USUAL_SCANNER
) -> SimulatedPatient:
    """Patient number ``index`` of the cohort ``seed``: the same arguments give the same patient.

    Parameters
    ----------
    grid : of the volumes; anatomy is drawn on one of half its voxel size.
    """
    rng = np.random.default_rng((seed, index))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    label_map = label_maps[int(rng.integers(len(label_maps)))]
    ageing = float(rng.random())
    kind = str(rng.choice(KINDS, p=(0.35, 0.2, 0.3, 0.15)))
    radius = float(np.exp(rng.uniform(np.log(8), np.log(28))))
    tumour = Tumour(kind, radius, rng.uniform(2, max(2.5, 0.3 * radius)), rng.uniform(2, 16))
    pose = Pose(
        rotation=tuple(rng.normal(0, 2.5, 3)),
        shift=tuple(rng.normal(0, 2.5, 3)),
        scale=tuple(np.clip(rng.normal(1, 0.03, 3), 0.9, 1.1)),
        mirrored=bool(rng.random() < 0.5),
        warp_mm=float(rng.uniform(0, 3)),
    )
    fine = _halved(grid)
    anatomy = build_anatomy(label_map, fine, pose, [tumour], rng, generator)
    widen_ventricles(anatomy, ageing)
    age = float(np.clip(AGES[0] + (AGES[1] - AGES[0]) * ageing + rng.normal(0, AGE_NOISE), 18, 90))
    mutant = int(rng.random() < MUTANT_SHARE[kind])
    months, event = survival_of(rng, radius, kind, age)
    volumes = torch.stack([_rendered(anatomy, name, scanner, rng, generator) for name in STANDARD_NAMES])
    tumour_voxels = F.avg_pool3d(anatomy.tumour_voxels[None, None].float(), 2)[0, 0] > 0.5
    return SimulatedPatient(age, mutant, months, event, kind, radius, volumes, tumour_voxels)


def widen_ventricles(anatomy: Anatomy, ageing: float) -> None:
    """Let the ventricles grow into the tissue around them: not at ``ageing`` 0, by about 5 mm at 1 (in place)."""
    ventricles = anatomy.tissue == CLASS["ventricular_csf"]
    reach = [max(1, round(VENTRICLE_REACH_MM / step)) | 1 for step in anatomy.grid.spacing]
    near = ventricles[None, None].float()
    near = F.avg_pool3d(near, reach, stride=1, padding=[n // 2 for n in reach])[0, 0]
    gives_way = torch.zeros(256, dtype=torch.bool)
    gives_way[[CLASS[name] for name in ("white_matter", "thalamus", "caudate", "white_matter_lesion", "oedema")]] = True
    anatomy.tissue[(near > 0.5 - WIDEST * ageing) & gives_way[anatomy.tissue.int()]] = CLASS["ventricular_csf"]


def survival_of(rng: np.random.Generator, radius: float, kind: str, age: float) -> tuple[float, int]:
    """Months to death (event 1) or to the last contact (0)."""
    scale = 26 * math.exp(-0.07 * (radius - 15) - 0.02 * (age - 50) - 0.7 * (kind in ("ring", "solid")))
    death, last_contact = rng.exponential(scale), rng.uniform(4, 60)
    return round(float(max(0.1, min(death, last_contact))), 2), int(death <= last_contact)


def _rendered(
    anatomy: Anatomy, sequence: str, scanner: Scanner, rng: np.random.Generator, generator: torch.Generator
) -> Tensor:
    """One skull-stripped volume in 0..1 on the coarse grid."""
    tissues = draw_tissues(rng, float(rng.choice(scanner.fields)), 1.0)
    image = signal_image(anatomy, draw_contrast(sequence, tissues, rng))
    image = image * (1 + rng.uniform(0, 0.06) * smooth_noise(anatomy.grid, rng.uniform(5, 12), generator))
    if rng.random() < scanner.thick_slices:
        image = thick_slices(image, 2, int(rng.integers(scanner.thickness[0], scanner.thickness[1] + 1)))
    image = smooth(image, tuple(rng.uniform(*scanner.blur, 3)))
    mask = anatomy.hull > rng.uniform(-1.0, 2.0)
    image, inside = (F.avg_pool3d(v[None, None], 2)[0, 0] for v in (image * mask, mask.float()))
    coarse = Grid(tuple(image.shape), tuple(2 * step for step in anatomy.grid.spacing), anatomy.grid.origin)
    image = image * bias_field(coarse, rng.uniform(*scanner.bias), generator)
    image = rician_noise(image, float(np.exp(rng.uniform(*np.log(scanner.noise)))), generator)
    image = image * (inside > 0.5)
    top = torch.quantile(image[image > 0], 0.999)
    return (image / top).clamp(0, 1)


def _halved(grid: Grid) -> Grid:
    spacing = tuple(step / 2 for step in grid.spacing)
    origin = tuple(first - step / 4 for first, step in zip(grid.origin, grid.spacing, strict=True))
    return Grid(tuple(2 * n for n in grid.size), spacing, origin)
