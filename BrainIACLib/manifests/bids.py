"""The anatomical scans of a BIDS data set, with what ``participants.tsv`` says of the people.

Source: the BIDS specification 1.10, https://bids-specification.readthedocs.io. Own code: a package that knows the whole
schema brings 40 MB to answer which of four suffixes a name ends in. Post-contrast T1 is a ``T1w`` with ``ce-``.
"""

from __future__ import annotations

import os
import re
from collections.abc import Collection, Iterator
from pathlib import Path

from BrainIACLib.errors import ManifestError
from BrainIACLib.manifests.csv_files import read_rows
from BrainIACLib.manifests.rows import Row
from BrainIACLib.sequences import FLAIR, T1, T1CE, T2, Sequence

DESCRIPTION = "dataset_description.json"
NAME = re.compile(
    r"(?P<subject>sub-[A-Za-z0-9]+)(_(?P<session>ses-[A-Za-z0-9]+))?(?P<entities>(_[a-z]+-[^_]+)*)"
    r"_(?P<suffix>[A-Za-z0-9]+)\.nii(\.gz)?"
)
OF_SUFFIX: dict[str, Sequence] = {"T1w": T1, "T2w": T2, "FLAIR": FLAIR}
NOT_RAW = ("derivatives", "sourcedata", "code")


def is_bids(folder: Path) -> bool:
    """Whether a folder says of itself that it is a BIDS data set."""
    return (folder / DESCRIPTION).is_file()


def bids_scans(folder: Path, labels: Collection[str] = ()) -> list[Row]:
    """Every T1w, T2w and FLAIR image, in a fixed order; ``scan`` is the path below ``folder``, with forward slashes.

    Parameters
    ----------
    labels : of the participants wanted, with or without ``sub-``; everybody if empty.

    Raises
    ------
    ManifestError : no such folder, no such participant, no scans, or a participants table that cannot be read.
    """
    if not folder.is_dir():
        raise ManifestError(f"'{folder}' is not a folder; give the folder that holds participants.tsv and sub-*.")
    wanted = {f"sub-{label.removeprefix('sub-')}" for label in labels}
    people = _participants(folder / "participants.tsv")
    rows = [row for path in _images(folder, wanted) if (row := _row(folder, path, people)) is not None]
    absent = sorted(wanted - {row.facts["patient"] for row in rows})
    if absent:
        raise ManifestError(f"'{folder}' holds no T1w, T2w or FLAIR image of {', '.join(absent)}; check the labels.")
    if not rows:
        raise ManifestError(f"'{folder}' holds no sub-*/[ses-*/]anat/*_(T1w|T2w|FLAIR).nii.gz; is it a BIDS folder?")
    return rows


def _images(folder: Path, wanted: Collection[str]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder):
        if Path(parent) == folder:
            folders[:] = [name for name in folders if name.startswith("sub-") and (not wanted or name in wanted)]
        folders[:] = sorted(name for name in folders if name not in NOT_RAW and not name.startswith("."))
        if Path(parent).name == "anat":
            yield from (Path(parent, name) for name in sorted(names) if name.endswith((".nii", ".nii.gz")))


def _row(folder: Path, path: Path, people: dict[str, dict[str, str]]) -> Row | None:
    name = NAME.fullmatch(path.name)
    if name is None or name["suffix"] not in OF_SUFFIX:
        return None
    contrast = name["suffix"] == "T1w" and "_ce-" in (name["entities"] or "")
    facts = {
        **people.get(name["subject"], {}),
        "scan": path.relative_to(folder).as_posix(),
        "patient": name["subject"],
        "session": name["session"] or "",
        "sequence": (T1CE if contrast else OF_SUFFIX[name["suffix"]]).name,
    }
    return Row(0, str(path), facts)


def _participants(path: Path) -> dict[str, dict[str, str]]:
    """participant_id -> its columns; ``age`` is called ``age_years``; "n/a" and "89+" become unknown."""
    if not path.is_file():
        return {}
    names, rows = read_rows(path, "The table", ManifestError)
    if "participant_id" not in names:
        raise ManifestError(
            f"'{path}' cannot be used: it must be tab-separated and have a column participant_id; correct it."
        )
    people = {}
    for _, cells in rows:
        known = {name: "" if cell in ("n/a", "N/A") else cell for name, cell in cells.items()}
        if "age" in known:
            age = known.pop("age")
            known["age_years"] = age if re.fullmatch(r"\d+(\.\d+)?", age) else ""
        people[known.pop("participant_id")] = known
    return people
