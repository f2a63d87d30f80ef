"""SynthSeg's whole-head label maps (Apache-2.0, Billot et al. 2023) as tissue maps in template pose.

Each map is read once, merged to the tissues of ``tissue_parameters``, completed from geometry with what the labels
lack (dura, falx, tentorium, orbital fat, depth below the skin, distance to the closed brain hull), aligned rigidly with
the ICBM152 brain, and cached as one ``.npz``.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage

from BrainIACLib.preprocessing.intensity import ras_array
from BrainIACLib.resources import resource
from Training.synthesis.tissue_parameters import BRAIN_TISSUES, CLASS

# SynthSeg's numbers -> tissues. 507 (all other soft tissue) and 511 (scalp) are divided further by depth per subject.
TISSUE_OF_LABEL = {
    0: "air",
    **dict.fromkeys((2, 41), "white_matter"),
    **dict.fromkeys((3, 42), "cortex"),
    **dict.fromkeys((4, 5, 14, 15, 43, 44, 72), "ventricular_csf"),
    **dict.fromkeys((7, 46), "cerebellar_white_matter"),
    **dict.fromkeys((8, 47), "cerebellar_cortex"),
    **dict.fromkeys((10, 49), "thalamus"),
    **dict.fromkeys((11, 50), "caudate"),
    **dict.fromkeys((12, 26, 51, 58), "putamen"),
    **dict.fromkeys((13, 52), "pallidum"),
    **dict.fromkeys((16, 28, 60), "brainstem"),
    **dict.fromkeys((17, 18, 53, 54), "hippocampus"),
    24: "sulcal_csf",
    **dict.fromkeys((25, 57), "white_matter_lesion"),
    **dict.fromkeys((30, 62), "small_vessel"),
    **dict.fromkeys((136, 137, 163, 164), "choroid_plexus"),
    **dict.fromkeys((85, 530), "optic_nerve"),
    502: "artery",
    506: "vitreous",
    507: "muscle",
    508: "muscle",
    509: "mucosa",
    511: "skin",
    512: "spinal_cord",
    514: "vein",
    515: "cortical_bone",
    516: "marrow",
}
LEFT_CEREBRUM, RIGHT_CEREBRUM, CEREBELLUM = (2, 3), (41, 42), (7, 8, 46, 47)
HULL_CLOSING_MM = 9
FILE_NAME = re.compile(r"(?:synthseg_)?training_seg_(\d+)\.nii\.gz")
"""SynthSeg's own names, and those with its name before them."""
LABEL_MAPS = "training_seg_*.nii.gz, from https://github.com/BBillot/SynthSeg, folder data/training_label_maps"
"""Which files these are and where they come from, as errors say it."""


@dataclass(frozen=True)
class LabelMap:
    """One whole head at 1 mm. Arrays are (X, Y, Z) in RAS order.

    tissue : uint8, indices into ``tissue_parameters.NAMES``
    hull : int8, signed distance in mm to the brain's closed hull, positive inside
    depth : uint8, mm below the surface of the head (255 in the air outside)
    voxel_of_template : (4, 4), from template RAS millimeters to this array's voxel indices
    """

    name: str
    sha256: str
    tissue: np.ndarray
    hull: np.ndarray
    depth: np.ndarray
    voxel_of_template: np.ndarray


def label_map_files(folder: Path) -> list[Path]:
    """SynthSeg's training label maps in ``folder``, sorted by number; each once, whichever of its names it has."""
    paths = sorted(Path(folder).glob("*.nii.gz"))
    named = {match[1]: path for path in paths if (match := FILE_NAME.fullmatch(path.name))}
    if not named:
        raise FileNotFoundError(f"'{folder}' holds none of SynthSeg's training label maps ({LABEL_MAPS}).")
    return [named[number] for number in sorted(named)]


def label_map_name(path: Path) -> str:
    """``synthseg_training_seg_01``: one name for a head, so that what is held out by name stays held out."""
    match = FILE_NAME.fullmatch(path.name)
    return f"synthseg_training_seg_{match[1]}" if match else path.name.removesuffix(".nii.gz")


def load_label_map(path: Path, cache: Path) -> LabelMap:
    """Read a label map, from ``cache`` if it was prepared before."""
    path = Path(path)
    sha256 = hashlib.sha256(path.read_bytes()).hexdigest()
    stored = Path(cache) / f"{label_map_name(path)}_{sha256[:12]}.npz"
    if not stored.is_file():
        stored.parent.mkdir(parents=True, exist_ok=True)
        np.savez(stored, **_prepare(path))
    with np.load(stored) as arrays:
        return LabelMap(name=label_map_name(path), sha256=sha256, **arrays)


