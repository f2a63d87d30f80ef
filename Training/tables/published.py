"""The paper's own numbers (PROTOCOL T-01 to T-16), with the line of the text they are taken from.

Paper of record: Tak and others, "A generalizable foundation model for analysis of human brain MRI", Nature Neuroscience
2026, doi 10.1038/s41593-026-02202-6. The numbers are those of its preprint of December 2024, "A foundation model for
generalized brain MRI analysis", whose text states them with intervals. Order of values: BrainIAC, MedicalNet, Scratch.
An interval is (value, low, high), the paper's 95 % confidence interval.
"""

from __future__ import annotations

from dataclasses import dataclass

from Training.tasks import AGE, IDH, SEQUENCE, SURVIVAL

Value = float | tuple[float, float, float] | None


@dataclass(frozen=True)
class Published:
    """One row of the paper's results: ``measure`` is a key of ours, or "davies_bouldin" or "com_distance"."""

    id: str
    task: str
    split: str
    measure: str
    fraction: float
    values: tuple[Value, Value, Value]
    p: str = ""
    subset: str = ""


COHORTS = {
    SEQUENCE.name: {"train": "BraTS 2023, 5,005 scans", "test": "BraTS 2023, 876 scans"},
    AGE.name: {
        "train": "10 data sets, 3,882 scans",
        "test": "10 data sets, 1,296 scans",
        "external": "4 data sets, 1,072",
    },
    IDH.name: {"train": "UCSF-PDGM, 396 patients", "test": "UCSF-PDGM, 99 patients"},
    SURVIVAL.name: {
        "train": "UPENN-GBM, 534 patients",
        "test": "UPENN-GBM, 134 patients",
        "external": "TCGA-GBM, 134 patients less 5",
    },
}
"""What the paper trained and tested on, with the counts of the Fig 2 caption (C-05)."""

PUBLISHED = (
    Published("T-01", SEQUENCE.name, "test", "balanced_accuracy", 0.1, (86.4, 74.2, 79.0)),
    Published("T-02", SEQUENCE.name, "test", "balanced_accuracy", 0.6, (97.1, 93.4, 96.3)),
    Published("T-03", SEQUENCE.name, "test", "davies_bouldin", 1.0, (0.68, 0.82, 0.72)),
    Published(
        "T-04",
        AGE.name,
        "external",
        "mae",
        0.2,
        ((3.95, 3.78, 4.13), (7.61, 7.35, 7.87), (6.89, 6.63, 7.16)),
        "<0.0001, test not named",
    ),
    Published("T-05", AGE.name, "external", "davies_bouldin", 1.0, (0.575, 0.633, 0.612)),
    Published("T-06", AGE.name, "test", "davies_bouldin", 1.0, (0.475, 0.538, 0.485)),
    Published("T-07", IDH.name, "test", "auc", 0.1, ((0.60, 0.45, 0.72), (0.50, 0.36, 0.63), (0.49, 0.34, 0.62))),
    Published(
        "T-08",
        IDH.name,
        "test",
        "auc",
        1.0,
        ((0.76, 0.61, 0.90), (0.68, 0.54, 0.81), (0.61, 0.48, 0.73)),
        "0.014 (DeLong), pair not named",
    ),
    Published("T-09", IDH.name, "test", "com_distance", 1.0, (28.70, 31.82, 31.29), subset="T1CE"),
    Published("T-10", IDH.name, "test", "com_distance", 1.0, (28.73, 32.60, 31.32), subset="FLAIR"),
    Published(
        "T-11",
        SURVIVAL.name,
        "test",
        "auc",
        0.1,
        ((0.67, 0.57, 0.76), (0.50, 0.43, 0.58), (0.47, 0.37, 0.57)),
        "0.005 v MedicalNet, 0.0009 v Scratch",
    ),
    Published("T-12", SURVIVAL.name, "test", "auc", 1.0, (0.68, 0.65, 0.52), "0.004 v Scratch"),
    Published(
        "T-13",
        SURVIVAL.name,
        "external",
        "auc",
        0.1,
        ((0.64, 0.55, 0.73), (0.55, 0.49, 0.60), (0.52, 0.41, 0.62)),
        "0.01 for both pairs",
    ),
    Published("T-14", SURVIVAL.name, "external", "auc", 1.0, (0.62, 0.59, 0.51)),
)

LOG_RANK = {
    ("T-15", "test"): {
        "BrainIAC": "p < 0.05 at every fraction",
        "MedicalNet": "p < 0.05 at 80 and 100 % only",
        "Scratch": "at no fraction",
    },
    ("T-16", "external"): {
        "BrainIAC": "significant at 100 and 60 %",
        "MedicalNet": "significant at 100 %, not at 60 %",
        "Scratch": "at neither",
    },
}
"""What the paper says of the log-rank tests on the median split."""
