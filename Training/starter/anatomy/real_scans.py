"""Real T1 scans in the mix: half of the IXI persons with DLMUSE's volumes, four with its label maps.

Simulated heads say where everything is but look simulated. From DLMUSE only those structures are taken over that both
define alike: it counts much of the fluid in the sulci as cortex, so cortex, fluid and outside are not told apart here.
The other half of the persons and two label maps are kept for judging; scans of other studies are never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from BrainIACLib.models.anatomy import VOXEL_ML
from BrainIACLib.preprocessing.intensity import model_input, normalise, ras_array, resize
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.scans import read_scan
from BrainIACLib.structures import INDEX, STRUCTURES
from Training.starter.anatomy.contract import anatomy_encoder_contract
from Training.starter.anatomy.heads import GRID, SIZE
from Training.starter.anatomy.reference import dlmuse_volumes, person_of, sides_of, structures_of
from Training.starter.open_scans import OpenScan, open_scans, prepared
from Training.synthesis.acquisition import bias_field, rician_noise, smooth

LABELLED = ("IXI012-HH-1211", "IXI013-HH-1212", "IXI015-HH-1258", "IXI034-HH-1260")
LABELLED_HELD_OUT = ("IXI048-HH-1326", "IXI051-HH-1328")
TAKEN_OVER = (
    *("lateral_ventricles", "third_ventricle", "fourth_ventricle", "thalamus", "caudate", "putamen", "pallidum"),
    *("hippocampus", "amygdala", "cerebellar_cortex", "cerebellar_white_matter", "brainstem"),
)
NOT_TOLD_APART = ("background", "sulcal_csf", "cortex")
BOX = (slice(8, 72), slice(8, 88), slice(0, 80))  # holds every brain, in sizes that the network can halve
LEAST_ML = 0.3  # added to both volumes before their ratio is taken: a third ventricle may have none


@dataclass(frozen=True)
class MeasuredScan:
    """``image``: float16 (X, Y, Z), normalized. ``ml``: (structures,), ``sides``: (2, structures), left and right; NaN
    where nothing is taken over."""

    person: str
    image: Tensor
    ml: Tensor
    sides: Tensor


@dataclass(frozen=True)
class LabelledScan:
    """``shares``: uint8 (structures, X, Y, Z), 255 a whole voxel."""

    person: str
    image: Tensor
    shares: Tensor


def is_trained_on(person: str) -> bool:
    """Every second IXI person by the running number of the scan; those with label maps as listed."""
    return person in LABELLED or (person not in LABELLED_HELD_OUT and int(person.split("-")[2]) % 2 == 0)


def ixi_scans(data: Path) -> list[OpenScan]:
    """The IXI scans, each person once."""
    scans = {person_of(scan.file): scan for scan in open_scans(data) if scan.study == "IXI"}
    return list(scans.values())


def measured_scans(data: Path, cache: Path) -> list[MeasuredScan]:
    """The persons that are trained on by their volumes."""
    volumes, sided, contract, found = dlmuse_volumes(data), sides_of(data), anatomy_encoder_contract(), []
    for scan in ixi_scans(data):
        person = person_of(scan.file)
        if person not in volumes or not is_trained_on(person):
            continue
        ml = torch.full((len(STRUCTURES),), float("nan"))
        sides = torch.full((2, len(STRUCTURES)), float("nan"))
        for name in TAKEN_OVER:
            ml[INDEX[name]] = volumes[person][name]
            if name in sided[person]:
                sides[:, INDEX[name]] = torch.tensor(sided[person][name])
        image = model_input(prepared(scan, cache).image, contract)[0, 0]
        found.append(MeasuredScan(person, image.half(), ml, sides))
    return found


def labelled_scans(data: Path, persons: tuple[str, ...] = LABELLED) -> list[LabelledScan]:
    """The scans with label maps, both on the network's grid."""
    contract, found = anatomy_encoder_contract(), []
    for scan in ixi_scans(data):
        person = person_of(scan.file)
        if person not in persons:
            continue
        done = standardise(read_scan(scan.path).image)
        labels = sitk.ReadImage(str(data / "labelmaps" / f"{person}_DLMUSE_2mm.nii.gz"))
        names = structures_of(sitk.GetArrayFromImage(labels))
        shares = []
        for structure in STRUCTURES:
            part = sitk.GetImageFromArray((names == structure.name).astype(np.float32))
            part.CopyInformation(labels)
            outside = 1.0 if structure.name == "background" else 0.0
            moved = sitk.Resample(part, icbm152().image, done.transform, sitk.sitkLinear, outside, sitk.sitkFloat32)
            shares.append(resize(torch.from_numpy(ras_array(moved))[None, None], SIZE, "area")[0, 0])
        image = model_input(done.image, contract)[0, 0].half()
        found.append(LabelledScan(person, image, torch.stack(shares).mul(255).round().to(torch.uint8)))
    return found


def volume_loss(shares: Tensor, ml: Tensor) -> Tensor:
    """Mean over the structures taken over of |log of predicted volume / DLMUSE's|, (1, structures, X, Y, Z) shares."""
    predicted = shares.sum((0, 2, 3, 4)) * VOXEL_ML
    known = ml.isfinite()
    return ((predicted[known] + LEAST_ML) / (ml[known] + LEAST_ML)).log().abs().mean()


def label_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy (1, structures, X, Y, Z) where ``NOT_TOLD_APART`` are one class, and white matter holds lesions."""
    logarithms = logits.float().log_softmax(1)
    groups = [[INDEX[name] for name in NOT_TOLD_APART], [INDEX["white_matter"], INDEX["lesion"]]]
    groups += [[INDEX[name]] for name in TAKEN_OVER]
    together = torch.stack([logarithms[:, group].logsumexp(1) for group in groups], 1)
    truth = torch.stack([shares[:, group].sum(1) for group in groups], 1)
    return -(truth * together).sum(1).mean()


def augmented(image: Tensor, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """Another scanner's look on the same scan: gain curve, field, blur, noise; normalized again. (X, Y, Z)."""
    image = image.float()
    inside = image != 0
    if not inside.any():
        return image
    low, high = image[inside].min(), image[inside].max()
    look = ((image - low) / (high - low)).clamp(0, 1) ** float(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.5:
        look = smooth(look * inside, tuple(rng.uniform(0, 0.2, 3)))
    if rng.random() < 0.8:
        look = look * bias_field(GRID, rng.uniform(0, 0.2), generator)
    look = rician_noise(look, float(np.exp(rng.uniform(np.log(0.003), np.log(0.06)))), generator)
    return normalise(((look + 1e-3) * inside)[None, None], anatomy_encoder_contract())[0, 0]