def _prepare(path: Path) -> dict[str, np.ndarray]:
    image, labels, tissue, head, box = _read(path)
    brain = np.isin(tissue, (*BRAIN_TISSUES, CLASS["white_matter_lesion"]))

    near = ndimage.distance_transform_edt(~brain) <= HULL_CLOSING_MM
    inside = ndimage.distance_transform_edt(near)
    outside = ndimage.distance_transform_edt(~near)
    hull = np.where(near, inside - 0.5, 0.5 - outside) - HULL_CLOSING_MM
    depth = ndimage.distance_transform_edt(head)

    csf = tissue == CLASS["sulcal_csf"]
    bone = np.isin(tissue, [CLASS["cortical_bone"], CLASS["marrow"], CLASS["vein"]])
    to_left, to_right, to_cerebellum = (
        ndimage.distance_transform_edt(~np.isin(labels, group)) for group in (LEFT_CEREBRUM, RIGHT_CEREBRUM, CEREBELLUM)
    )
    falx = csf & (np.abs(to_left - to_right) < 0.8) & (to_left < 14) & (to_cerebellum > 6)
    to_cerebrum = np.minimum(to_left, to_right)
    tentorium = csf & (np.abs(to_cerebrum - to_cerebellum) < 0.8) & (to_cerebrum < 8)
    tissue[falx | tentorium | (csf & (ndimage.distance_transform_edt(~bone) <= 1.5))] = CLASS["dura"]
    tissue[csf & _sinuses(brain, hull, to_left, to_right, to_cerebellum)] = CLASS["vein"]
    to_eye = ndimage.distance_transform_edt(tissue != CLASS["vitreous"])
    tissue[(labels == 507) & (to_eye < 24) & (depth > 5)] = CLASS["fat"]

    origin = np.array(image.TransformIndexToPhysicalPoint([int(s.start) for s in box])) * (-1, -1, 1)  # LPS -> RAS
    return {
        "tissue": tissue,
        "hull": np.clip(np.rint(hull), -127, 127).astype(np.int8),
        "depth": np.where(head, np.clip(depth, 0, 254), 255).astype(np.uint8),
        "voxel_of_template": _align(tissue, origin),
    }


def read_labels(path: Path) -> np.ndarray:
    """SynthSeg's own numbers, uint16, voxel by voxel as in the arrays of ``load_label_map``."""
    return _read(path)[1]


def _read(path: Path) -> tuple[sitk.Image, np.ndarray, np.ndarray, np.ndarray, tuple[slice, ...]]:
    """The image in RAS order; labels, tissues and head, cut to the box of the head; and that box."""
    image = sitk.DICOMOrient(sitk.ReadImage(str(path)), "RAS")
    labels = ras_array(image).astype(np.uint16)
    lookup = np.zeros(max(TISSUE_OF_LABEL) + 1, np.uint8)
    for label, name in TISSUE_OF_LABEL.items():
        lookup[label] = CLASS[name]
    tissue = lookup[labels]
    head = ndimage.binary_fill_holes(tissue > 0)
    box = tuple(slice(max(0, s.start - 2), s.stop + 2) for s in ndimage.find_objects(head.astype(np.uint8))[0])
    return image, labels[box], tissue[box], head[box], box


def _sinuses(brain, hull, to_left, to_right, to_cerebellum) -> np.ndarray:
    """The sagittal and transverse sinuses, which the labels show in part only: where the falx and the tentorium meet
    the skull, 6 mm deep and about 5 mm wide."""
    to_cerebrum = np.minimum(to_left, to_right)
    at_skull = (hull > -6) & (hull < 1.5)
    _, middle_y, middle_z = (float(indices.mean()) for indices in np.nonzero(brain))
    y, z = np.arange(brain.shape[1])[:, None], np.arange(brain.shape[2])
    sagittal = (np.abs(to_left - to_right) < 5) & (to_left < 12) & (to_cerebellum > 4)
    sagittal &= (z > middle_z - 5) | (y < middle_y - 45)
    transverse = (np.abs(to_cerebrum - to_cerebellum) < 4) & (to_cerebrum < 9) & (y < middle_y - 35)
    return at_skull & (sagittal | transverse)


def _align(tissue: np.ndarray, origin: np.ndarray) -> np.ndarray:
    """(4, 4) from template RAS mm to voxels: rigid fit of a T1-like rendering of the brain to the ICBM152 brain."""
    brightness = np.zeros(256, np.float32)
    brightness[list(BRAIN_TISSUES)] = 0.65
    for name, value in (("white_matter", 1), ("cerebellar_white_matter", 0.95), ("brainstem", 0.9), ("thalamus", 0.85)):
        brightness[CLASS[name]] = value
    brightness[CLASS["ventricular_csf"]] = 0.2
    moving = sitk.GetImageFromArray(brightness[tissue].transpose(2, 1, 0))
    moving.SetOrigin((origin * (-1, -1, 1)).tolist())
    moving.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))
    fixed = sitk.ReadImage(str(resource("Atlas", "icbm152_2009a_sym_t1_brain.nii.gz")), sitk.sitkFloat32)
    fixed, moving = (sitk.BinShrink(image, (3, 3, 3)) for image in (fixed, moving))
    start = sitk.CenteredTransformInitializer(
        fixed, moving, sitk.Euler3DTransform(), sitk.CenteredTransformInitializerFilter.MOMENTS
    )
    method = sitk.ImageRegistrationMethod()
    method.SetGlobalDefaultNumberOfThreads(1)
    method.SetMetricAsMattesMutualInformation(32)
    method.SetOptimizerAsRegularStepGradientDescent(2.0, 1e-3, 200)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInterpolator(sitk.sitkLinear)
    method.SetInitialTransform(start, inPlace=False)
    transform = method.Execute(fixed, moving)

    def voxel(point: tuple[float, float, float]) -> np.ndarray:
        lps = transform.TransformPoint([-point[0], -point[1], point[2]])
        return np.array([-lps[0], -lps[1], lps[2]]) - origin

    zero = voxel((0, 0, 0))
    matrix = np.eye(4)
    matrix[:3, 3] = zero
    matrix[:3, :3] = np.column_stack([voxel(tuple(axis)) - zero for axis in np.eye(3)])
    return matrix
