"""A simulated four-sequence study of one head with an enhancing tumor, as a scanner would store it.

    python -m Training.synthesis.sample_study --labelmaps ../shared/data/labelmaps --out Resources/SampleData

Whole head, oblique, a different grid per sequence, thick slices for T2 and FLAIR. The label map is one that the starter
model was not trained on.
"""

from __future__ import annotations

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from Training.command import run
from Training.synthesis.acquisition import ScannerGrid, acquire, bias_field, rician_noise, signal_image
from Training.synthesis.anatomy import Anatomy, Grid, Pose, Tumour, build_anatomy, pose_matrix, smooth_noise
from Training.synthesis.label_maps import load_label_map
from Training.synthesis.sequences import draw_contrast
from Training.synthesis.tissue_parameters import draw_tissues

LABEL_MAP = "synthseg_training_seg_11.nii.gz"
SEED = 2
HEAD_GRID = Grid(size=(200, 250, 262), spacing=(1.0, 1.0, 1.0), origin=(-100.0, -136.0, -140.0))
TUMOUR = Tumour(kind="ring", radius=15, rim=4, halo=14)
SAGITTAL = ((0, -1, 0), (0, 0, -1), (1, 0, 0))  # each row one voxel axis in RAS: anterior to posterior, down, right
AXIAL = ((-1, 0, 0), (0, -1, 0), (0, 0, 1))

README = """# Simulated sample study

One head, four sequences, **simulated** (no person was scanned): a label map of SynthSeg's training set
({label_map}, Apache-2.0, Billot et al. 2023, github.com/BBillot/SynthSeg) was given a tumor with an enhancing rim
and edema, and rendered with MR signal equations by `python -m Training.synthesis.sample_study` (seed {seed}).

| file | what |
|---|---|
{rows}

Whole head, oblique, anisotropic, each on its own grid, as clinical scans are. License: Apache-2.0.
"""


@dataclass(frozen=True)
class Scanning:
    """One series: sequence, the seed of its protocol, orientation, tilt in degrees, voxel size in mm and size."""

    sequence: str
    seed: int
    orientation: tuple[tuple[int, int, int], ...]
    tilt: tuple[float, float, float]
    spacing: tuple[float, float, float]
    size: tuple[int, int, int]
    centre: tuple[float, float, float]


STUDY = (
    Scanning("T1", 7, SAGITTAL, (6, 5, -7), (1.1, 1.1, 1.2), (220, 220, 144), (0, -14, 2)),
    Scanning("T2", 5, AXIAL, (-14, 4, 6), (0.9, 0.9, 3.0), (208, 256, 48), (0, -16, 18)),
    Scanning("FLAIR", 2, AXIAL, (-11, -5, 3), (0.95, 0.95, 4.0), (196, 240, 36), (0, -16, 18)),
    Scanning("T1CE", 1, SAGITTAL, (-9, -4, 8), (1.1, 1.1, 1.2), (220, 220, 144), (2, -14, 0)),
)


def simulate(anatomy: Anatomy, scanning: Scanning, sigma: float = 0.02) -> sitk.Image:
    """One series as uint8: 80 is the brighter of white matter and cortex; the air outside the head is 0."""
    rng = np.random.default_rng(scanning.seed)
    generator = torch.Generator().manual_seed(scanning.seed)
    contrast = draw_contrast(scanning.sequence, draw_tissues(rng), rng)
    image = signal_image(anatomy, contrast) * bias_field(anatomy.grid, 0.15, generator)
    image *= 1 + 0.03 * smooth_noise(anatomy.grid, 6, generator)
    axes = pose_matrix(Pose(rotation=scanning.tilt))[:3, :3] @ np.array(scanning.orientation, float).T
    grid = ScannerGrid(scanning.size, scanning.spacing, tuple(map(tuple, axes)), scanning.centre)
    scanned = acquire(image, anatomy.grid, grid)
    head = acquire((anatomy.tissue > 0).float(), anatomy.grid, grid)
    noisy = rician_noise(torch.from_numpy(sitk.GetArrayFromImage(scanned)), sigma, generator).numpy()
    noisy[sitk.GetArrayViewFromImage(head) < 0.3] = 0
    stored = sitk.GetImageFromArray((2 * np.rint(np.clip(noisy * 80, 0, 254) / 2)).astype(np.uint8))
    stored.CopyInformation(scanned)
    return stored


def draw_head(labelmaps: Path, cache: Path) -> Anatomy:
    """The head of the study: held-out label map, slight tilt, one ring-shaped tumor."""
    rng = np.random.default_rng(SEED)
    generator = torch.Generator().manual_seed(SEED)
    pose = Pose(rotation=(4, -3, 5), shift=(2, 0, -3), warp_mm=2.0)
    return build_anatomy(load_label_map(labelmaps / LABEL_MAP, cache), HEAD_GRID, pose, [TUMOUR], rng, generator)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labelmaps", type=Path, required=True, help="folder of SynthSeg's training label maps")
    parser.add_argument("--out", type=Path, required=True, help="folder for the four images and their README")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as cache:
        anatomy = draw_head(arguments.labelmaps, Path(cache))
    rows = []
    for scanning in STUDY:
        name = f"simulated_{scanning.sequence}.nii.gz"
        sitk.WriteImage(simulate(anatomy, scanning), str(arguments.out / name), True, 9)
        voxel = " x ".join(f"{step:g}" for step in scanning.spacing)
        plane = "sagittal" if scanning.orientation == SAGITTAL else "axial"
        rows.append(f"| `{name}` | {scanning.sequence}, oblique {plane}, {voxel} mm |")
    text = README.format(label_map=LABEL_MAP, seed=SEED, rows="\n".join(rows))
    (arguments.out / "README.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(run("sample_study", main))
