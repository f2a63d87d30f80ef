"""The open scans of MANIFEST.csv, standardized once and kept: what every probe and evaluation reads.

A study is what a model must not be judged within: one source of scans, mostly one scanner and protocol.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import BrainIACError
from BrainIACLib.preprocessing.intensity import image_with_array, ras_array
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.publishing import replacing
from BrainIACLib.scans import read_scan

STUDY_OF_PREFIX = {
    "IXI": "IXI",
    "ds002748": "ds002748",
    "ds000002": "ds000002",
    "openms_cs": "openms cross-sectional",
    "openms_long": "openms longitudinal",
    "BraTS2021": "BraTS2021",
    "BraTS-GLI": "UPENN-GBM",
    "BrainIAC_sub": "ds000228",
}
BRIGHTEST = 1000.0  # the 99.5th percentile in the kept file, so that half precision suffices


@dataclass(frozen=True)
class OpenScan:
    """One row of the manifest. ``age``: years or None; ``path``: the file; ``note``: also a study's group."""

    path: Path
    file: str
    kind: str
    sequence: str
    subject: str
    study: str
    age: float | None
    sex: str
    whole_head: bool
    sha256: str
    note: str = ""


def open_scans(
    data: Path, folders: tuple[str, ...] = ("age_ixi", "age", "scans", "multiseq", "dicom")
) -> list[OpenScan]:
    """The scans of some folders, in the order of the manifest; each file's content once."""
    with (data / "MANIFEST.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"].split("/")[0] in folders]
    scans: dict[str, OpenScan] = {}
    for row in rows:
        if row["kind"] == "labelmap":
            continue
        name = row["file"].split("/")[-1]
        study = next((study for prefix, study in STUDY_OF_PREFIX.items() if name.startswith(prefix)), row["subject"])
        scans.setdefault(
            row["sha256"],
            OpenScan(
                path=data / row["file"],
                file=row["file"],
                kind=row["kind"],
                sequence=row["sequence"],
                subject=row["subject"],
                study=study,
                age=float(row["age_years"]) if row["age_years"] else None,
                sex=row["sex"],
                whole_head=row["skull_stripped"] != "yes",
                sha256=row["sha256"],
                note=row.get("note") or "",
            ),
        )
    return list(scans.values())


@dataclass(frozen=True)
class Prepared:
    """image : float32, template grid, 0 outside the brain, scaled to a 99.5th percentile of 1000."""

    image: sitk.Image
    mask_ml: float
    warnings: tuple[str, ...]


def prepared(scan: OpenScan, cache: Path, brain_extraction: str = "auto") -> Prepared:
    """The standardized scan, from ``cache`` if it was made before; empty the cache when preprocessing changes.

    Raises
    ------
    BrainIACError : the scan cannot be read or standardized.
    """
    stored = stored_at(scan, cache, brain_extraction)
    if not stored.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        done = standardise(read_scan(scan.path).image, PreprocessingOptions(brain_extraction=brain_extraction))
        image, mask = ras_array(done.image), ras_array(done.mask) > 0
        scale = BRIGHTEST / max(float(np.percentile(image[mask], 99.5)), 1e-6)
        with replacing(stored, ".npz") as partial:
            np.savez(
                partial,
                image=np.clip(image * scale, -60000, 60000).astype(np.float16),
                mask=np.packbits(mask),
                shape=mask.shape,
                warnings=json.dumps(done.warnings),
            )
    with np.load(stored) as kept:
        array = kept["image"].astype(np.float32)
        inside = int(np.unpackbits(kept["mask"], count=int(np.prod(kept["shape"]))).sum())
        warnings = tuple(json.loads(str(kept["warnings"])))
    return Prepared(image_with_array(array, icbm152().image), inside / 1000, warnings)


def all_prepared(scans: list[OpenScan], cache: Path) -> list[OpenScan]:
    """Those that can be standardized, which they are then; the others are named."""
    ready = []
    for scan in scans:
        try:
            if not stored_at(scan, cache).is_file():
                prepared(scan, cache)
            ready.append(scan)
        except BrainIACError as error:
            print(f"{scan.file}: {error}", flush=True)
    return ready


def stored_at(scan: OpenScan, cache: Path, brain_extraction: str = "auto") -> Path:
    """Where a standardized scan is kept."""
    return cache / f"{scan.sha256[:20]}-{brain_extraction}.npz"


def manifest_sha256(data: Path) -> str:
    """Which version of the scans a figure was made from."""
    return hashlib.sha256((data / "MANIFEST.csv").read_bytes()).hexdigest()
