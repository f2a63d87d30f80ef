"""ABCD (abcd.md): children of 9 years and older, brain age, external (P-29). Its ages are in months (U-16)."""

from __future__ import annotations

import re
from pathlib import Path

from BrainIACLib.sequences import sequence_named
from Training.cohorts.reading import Found, clinical_table, files_matching, number, one_row_each, remark

NAME = re.compile(r"sub-(NDARINV\w+?)_ses-(\w+?)(?:_(?:run|rec|acq)-\w+?)*_(T1w|T2w)\.nii(?:\.gz)?")
TABLES = ("abcd_y_lt.csv", "abcd_lt01.txt")
MONTHS_PER_YEAR = 12


def read(folder: Path, clinical: Path | None = None) -> Found:
    """Scans in BIDS form, with ``interview_age`` / 12 of the same visit as the age in years.

    Tables: ``abcd_y_lt.csv`` (release 5) or ``abcd_lt01.txt`` (release 4, whose second line describes the columns).
    """
    table = clinical_table(clinical, folder, TABLES, ("src_subject_id", "eventname", "interview_age"))
    table["visit"] = [
        f"{_letters(subject)} {_letters(event)}"
        for subject, event in zip(table["src_subject_id"], table["eventname"], strict=True)
    ]
    ages, contradicting = one_row_each(table[["visit", "interview_age"]], "visit")
    rows, without = [], set()
    for path, match in files_matching(folder, NAME, "ABCD"):
        months = number(ages.get(f"{_letters(match[1])} {_letters(match[2])}", {"interview_age": ""})["interview_age"])
        if months == "":
            without.add((match[1], match[2]))
        rows.append(
            {
                "scan": path,
                "patient": match[1],
                "dataset": "ABCD",
                "session": match[2],
                "sequence": sequence_named(match[3]).name,
                "age_years": months / MONTHS_PER_YEAR if months != "" else "",
            }
        )
    return Found(
        rows,
        remark(len(without), "visits without an age")
        + remark(contradicting, "visits with two different ages in the table (kept without an age)"),
    )


def _letters(text: str) -> str:
    """'baseline_year_1_arm_1' and 'baselineYear1Arm1', 'NDAR_INV1' and 'NDARINV1' become the same."""
    return re.sub(r"[^a-z0-9]", "", text.lower())
