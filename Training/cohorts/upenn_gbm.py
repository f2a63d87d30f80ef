"""UPENN-GBM (upenn_gbm.md): one-year survival from four sequences (P-37); follow-ups stay with their patient (C-08)."""

from __future__ import annotations

import re
from pathlib import Path

from BrainIACLib.sequences import sequence_named
from Training.cohorts.reading import (
    NO_CROSSWALK,
    TCIA_CROSSWALK,
    Found,
    clinical_table,
    crosswalk,
    files_matching,
    number,
    one_row_each,
    remark,
)
from Training.tasks.survival import DAYS_PER_MONTH

NAME = re.compile(r"(UPENN-GBM-\d{5})_(\d{2})_(T1|T1GD|T2|FLAIR)\.nii(?:\.gz)?")  # not ..._unstripped
TABLES = ("UPENN-GBM_clinical_info*.csv",)
UNKNOWN = ("", "not available", "na", "nan")
IDH = {"wildtype": 0, "mutated": 1}  # "NOS/NEC": not known


def read(folder: Path, clinical: Path | None = None, *, names: Path | None = None) -> Found:
    """Every skull-stripped scan; sessions 11 (before surgery) and 21 (follow-up).

    ``names`` is TCIA's crosswalk, whose BraTS 2021 id of an exam becomes ``same_person_as`` (C-09).
    """
    columns = ("ID", "Age_at_scan_years", "Survival_from_surgery_days_UPDATED", "Survival_Status", "IDH1")
    rows_of, contradicting = one_row_each(clinical_table(clinical, folder, TABLES, columns), "ID")
    brats = crosswalk(names, folder, *TCIA_CROSSWALK)
    rows, unknown, without_survival = [], set(), set()
    for path, match in files_matching(folder, NAME, "UPENN-GBM"):
        exam = f"{match[1]}_{match[2]}"
        labels = _labels(rows_of[exam]) if exam in rows_of else {}
        if not labels:
            unknown.add(exam)
        elif labels["event"] == "":
            without_survival.add(exam)
        common = {"patient": match[1], "dataset": "UPENN-GBM", "session": match[2]}
        common["same_person_as"] = (brats or {}).get(exam, "")
        rows.append({"scan": path, **common, "sequence": sequence_named(match[3]).name, **labels})
    return Found(
        rows,
        remark(len(unknown), "exams without a row in the clinical table (kept without labels)")
        + remark(len(without_survival), "exams without a known survival")
        + remark(contradicting, "exams with contradicting rows (kept without labels)")
        + (NO_CROSSWALK if brats is None else ()),
    )


def _labels(facts: dict) -> dict:
    days, status = number(facts["Survival_from_surgery_days_UPDATED"]), facts["Survival_Status"].lower()
    known = days != "" and status not in UNKNOWN
    return {
        "age_years": number(facts["Age_at_scan_years"]),
        "idh": IDH.get(facts["IDH1"].lower(), ""),
        "survival_months": days / DAYS_PER_MONTH if known else "",
        "event": int(status.startswith("deceased")) if known else "",
    }
