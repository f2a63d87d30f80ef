"""The cohort ``open``: real, openly licensed scans, by their MANIFEST.csv; sequence and brain age (see open.md)."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd

from BrainIACLib.errors import ManifestError
from BrainIACLib.publishing import write_text
from BrainIACLib.resources import resource
from BrainIACLib.sequences import STANDARD_NAMES
from BrainIACLib.volumes.measurement import MODEL
from Training.data.manifest import read_manifest

TABLE = "MANIFEST.csv"
RECIPE = "training.json"
ADULT = 18  # years; three children among adults would be a test of nothing
IXI, DS002748, BRATS, SINGLE = "IXI", "ds002748", "BraTS", "single scans"
STUDIES = {
    **{"IXI": IXI, "ds002748": DS002748, "BraTS": BRATS},
    **{"ds000002": "ds000002", "openms": "Ljubljana MS"},
}
"""Start of a subject's name -> study; all others are single scans of studies of their own."""


def write_open_manifest(data: Path, out: Path) -> Path:
    """Write a manifest of the four sequences to ``out`` and return it.

    One row a scan; ``patient`` is the person over all folders, ``dataset`` the study. Files of ``bad/`` and a second
    copy of a scan that lies in ``age/`` are left out. Ages are in years, and those of children are left out. Who the
    bundled anatomy encoder learned from has the role ``train``: tested by no line of the comparison. BraTS, four
    sequences of which it saw, is asked about the sequence alone, where that encoder is no line.

    Raises
    ------
    ManifestError : no MANIFEST.csv there, or a scan that it names is missing.
    """
    data, out = Path(data).resolve(), Path(out)
    path = data / TABLE
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except OSError as error:
        raise ManifestError(
            f"The open cohort needs the folder of real scans with its {TABLE}, and '{path}' cannot be read "
            f"({error.strerror}); give the folder with --data."
        ) from None
    chosen = table[
        (table["kind"] == "scan") & table["sequence"].isin(STANDARD_NAMES) & ~table["file"].str.startswith("bad/")
    ]
    in_age = set(chosen["subject"][chosen["file"].str.startswith("age/")])
    copies = chosen["subject"].isin(in_age) & ~chosen["file"].str.startswith("age/")
    chosen = chosen[~copies]
    ages = pd.to_numeric(chosen["age_years"], errors="coerce")
    studies = [study_of(subject) for subject in chosen["subject"]]
    learned = chosen["subject"].isin(learned_from(resource("Models", MODEL))) & (np.array(studies) != BRATS)
    manifest = pd.DataFrame(
        {
            "scan": [str(data / file) for file in chosen["file"]],
            "patient": chosen["subject"],
            "dataset": studies,
            "sequence": chosen["sequence"],
            "age_years": chosen["age_years"].where(ages >= ADULT, ""),
            "role": np.where(learned, "train", ""),
        }
    )
    out.parent.mkdir(parents=True, exist_ok=True)
    write_text(manifest.to_csv(index=False), out)
    read_manifest(out)
    return out


def learned_from(model: Path) -> frozenset[str]:
    """The real persons that a model folder's ``training.json`` names; nobody where there is none."""
    path = Path(model) / RECIPE
    if not path.is_file():
        return frozenset()
    recipe = json.loads(path.read_text(encoding="utf-8"))
    return frozenset(name for key in recipe if key.startswith("real_scans") for name in recipe[key])


def study_of(subject: str) -> str:
    """The study that a subject of MANIFEST.csv belongs to.

    >>> study_of("IXI052-HH-1343"), study_of("BraTS2021_01476"), study_of("fernando")
    ('IXI', 'BraTS', 'single scans')
    """
    return next((study for start, study in STUDIES.items() if subject.startswith(start)), SINGLE)
