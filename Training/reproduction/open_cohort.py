"""The cohort ``open`` as a cache at the resolution of the template, from which each encoder gets its very own input."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.preprocessing.intensity import model_input, ras_array
from BrainIACLib.scans import read_scan
from Training.cohorts.open_data import write_open_manifest
from Training.data.cache import quantise
from Training.data.prepare import cache_of_manifest
from Training.data.standardising import (
    NO_NETWORK,
    Standardising,
    image_facts,
    standardised_volume,
)
from Training.starter.open_scans import OpenScan, open_scans, prepared
from Training.synthesis.template_grid import TEMPLATE_SIZE

HOW = Standardising(size=TEMPLATE_SIZE)
"""1 mm. In a coarser cache, encoders of another size would be given voxels that were averaged twice."""


def open_cache(data: Path, work: Path, standardised: Path | None, processes: int) -> Path:
    """The cache in ``work``.

    Parameters
    ----------
    data : folder with MANIFEST.csv.
    standardised : folder of scans that ``Training.starter.open_scans`` keeps, taken from and added to; None: none.
    """
    manifest = write_open_manifest(data, work / "open.csv")
    one = standardised_volume
    if standardised is not None:
        one = Kept(standardised, {str(scan.path.resolve()): scan for scan in open_scans(data)})
    return cache_of_manifest(manifest, work / "cache", how=HOW, workers=processes, standardise_one=one)


@dataclass(frozen=True)
class Kept:
    """Standardizes a scan once for the probes, the starters and this: they keep it, here its values become 0..1."""

    folder: Path
    scans: dict[str, OpenScan]

    def __call__(self, path: Path, how: Standardising) -> tuple[np.ndarray, dict]:
        """As ``standardised_volume``, to the precision of the kept half floats."""
        known = self.scans.get(str(Path(path).resolve()))
        if known is None or how.steps != "standard" or how != dataclasses.replace(HOW, size=how.size):
            return standardised_volume(path, how)
        scan, kept = read_scan(path), prepared(known, self.folder, how.brain_extraction)
        volume = model_input(kept.image, how.encoder_contract(**NO_NETWORK))[0, 0].numpy()
        facts = image_facts(ras_array(scan.image), scan.sha256, (*scan.warnings, *kept.warnings))
        return quantise(volume, f"'{path}'"), facts
