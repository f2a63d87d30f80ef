"""Two looks at one anatomy: what the refinement compares, from simulated heads and from real scans.

A real T1 scan becomes another contrast by a curve from its gray values to new ones: fluid bright and white matter dark
as in T2, fluid dark and cortex bright as in FLAIR, or any. Noise, vessels and partial volumes stay those of the scan.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.models.anatomy import AnatomyEncoder
from BrainIACLib.preprocessing.intensity import model_input, normalise, ras_array, resize
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.scans import read_scan
from BrainIACLib.sequences import STANDARD_NAMES
from BrainIACLib.structures import INDEX
from Training.starter.anatomy.contract import anatomy_encoder_contract
from Training.starter.anatomy.heads import SIZE
from Training.starter.open_scans import open_scans

SEQUENCE_STUDY = "BraTS2021"  # trained on; openms and UPENN-GBM judge
KNOTS = (
    0.0,
    0.18,
    0.38,
    0.58,
    0.8,
    1.0,
)  # of gray values in a T1 scan: fluid lies at the second, white matter at the fifth
CURVES = {
    "T2": (0.9, 1.0, 0.75, 0.5, 0.3, 0.2),
    "FLAIR": (0.1, 0.15, 0.6, 0.95, 0.7, 0.75),
    "PD": (0.8, 0.85, 0.9, 0.8, 0.6, 0.5),
}


@dataclass(frozen=True)
class PairedScans:
    """``images``: sequence -> float16 (X, Y, Z) on one grid. ``shares``: uint8 (structures, X, Y, Z), 255 a whole
    voxel: what the network that the refinement starts from sees in the T1 scan, lesions as outlined by people."""

    person: str
    images: dict[str, Tensor]
    shares: Tensor


@torch.inference_mode()
def paired_scans(data: Path, net: AnatomyEncoder) -> list[PairedScans]:
    """The persons of ``SEQUENCE_STUDY`` with all four sequences, all moved by the transform of their T1 scan."""
    persons: dict[str, dict[str, Path]] = {}
    for scan in open_scans(data, ("multiseq",)):
        if scan.study == SEQUENCE_STUDY:
            persons.setdefault(scan.subject, {})[scan.sequence] = scan.path
    contract, template, found = anatomy_encoder_contract(), icbm152().image, []
    for person, paths in sorted(persons.items()):
        if not set(STANDARD_NAMES) <= set(paths):
            continue
        done = standardise(read_scan(paths["T1"]).image)
        images = {}
        for name in STANDARD_NAMES:
            moved = sitk.Cast(read_scan(paths[name]).image, sitk.sitkFloat32)
            if name == "T1":
                moved = done.image
            else:
                moved = sitk.Resample(moved, template, done.transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
                moved = sitk.Mask(moved, done.mask)
            images[name] = model_input(moved, contract)[0, 0].half()
        shares = net.shares(images["T1"].float()[None, None])[0]
        outline = sitk.ReadImage(str(_outline(data, person)))
        outline = sitk.Resample(
            sitk.Cast(outline > 0, sitk.sitkFloat32), template, done.transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32
        )
        lesion = resize(torch.from_numpy(ras_array(outline))[None, None], SIZE, "area")[0, 0]
        shares = shares * (1 - lesion)
        shares[INDEX["lesion"]] += lesion
        found.append(PairedScans(person, images, shares.mul(255).round().to(torch.uint8)))
    return found


def _outline(data: Path, person: str) -> Path:
    with (data / "MANIFEST.csv").open(encoding="utf-8", newline="") as stream:
        for row in csv.DictReader(stream):
            if row["kind"] == "labelmap" and row["subject"] == person:
                return data / row["file"]
    raise FileNotFoundError(f"no outline of the tumor of '{person}'")


def recolored(image: Tensor, rng: np.random.Generator) -> Tensor:
    """A T1 scan under another contrast, (X, Y, Z); 0 stays 0; not normalized again."""
    image = image.float()
    inside = image != 0
    if not inside.any():
        return image
    low, high = (float(x) for x in torch.quantile(image[inside][::7], torch.tensor([0.005, 0.995])))
    chance = rng.random()
    if chance < 0.7:
        curve = np.array(list(CURVES.values())[int(rng.integers(len(CURVES)))]) + rng.normal(0, 0.08, len(KNOTS))
    else:
        curve = rng.uniform(0.05, 1, len(KNOTS))
    grey = ((image - low) / max(high - low, 1e-6)).clamp(0, 1)
    new = np.interp(grey.numpy(), KNOTS, curve)
    return (torch.from_numpy(new.astype(np.float32)) + 1e-3).where(inside, 0.0)


def resized(image: Tensor, rng: np.random.Generator) -> tuple[Tensor, float]:
    """The head turned by a few degrees and larger or smaller by up to 8 % along each axis; and how its volume changed.

    (X, Y, Z), 0 outside.
    """
    image = image.float()
    scale = np.exp(rng.uniform(-0.08, 0.08, 3))
    angles = np.deg2rad([rng.uniform(-10, 10), rng.uniform(-3, 3), rng.uniform(-3, 3)])
    turn = _rotation(angles) @ np.diag(1 / scale)
    half = np.array(image.shape) / 2  # affine_grid counts in halves of the extent, the last axis first
    matrix = (np.diag(1 / half) @ turn @ np.diag(half))[::-1, ::-1].copy()
    shift = np.array([rng.uniform(-2, 2), rng.uniform(-2, 2), 0.0]) / half[::-1]
    theta = torch.from_numpy(np.concatenate([matrix, shift[:, None]], 1)).float()[None]
    grid = F.affine_grid(theta, [1, 1, *image.shape], align_corners=False)
    both = torch.stack([image, (image != 0).float()])[None]
    moved, filled = F.grid_sample(both, grid, align_corners=False)[0]
    return (moved / filled.clamp_min(0.5)).where(filled >= 0.5, 0.0), float(np.prod(scale))


def _rotation(angles: np.ndarray) -> np.ndarray:
    """About the three axes in turn, radians."""
    (cx, cy, cz), (sx, sy, sz) = np.cos(angles), np.sin(angles)
    about_x = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
    about_y = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
    about_z = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
    return about_z @ about_y @ about_x


def renormalised(image: Tensor) -> Tensor:
    """As the network's input is; (X, Y, Z)."""
    return normalise(image[None, None], anatomy_encoder_contract())[0, 0]
