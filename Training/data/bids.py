"""A manifest from a BIDS folder (``BrainIACLib.manifests.bids``), as a checked table."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from BrainIACLib.manifests import bids_scans
from Training.data.manifest import check_manifest


def manifest_of_bids(folder: Path | str, role: str = "") -> pd.DataFrame:
    """A checked manifest of the anatomical scans, with absolute paths; patients are called ``<folder>_sub-..``.

    Raises
    ------
    ManifestError : no such folder, no scans in it, or a participants table that cannot be read.
    """
    folder = Path(folder).resolve()
    rows = [{**row.facts, "scan": str(row.path)} for row in bids_scans(folder)]
    table = pd.DataFrame(rows).fillna("")
    table["patient"] = folder.name + "_" + table["patient"]  # sub-01 of two datasets are two persons
    return check_manifest(table.assign(dataset=folder.name, role=role), str(folder))
