"""A table that a person wrote: a manifest, or one of the CSV forms of the authors' released code (plain.md, U-17)."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from BrainIACLib.errors import ManifestError
from BrainIACLib.sequences import STANDARD, sequence_named
from Training.cohorts.reading import Found, number
from Training.data.manifest import read_manifest

SUFFIX = ".nii.gz"


def read(folder: Path, clinical: Path | None = None) -> Found:
    """The scans of the table ``clinical``: a manifest, whose paths are relative to itself, or a released form, whose
    images lie in ``folder``: ``pat_id,scandate,label`` (v1; several scans joined by "-") or ``pat_id,label`` (v2).

    Labels of a released form are not taken over: their meaning stands in no file (months or years, classes from 0 or
    from 1), so the person who knows must add them to the written manifest.
    """
    if clinical is None:
        raise ManifestError("Say which table to read with --clinical FILE.")
    header = pd.read_csv(clinical, dtype=str, keep_default_na=False, nrows=0).columns
    if "pat_id" not in header:
        table = read_manifest(clinical)
        return Found([{k: v for k, v in row.items() if v == v} for row in table.to_dict("records")], ())
    table = pd.read_csv(clinical, dtype=str, keep_default_na=False)  # ids keep their leading zeros
    rows = []
    for entry in table.to_dict("records"):
        scans = entry["scandate"].split("-") if "scandate" in entry else [""]
        for scan in scans:
            name = "_".join(part for part in (entry["pat_id"].removesuffix(SUFFIX), scan) if part)
            patient, _, suffix = name.rpartition("_")
            sequence = sequence_named(suffix)
            rows.append(
                {
                    "scan": Path(folder) / f"{name}{SUFFIX}",
                    "patient": patient if sequence in STANDARD and patient else name,
                    "dataset": "released form",
                    "sequence": sequence.name if sequence in STANDARD else "",
                }
            )
    labelled = sum(number(entry.get("label", "")) != "" for entry in table.to_dict("records"))
    return Found(rows, (f"{labelled} labels were not taken over: no file says what they mean (months? which class?)",))
