"""A label map with the structures that are measured, and the distance to its ventricles."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy import ndimage

from BrainIACLib.structures import INDEX
from Training.synthesis.label_maps import LabelMap, load_label_map, read_labels

STRIDE = 3  # of the distance map, in voxels of 1 mm
STRUCTURE_OF_LABEL = {
    **dict.fromkeys((4, 5, 43, 44, 72, 136, 137, 163, 164), "lateral_ventricles"),
    14: "third_ventricle",
    15: "fourth_ventricle",
    24: "sulcal_csf",
    **dict.fromkeys((3, 42), "cortex"),
    **dict.fromkeys((2, 41, 25, 57, 28, 60, 85), "white_matter"),
    **dict.fromkeys((10, 49), "thalamus"),
    **dict.fromkeys((11, 50), "caudate"),
    **dict.fromkeys((12, 26, 51, 58), "putamen"),
    **dict.fromkeys((13, 52), "pallidum"),
    **dict.fromkeys((17, 53), "hippocampus"),
    **dict.fromkeys((18, 54), "amygdala"),
    **dict.fromkeys((8, 47), "cerebellar_cortex"),
    **dict.fromkeys((7, 46), "cerebellar_white_matter"),
    16: "brainstem",
}


@dataclass(frozen=True)
class StructuredLabelMap(LabelMap):
    """structure : uint8 (X, Y, Z), indices into STRUCTURES. to_ventricles : float16, every ``STRIDE``-th voxel, signed
    mm to the lateral and third ventricles, negative inside."""

    structure: np.ndarray
    to_ventricles: np.ndarray


def with_structures(path: Path, cache: Path) -> StructuredLabelMap:
    """Read a label map and its structures, from ``cache`` if that was done before."""
    label_map = load_label_map(path, cache)
    stored = Path(cache) / f"{label_map.name}_{label_map.sha256[:12]}_structures.npz"
    if not stored.is_file():
        labels = read_labels(path)
        lookup = np.zeros(int(labels.max()) + 1, np.uint8)
        for label, name in STRUCTURE_OF_LABEL.items():
            if label < len(lookup):
                lookup[label] = INDEX[name]
        structure = lookup[labels]
        inside = np.isin(structure, [INDEX["lateral_ventricles"], INDEX["third_ventricle"]])
        distance = ndimage.distance_transform_edt(~inside) - ndimage.distance_transform_edt(inside)
        coarse = ndimage.gaussian_filter(distance.astype(np.float32), 1.5)[::STRIDE, ::STRIDE, ::STRIDE]
        np.savez(stored, structure=structure, to_ventricles=coarse.astype(np.float16))
    fields = {field.name: getattr(label_map, field.name) for field in dataclasses.fields(label_map)}
    with np.load(stored) as arrays:
        return StructuredLabelMap(**fields, **arrays)
