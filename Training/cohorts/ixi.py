"""IXI (ixi.md): healthy adults, brain age, external (P-29)."""

from __future__ import annotations

import re
from pathlib import Path

from Training.cohorts.reading import Found, clinical_table, files_matching, number, one_row_each, remark

NAME = re.compile(r"IXI(\d{3})-(Guys|HH|IOP)-\d{4}-(T1|T2)\.nii(?:\.gz)?")
TABLES = ("IXI.csv", "IXI.xls")


def read(folder: Path, clinical: Path | None = None) -> Found:
    """T1 and T2 scans with the age in years of IXI.xls (or the same table as CSV).

    Subjects with two rows of different ages, and ages of 0, are left without an age.
    """
    table = clinical_table(clinical, folder, TABLES, ("IXI_ID", "AGE"))
    table["IXI_ID"] = [str(int(float(number))) if number else "" for number in table["IXI_ID"]]
    ages, contradicting = one_row_each(table[["IXI_ID", "AGE"]], "IXI_ID")
    rows, without = [], set()
    for path, match in files_matching(folder, NAME, "IXI"):
        age = number(ages.get(str(int(match[1])), {"AGE": ""})["AGE"])
        if age in ("", 0):
            age = ""
            without.add(match[1])
        rows.append(
            {
                "scan": path,
                "patient": f"IXI{match[1]}",
                "dataset": "IXI",
                "session": match[2],
                "sequence": match[3],
                "age_years": age,
            }
        )
    return Found(
        rows,
        remark(len(without), "subjects without an age")
        + remark(contradicting, "subjects with two different ages in the table (kept without an age)"),
    )
