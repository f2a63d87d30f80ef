"""UCSF-PDGM (ucsf_pdgm.md): IDH task from T1CE and FLAIR (P-34), survival of diffuse glioma."""

from __future__ import annotations

import re
from pathlib import Path

from BrainIACLib.sequences import sequence_named
from Training.cohorts.reading import BRATS_2021, Found, clinical_table, files_matching, number, one_row_each, remark
from Training.tasks.survival import DAYS_PER_MONTH

NAME = re.compile(r"(UCSF-PDGM-\d{3,4}(?:_FU\d+d)?)_(T1|T1c|T2|FLAIR)\.nii(?:\.gz)?")
EXAM = re.compile(r"UCSF-PDGM-0*(\d+)(?:_(FU\d+d))?")
TABLES = ("UCSF-PDGM-metadata*.csv",)
# Exams that early versions list as patients of their own: number -> (patient, session) of later versions.
FOLLOW_UPS = {
    "315": ("433", "FU007d"),
    "278": ("431", "FU001d"),
    "175": ("396", "FU175d"),
    "138": ("429", "FU003d"),
    "181": ("409", "FU001d"),
    "289": ("391", "FU016d"),
}


def read(folder: Path, clinical: Path | None = None) -> Found:
    """Every uncorrected scan (not ``_bias``) with what the metadata say about its exam.

    IDH is 0 for "wildtype" and 1 for any named mutation (C-06: about four fifths are wild type).
    """
    columns = ("ID", "Age at MRI", "IDH", "1-dead 0-alive", "OS", "BraTS21 ID")
    table = clinical_table(clinical, folder, TABLES, columns)
    table["exam"] = ["/".join(_exam(exam)) for exam in table["ID"]]
    rows_of, contradicting = one_row_each(table, "exam")
    rows, unknown = [], set()
    for path, match in files_matching(folder, NAME, "UCSF-PDGM"):
        patient, session = _exam(match[1])
        facts = rows_of.get(f"{patient}/{session}")
        if facts is None:
            unknown.add((patient, session))
        rows.append(
            {
                "scan": path,
                "patient": patient,
                "dataset": "UCSF-PDGM",
                "session": session,
                "sequence": sequence_named(match[2]).name,
                **(_labels(facts) if facts else {}),
            }
        )
    return Found(
        rows,
        remark(len(unknown), "exams without a row in the metadata (kept without labels)")
        + remark(contradicting, "exams with contradicting rows (kept without labels)"),
    )


def _exam(name: str) -> tuple[str, str]:
    """'UCSF-PDGM-004' or 'UCSF-PDGM-0433_FU007d' -> (patient with four digits, session or "")."""
    match = EXAM.fullmatch(name)
    if match is None:
        return name, ""
    digits, session = FOLLOW_UPS.get(match[1], (match[1], match[2] or "")) if not match[2] else (match[1], match[2])
    return f"UCSF-PDGM-{int(digits):04d}", session


def _labels(facts: dict) -> dict:
    idh = facts["IDH"].lower()
    mutant = "" if idh in ("", "unknown", "nan") else int(idh != "wildtype")
    days, dead = number(facts["OS"]), number(facts["1-dead 0-alive"])
    known = days != "" and dead != ""
    return {
        "age_years": number(facts["Age at MRI"]),
        "idh": mutant,
        "survival_months": days / DAYS_PER_MONTH if known else "",
        "event": int(dead) if known else "",
        "same_person_as": facts["BraTS21 ID"] if re.fullmatch(BRATS_2021, facts["BraTS21 ID"]) else "",
    }
