"""Heads of known structure: drawn once at 1.2 mm, kept on disk, and rendered under ever new contrasts from there.

A head is what takes time (seconds); a rendering takes a tenth of that. Which head has which number depends on the seed
alone, so a second process may draw ahead of the training and changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.publishing import replacing
from BrainIACLib.structures import INDEX, STRUCTURES
from Training.starter.anatomy.growth import vary_structures, ventricle_displacement
from Training.starter.anatomy.labelled import StructuredLabelMap
from Training.starter.image_formation import draw_subject
from Training.synthesis.anatomy import Anatomy, build_anatomy, draw_tumours
from Training.synthesis.template_grid import template_grid
from Training.synthesis.tissue_parameters import CLASS, NAMES

SIZE = (80, 96, 80)
GRID = template_grid(SIZE)  # 2.46 x 2.43 x 2.36 mm
FINE = template_grid(tuple(2 * n for n in SIZE))
RIM_MM = 1.0  # fluid this far outside the closed hull still counts as intracranial
_LESIONS = ("white_matter_lesion", "oedema", "necrosis", "haemorrhage", "cavity")
_STRUCTURE_OF_TISSUE = {  # where the tissue alone decides; -1: where the label map does
    **dict.fromkeys(NAMES, INDEX["background"]),
    **{name: INDEX["lesion"] for name in NAMES if name in _LESIONS or name.startswith("tumour")},
    **{name: INDEX[name] for name in ("thalamus", "caudate", "putamen", "pallidum", "brainstem")},
    **{name: INDEX[name] for name in ("cortex", "white_matter", "cerebellar_cortex", "hippocampus")},
    "cerebellar_white_matter": INDEX["cerebellar_white_matter"],
    "ventricular_csf": INDEX["lateral_ventricles"],
    "choroid_plexus": INDEX["lateral_ventricles"],
    "sulcal_csf": INDEX["sulcal_csf"],
}


@dataclass(frozen=True)
class Head:
    """tissue : uint8 at 1.2 mm. shares : uint8 (structures, X, Y, Z) at 2.4 mm, eighths of a voxel. hull : int8 at
    2.5 mm, half mm to the closed hull, positive inside. maturity : 1 adult, 0 newborn."""

    tissue: Tensor
    shares: Tensor
    hull: Tensor
    maturity: float


def draw_head(seed: int, number: int, label_maps: list[StructuredLabelMap]) -> Head:
    """Head ``number`` of a seed; the same arguments give the same head."""
    rng = np.random.default_rng((seed, number))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    label_map = label_maps[number % len(label_maps)]
    pose, maturity = draw_subject(rng)
    tumours = draw_tumours(rng) if maturity > 0.7 and rng.random() < 0.35 else []
    displacement = ventricle_displacement(label_map, FINE, pose, rng, generator)
    anatomy = build_anatomy(label_map, FINE, pose, tumours, rng, generator, displacement)
    vary_structures(anatomy.tissue, FINE, rng, generator)
    structure = _structures(anatomy, label_map)
    shares = torch.stack([_eighths(structure == index) for index in range(len(STRUCTURES))])
    hull = F.avg_pool3d(anatomy.hull[None, None], 2)[0, 0]
    return Head(anatomy.tissue, shares, (2 * hull).round().clamp(-127, 127).to(torch.int8), maturity)


def _structures(anatomy: Anatomy, label_map: StructuredLabelMap) -> Tensor:
    """uint8 at 1.2 mm: by tissue; ventricles and amygdala are told apart, and vessels placed, by the label map."""
    lookup = torch.zeros(256, dtype=torch.uint8)
    for name, index in _STRUCTURE_OF_TISSUE.items():
        lookup[CLASS[name]] = index
    tissue = anatomy.tissue
    structure = lookup[tissue.int()]
    labelled = torch.from_numpy(label_map.structure).reshape(-1)[anatomy.voxel.clamp_min(0)]
    labelled.masked_fill_(anatomy.voxel < 0, 0)
    fluid = tissue == CLASS["ventricular_csf"]
    for name in ("third_ventricle", "fourth_ventricle"):
        structure[fluid & (labelled == INDEX[name])] = INDEX[name]
    structure[(tissue == CLASS["hippocampus"]) & (labelled == INDEX["amygdala"])] = INDEX["amygdala"]
    vessel = tissue == CLASS["small_vessel"]
    structure[vessel] = labelled[vessel]
    inside = anatomy.hull > 0
    structure[inside & (structure == INDEX["background"])] = INDEX["sulcal_csf"]  # dura, falx, veins
    structure[(structure == INDEX["sulcal_csf"]) & (anatomy.hull < -RIM_MM)] = INDEX["background"]
    return structure


def _eighths(inside: Tensor) -> Tensor:
    """uint8 (X/2, Y/2, Z/2): how many voxels of each 2 x 2 x 2 block."""
    x, y, z = (n // 2 for n in inside.shape)
    return inside.view(torch.uint8).reshape(x, 2, y, 2, z, 2).sum((1, 3, 5), dtype=torch.uint8)


class HeadStore:
    """The heads of one seed in a folder; those that are missing are drawn and written whole."""

    def __init__(self, folder: Path, seed: int, label_maps: list[StructuredLabelMap]):
        self._folder, self._seed, self._label_maps = Path(folder), seed, label_maps
        self._folder.mkdir(parents=True, exist_ok=True)

    def path(self, number: int) -> Path:
        """Where head ``number`` lies."""
        return self._folder / f"head{self._seed}_{number:05d}.npz"

    def get(self, number: int) -> Head:
        """Head ``number``, read or drawn."""
        path = self.path(number)
        if not path.is_file():
            head = draw_head(self._seed, number, self._label_maps)
            with replacing(path, ".npz") as partial:
                np.savez(
                    partial,
                    tissue=head.tissue.numpy(),
                    shares=head.shares.numpy(),
                    hull=head.hull.numpy(),
                    maturity=head.maturity,
                )
        with np.load(path) as arrays:
            tensors = {name: torch.from_numpy(arrays[name]) for name in ("tissue", "shares", "hull")}
            return Head(**tensors, maturity=float(arrays["maturity"]))
