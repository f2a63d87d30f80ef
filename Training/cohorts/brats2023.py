"""BraTS 2023 adult glioma (brats2023.md): sequence task; the official validation cases as hold-out (C-04, P-24)."""

from __future__ import annotations

import re
from pathlib import Path

from BrainIACLib.sequences import sequence_named
from Training.cohorts.reading import Found, crosswalk, files_matching, remark

NAME = re.compile(r"(BraTS-[A-Z]{3}-(\d{5}))-(\d{3})-(t1n|t1c|t2w|t2f)\.nii(?:\.gz)?")
CROSSWALK = ("BraTS2023_2017_GLI_Mapping*.csv", "BraTS2023", "BraTS2021")
HOLD_OUT = "ValidationData"  # part of the name of the official folder


def read(
    folder: Path, clinical: Path | None = None, *, names: Path | None = None, official_split: bool = True
) -> Found:
    """Every scan below ``folder``; ``clinical`` is not used (BraTS has no clinical table).

    Parameters
    ----------
    official_split : cases below a folder named like ...ValidationData are the hold-out, the others are for training:
        219 x 4 of 5,880 scans. Otherwise no roles are given, and a split is drawn later.
    names : BraTS's own table of case names, whose BraTS 2021 id becomes ``same_person_as`` (C-09). Without it a case is
        taken for the one that had its number in 2021.
    """
    del clinical
    brats = crosswalk(names, folder, *CROSSWALK)
    rows, validation, assumed = [], 0, set()
    for path, match in files_matching(folder, NAME, "BraTS 2023"):
        held_out = any(HOLD_OUT in part for part in path.relative_to(folder).parts) or HOLD_OUT in Path(folder).name
        validation += held_out
        if brats is not None:
            same = brats.get(f"{match[1]}-{match[3]}", "")
        else:
            same = f"BraTS2021_{match[2]}"
            assumed.add(match[1])
        rows.append(
            {
                "scan": path,
                "patient": match[1],
                "dataset": "BraTS2023",
                "session": match[3],
                "sequence": sequence_named(match[4]).name,
                "same_person_as": same,
                "role": ("test" if held_out else "train") if official_split else "",
            }
        )
    remarks = [] if validation or not official_split else ["no folder of the official validation data: no hold-out"]
    what = "patients were taken for those with the same number in BraTS 2021, for want of its table of names"
    return Found(rows, tuple(remarks) + remark(len(assumed), what))
