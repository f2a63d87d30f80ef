"""TCGA-GBM in BraTS form (tcga_gbm.md): external test set of one-year survival (P-37, P-39)."""

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

NAME = re.compile(r"(TCGA-\w{2}-\w{4})_(\d{4}\.\d{2}\.\d{2})_(t1|t1Gd|t2|flair)\.nii(?:\.gz)?")
TABLES = ("clinical.tsv",)
COLUMNS = ("case_submitter_id", "vital_status", "days_to_death", "days_to_last_follow_up", "age_at_index")


def read(folder: Path, clinical: Path | None = None, *, names: Path | None = None) -> Found:
    """Every scan with the survival of its patient from GDC's ``clinical.tsv`` (old and new column names).

    ``names`` is TCIA's crosswalk, whose BraTS 2021 id of a patient becomes ``same_person_as`` (C-09).
    """
    table = clinical_table(clinical, folder, TABLES, ())
    table = table.rename(columns={name: _plain_name(name) for name in table})
    absent = [name for name in COLUMNS if name not in table]
    if absent:
        clinical_table(clinical, folder, TABLES, absent)  # raises, and names the column
    facts_of, contradicting = one_row_each(table[list(COLUMNS)], "case_submitter_id")
    brats = crosswalk(names, folder, *TCIA_CROSSWALK)
    rows, without = [], set()
    for path, match in files_matching(folder, NAME, "TCGA-GBM"):
        labels = _labels(facts_of[match[1]]) if match[1] in facts_of else {}
        if labels.get("event", "") == "":
            without.add(match[1])
        common = {"patient": match[1], "dataset": "TCGA-GBM", "session": match[2]}
        common["same_person_as"] = (brats or {}).get(match[1], "")
        rows.append({"scan": path, **common, "sequence": sequence_named(match[3]).name, **labels})
    return Found(
        rows,
        remark(len(without), "patients without a known survival")
        + remark(contradicting, "patients with contradicting rows (kept without labels)")
        + (NO_CROSSWALK if brats is None else ()),
    )


def _plain_name(name: str) -> str:
    """'demographic.vital_status' -> 'vital_status'; 'cases.submitter_id' -> 'case_submitter_id'."""
    return "case_submitter_id" if name == "cases.submitter_id" else name.rsplit(".", 1)[-1]


def _labels(facts: dict) -> dict:
    dead = facts["vital_status"].lower() == "dead"
    days = number(facts["days_to_death"] if dead else facts["days_to_last_follow_up"])
    known = days != "" and days >= 0 and facts["vital_status"].lower() in ("dead", "alive")
    return {
        "age_years": number(facts["age_at_index"]),
        "survival_months": days / DAYS_PER_MONTH if known else "",
        "event": int(dead) if known else "",
    }
