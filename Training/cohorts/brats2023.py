"""BraTS 2023 adult glioma (brats2023.md): sequence task; the official validation cases as hold-out (C-04, P-24)."""

from __future__ import annotations

import re
from pathlib import Path

from Training.cohorts.reading import Found, files_matching

NAME = re.compile(r"(BraTS-[A-Z]{3}-\d{5})-(\d{3})-(t1n|t1c|t2w|t2f)\.nii(?:\.gz)?")
SEQUENCES = {"t1n": "T1", "t1c": "T1CE", "t2w": "T2", "t2f": "FLAIR"}
HOLD_OUT = "ValidationData"  # part of the name of the official folder


def read(folder: Path, clinical: Path | None = None, *, official_split: bool = True) -> Found:
    """Every scan below ``folder``; ``clinical`` is not used (BraTS has no clinical table).

    Parameters
    ----------
    official_split : cases below a folder named like ...ValidationData are the hold-out, the others are for training:
        219 x 4 of 5,880 scans. Otherwise no roles are given, and a split is drawn later.
    """
    del clinical
    rows, validation = [], 0
    for path, match in files_matching(folder, NAME, "BraTS 2023"):
        held_out = any(HOLD_OUT in part for part in path.relative_to(folder).parts) or HOLD_OUT in Path(folder).name
        validation += held_out
        rows.append(
            {
                "scan": path,
                "patient": match[1],
                "dataset": "BraTS2023",
                "session": match[2],
                "sequence": SEQUENCES[match[3]],
                "role": ("test" if held_out else "train") if official_split else "",
            }
        )
    remarks = [] if validation or not official_split else ["no folder of the official validation data: no hold-out"]
    return Found(rows, tuple(remarks))
