"""A manifest from a BIDS folder: ``sub-*/[ses-*/]anat/*_{T1w,T2w,FLAIR}.nii[.gz]`` and ``participants.tsv``.

Own code instead of bids2table: that brings pyarrow (40 MB) and the whole BIDS schema to answer which of four suffixes a
file name ends in. Post-contrast T1 is a ``T1w`` with a ``ce-`` entity, as the BIDS specification has it.
"""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd

from BrainIACLib.errors import ManifestError
from BrainIACLib.sequences import T1, T1CE, sequence_named
from Training.data.manifest import check_manifest

NAME = re.compile(r"(?P<patient>sub-[A-Za-z0-9]+)(_(?P<session>ses-[A-Za-z0-9]+))?(?P<entities>(_[a-z]+-[^_]+)*)_")
SUFFIXES = ("T1w", "T2w", "FLAIR")


def manifest_of_bids(folder: Path | str, role: str = "") -> pd.DataFrame:
    """A checked manifest of the anatomical scans, with absolute paths; patients are called ``<folder>_sub-..``.

    Raises
    ------
    ManifestError : no such folder, no scans in it, or a participants table that cannot be read.
    """
    folder = Path(folder).resolve()
    if not folder.is_dir():
        raise ManifestError(f"'{folder}' is not a folder; give the folder that holds participants.tsv and sub-*.")
    people = _participants(folder / "participants.tsv")
    files = [*folder.glob("sub-*/anat/*.nii*"), *folder.glob("sub-*/ses-*/anat/*.nii*")]
    rows = [row for file in sorted(files) if (row := _row(file, people)) is not None]
    if not rows:
        raise ManifestError(f"'{folder}' holds no sub-*/[ses-*/]anat/*_(T1w|T2w|FLAIR).nii.gz; is it a BIDS folder?")
    table = pd.DataFrame(rows).fillna("")
    table["patient"] = folder.name + "_" + table["patient"]  # sub-01 of two datasets are two persons
    return check_manifest(table.assign(dataset=folder.name, role=role), str(folder))


def _row(file: Path, people: dict[str, dict[str, str]]) -> dict[str, str] | None:
    stem = file.name.removesuffix(".gz").removesuffix(".nii")
    suffix, name = stem.rsplit("_", 1)[-1], NAME.match(stem)
    if name is None or suffix not in SUFFIXES:
        return None
    sequence = sequence_named(suffix)
    if sequence is T1 and "_ce-" in (name["entities"] or ""):
        sequence = T1CE
    return {
        **people.get(name["patient"], {}),
        "scan": str(file),
        "patient": name["patient"],
        "session": name["session"] or "",
        "sequence": sequence.name,
    }


def _participants(path: Path) -> dict[str, dict[str, str]]:
    """participant_id -> its columns as text, ``age`` renamed ``age_years``; "n/a" and "89+" become unknown."""
    if not path.is_file():
        return {}
    try:
        table = pd.read_csv(path, sep="\t", dtype=str, keep_default_na=False, encoding="utf-8-sig")
        table = table.set_index("participant_id").rename(columns={"age": "age_years"})
    except (OSError, ValueError, KeyError) as error:
        raise ManifestError(
            f"'{path}' cannot be read ({error}); it must be tab-separated with participant_id."
        ) from None
    table = table.mask(table.isin(["n/a", "N/A"]), "")
    if "age_years" in table:
        table["age_years"] = table["age_years"].where(table["age_years"].str.fullmatch(r"\d+(\.\d+)?"), "")
    return table.to_dict("index")
