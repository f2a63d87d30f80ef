"""The open real scans in the mix: on the model grid, and each time they are drawn as another scanner might show them.

Simulated heads know every contrast and lesion that was thought of; real ones know what was not. Few persons have more
than a T1, so labels are drawn first, then the study, then the scan. Whole heads stand here twice: brain extracted, and
with extraction switched off.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import nibabel as nib
import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.preprocessing.intensity import normalise, ras_array, resize
from BrainIACLib.scans import read_scan
from BrainIACLib.sequences import DWI_B0, NOT_A_HEAD, STANDARD_NAMES
from BrainIACLib.trust.echo_planar import in_plane_mm
from Training.starter.image_formation import INPUT_SIZE, MODEL_GRID
from Training.starter.kinds.samples import DRAWN, LABELS, UNNAMED
from Training.starter.open_scans import OpenScan, all_prepared, open_scans, prepared
from Training.starter.public_series import LEARNED, repository_of, table
from Training.synthesis.acquisition import bias_field, rician_noise, smooth, thick_slices
from Training.synthesis.anatomy import Pose, pose_matrix, smooth_noise

FOLDERS = ("scans", "multiseq", "dicom", "age_ixi", "bad", "atlas")
OF_NO_SEQUENCE = {  # rows of the manifest that name no sequence, and what they are
    "sub-01_ses-01_dwi_desc-b0_dwi.nii.gz": DWI_B0.name,
    "spine_T1.nii.gz": NOT_A_HEAD.name,
    "spine_T2.nii.gz": NOT_A_HEAD.name,
    "mni_icbm152_gm_sym_09a_1mm.nii.gz": NOT_A_HEAD.name,
    "mni_icbm152_wm_sym_09a_1mm.nii.gz": NOT_A_HEAD.name,
}
LEFT_OUT = ("BrainIAC_subpixar009", "Template-Month0")  # over-stripped; a newborn: they are judged, not learned
NEVER_LEARNED = "never learned"
NIIVUE = "niivue"  # the study of a b0 image of bad inputs: test data of the same makers as those of list 1
FOLDS = {  # who is left out together; every other study is in the last
    "gliomas": ("BraTS2021", "UPENN-GBM"),
    "multiple sclerosis": ("openms cross-sectional", "openms longitudinal"),
    "public series, list 0": tuple(sorted({repository_of(row) for row in table("0")})),
    "public series, list 1": (*sorted({repository_of(row) for row in table("1")}), NIIVUE),
    "all others": (),
}
UNSEEN = ("IXI", "ds002748")  # of the shipped net too: IXI's license (share alike) would bind the weights
SHARES = dict.fromkeys(STANDARD_NAMES, 0.13)  # of the labels; the others share what is left


@dataclass(frozen=True)
class RealScan:
    """``image``: float16 (X, Y, Z) on the model grid, 0 outside, not normalized. ``mode``: of the brain extraction.

    ``voxel_mm``: in the plane of the scan as it was acquired.
    """

    file: str
    subject: str
    study: str
    label: str
    mode: str
    image: Tensor
    voxel_mm: float = 1.0


def fold_of(study: str) -> str:
    """Which of ``FOLDS`` a study is left out with, or ``NEVER_LEARNED``."""
    if study in UNSEEN:
        return NEVER_LEARNED
    return next((name for name, studies in FOLDS.items() if study in studies), list(FOLDS)[-1])


def real_scans(data: Path, cache: Path, public: Path | None = None) -> list[RealScan]:
    """All that can be standardized, from MANIFEST.csv in ``data`` and, if given, the public series in ``public``."""
    scans = [scan for scan in open_scans(data, FOLDERS) if _label(scan) and _is_taken(scan)]
    scans += public_scans(public) if public else []
    found = []
    for scan in all_prepared(scans, cache):
        both = scan.whole_head and not scan.file.startswith("age_ixi")
        for mode in ("auto", "none") if both else ("auto",):
            array = torch.from_numpy(ras_array(prepared(scan, cache, mode).image))[None, None]
            image = resize(array, INPUT_SIZE, "area-inside")[0, 0].half()
            label = _label(scan) or UNNAMED
            found.append(RealScan(scan.file, scan.subject, scan.study, label, mode, image, voxel_mm_of(scan)))
    return found


def voxel_mm_of(scan: OpenScan) -> float:
    """The voxel edge in the plane; of a NIfTI file from its header alone."""
    if scan.path.name.endswith((".nii", ".nii.gz")):
        return float(sorted(nib.load(scan.path).header.get_zooms()[:3])[1])
    return in_plane_mm(read_scan(scan.path).image)


def public_scans(folder: Path) -> list[OpenScan]:
    """The public series in ``folder``, as ``public_series`` wrote them; the study is the repository."""
    repositories = {row["file"]: repository_of(row) for row in table(*LEARNED)}
    return [
        replace(scan, study=repositories[scan.file.split("/")[-1]], whole_head=False)  # brain extraction auto alone
        for scan in open_scans(folder, ("series",))
    ]


def _is_taken(scan: OpenScan) -> bool:
    """For judging every second IXI person; of atlas and bad inputs what is no sequence; not what ``LEFT_OUT`` names."""
    folder, name = scan.file.split("/")
    if folder == "age_ixi":
        return int(name.split("-")[2].split("_")[0]) % 2 == 0
    if folder in ("bad", "atlas"):
        return name in OF_NO_SEQUENCE
    return not any(part in name for part in LEFT_OUT)


def _label(scan: OpenScan) -> str:
    return scan.sequence if scan.sequence in LABELS else OF_NO_SEQUENCE.get(scan.file.split("/")[-1], "")


class RealDraws:
    """Draws scans by label, study and person, and changes each anew."""

    def __init__(self, scans: list[RealScan], contract: EncoderContract):
        self._contract = contract
        self._by: dict[str, dict[str, list[RealScan]]] = {}
        for scan in scans:
            self._by.setdefault(scan.label, {}).setdefault(scan.study, []).append(scan)
        self._labels = sorted(self._by)
        rest = [label for label in self._labels if label not in SHARES]
        left = 1 - sum(SHARES.get(label, 0.0) for label in self._labels)
        shares = np.array([SHARES.get(label, left / max(1, len(rest))) for label in self._labels])
        self._shares = shares / shares.sum()

    def draw(self, count: int, rng: np.random.Generator, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """float32 (count, 1, X, Y, Z), normalized, and int64 (count,)."""
        volumes, labels = [], []
        for label in rng.choice(self._labels, count, p=self._shares):
            studies = self._by[str(label)]
            scans = studies[list(studies)[int(rng.integers(len(studies)))]]
            scan = scans[int(rng.integers(len(scans)))]
            image = scan.image.float()
            image = image.flip(0) if rng.random() < 0.5 else image
            volumes.append(scanned_anew(image, str(label), rng, generator))
            labels.append(DRAWN.index(str(label)))
        together = normalise(torch.stack(volumes)[:, None], self._contract)
        gains = torch.from_numpy(np.exp(rng.normal(0, 0.15, (count, 1, 1, 1, 1)))).float()
        return together * gains, torch.tensor(labels)


def scanned_anew(image: Tensor, label: str, rng: np.random.Generator, generator: torch.Generator) -> Tensor:
    """(X, Y, Z): posed, warped, sliced, blurred, of another gain, field, noise and view, at times with a lesion."""
    image, inside = _moved(image, rng, generator)
    if not inside.any():
        return image
    top = torch.quantile(image[inside][:: max(1, int(inside.sum()) // 20000)], 0.995).clamp_min(1e-6)
    look = (image / top).clamp(0, 1.5)
    if rng.random() < 0.3:
        look = _with_lesion(look, inside, label, rng, generator)
    if rng.random() < 0.35:
        look = _over(thick_slices, look, inside, int(rng.choice(3, p=[0.2, 0.2, 0.6])), int(rng.integers(2, 4)))
    if rng.random() < 0.5:
        look = _over(smooth, look, inside, tuple(rng.uniform(0, 0.3, 3)))
    look = look.clamp_min(0) ** float(np.exp(rng.normal(0, 0.3)))
    if rng.random() < 0.3:
        look = look.clamp(max=float(rng.uniform(0.55, 1.0)))
    if rng.random() < 0.8:
        look = look * bias_field(MODEL_GRID, rng.uniform(0, 0.3), generator)
    look = rician_noise(look, float(np.exp(rng.uniform(np.log(0.002), np.log(0.06)))), generator)
    if rng.random() < 0.25:
        inside = inside & _slab(rng)
    return (look + 1e-3) * inside


def _over(change, look: Tensor, inside: Tensor, *arguments) -> Tensor:
    """A smoothing ``change`` that averages over the voxels inside only."""
    filled = change(inside.float(), *arguments)
    return (change(look * inside, *arguments) / filled.clamp_min(0.05)).where(inside, 0.0)


def _moved(image: Tensor, rng: np.random.Generator, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    spread = 2.5 if rng.random() < 0.8 else 9.0
    pose = Pose(
        tuple(rng.normal(0, spread, 3)),
        tuple(rng.normal(0, spread, 3)),
        tuple(np.clip(rng.normal(0, 0.03) + 1 + rng.normal(0, 0.03, 3), 0.8, 1.2)),
    )
    matrix = torch.from_numpy(pose_matrix(pose)).float()
    axes = MODEL_GRID.axes()
    where = []
    for row in range(3):
        at = matrix[row, 0] * axes[0] + matrix[row, 1] * axes[1] + (matrix[row, 2] * axes[2] + matrix[row, 3])
        at = at + smooth_noise(MODEL_GRID, 45, generator) * float(rng.uniform(0, 3))
        extent = MODEL_GRID.spacing[row] * (MODEL_GRID.size[row] - 1)
        where.append((at - MODEL_GRID.origin[row]) / extent * 2 - 1)
    grid = torch.stack([where[2], where[1], where[0]], dim=-1)[None]
    both = torch.stack([image, (image != 0).float()])[None]
    moved, filled = F.grid_sample(both, grid, align_corners=True)[0]
    inside = filled >= rng.uniform(0.4, 0.75)
    return (moved / filled.clamp_min(0.1)).where(inside, 0.0), inside


def _slab(rng: np.random.Generator) -> Tensor:
    x, y, z = MODEL_GRID.axes()
    normal = rng.normal(0, 0.12, 3)
    normal[int(rng.choice(3, p=[0.15, 0.15, 0.7]))] += 1
    along = float(normal[0]) * x + float(normal[1]) * (y + 18) + float(normal[2]) * (z - 15)
    return (along - rng.normal(0, 15)).abs() < rng.uniform(28, 75)


def _with_lesion(look: Tensor, inside: Tensor, label: str, rng: np.random.Generator, generator: torch.Generator):
    """A tumor or stroke painted over: core, rim and surroundings as the sequence would show them."""
    if label not in STANDARD_NAMES:
        return look
    places = inside.nonzero()
    middle = places[int(rng.integers(len(places)))]
    radius = float(np.exp(rng.uniform(np.log(5), np.log(30))))
    distance = torch.zeros(())
    for axis, index, stretch in zip(MODEL_GRID.axes(), middle.tolist(), rng.uniform(0.75, 1.25, 3), strict=True):
        distance = distance + ((axis - axis.flatten()[index]) * float(stretch)) ** 2
    distance = distance.sqrt() + smooth_noise(MODEL_GRID, max(9.0, 0.7 * radius), generator) * (0.22 * radius)
    usual = float(look[inside].median())
    dark, bright = usual * rng.uniform(0.25, 0.8), min(1.4, usual * rng.uniform(1.25, 2.2))
    core, rim, halo = {
        "T1": (dark, dark * rng.uniform(0.9, 1.4), usual * rng.uniform(0.7, 1.0)),
        "T1CE": (dark, usual * rng.uniform(1.2, 2.0), usual * rng.uniform(0.7, 1.0)),
        "T2": (bright, usual * rng.uniform(0.8, 1.6), usual * rng.uniform(1.1, 1.8)),
        "FLAIR": (rng.choice([dark, bright]), usual * rng.uniform(1.0, 1.6), usual * rng.uniform(1.15, 1.8)),
    }[label]
    reach, width = radius + rng.uniform(0, 20), rng.uniform(2, 7)
    painted = torch.where(
        distance < radius - width, float(core), torch.where(distance < radius, float(rim), float(halo))
    )
    weight = ((reach - distance) / 4).clamp(0, 1) * float(rng.uniform(0.6, 1.0))
    return (look + weight * (painted - look)).where(inside, 0.0)
