"""DLMUSE's volumes and label maps of the IXI scans in the structures of this project: what volumes are held against.

They are another network's answers, not the truth. Ventral diencephalon, basal forebrain and fornix have no structure
of their own here and count with the white matter; the accumbens counts with the putamen.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

VOLUMES = "tables/IXI_HH_DLMUSE_volumes_with_age.csv"
THREE_SITES = "tables/IXI_three_sites_DLMUSE_volumes_with_age.csv"
COLUMNS = {  # structure or sum: columns of the table of named regions
    "intracranial": ("ICV",),
    "gray matter": ("GM",),
    "white matter": ("WM",),
    "ventricles": ("Ventricles",),
    "lateral_ventricles": (
        "LateralVentricle_R",
        "LateralVentricle_L",
        "InfLatVentricle_R",
        "InfLatVentricle_L",
    ),
    "third_ventricle": ("3rdVentricle",),
    "fourth_ventricle": ("4thVentricle",),
    "thalamus": ("ThalamusProper_R", "ThalamusProper_L"),
    "caudate": ("Caudate_R", "Caudate_L"),
    "putamen": ("Putamen_R", "Putamen_L", "AccumbensArea_R", "AccumbensArea_L"),
    "pallidum": ("Pallidum_R", "Pallidum_L"),
    "hippocampus": ("Hippocampus_R", "Hippocampus_L"),
    "amygdala": ("Amygdala_R", "Amygdala_L"),
    "cerebellar_cortex": (
        "CerebellumExterior_R",
        "CerebellumExterior_L",
        "CerebellarVermalLobules_1to5",
        "CerebellarVermalLobules_6to7",
        "CerebellarVermalLobules_8to10",
    ),
    "cerebellar_white_matter": ("Cerebellum_WM_R", "Cerebellum_WM_L"),
    "brainstem": ("BrainStem",),
}
NUMBERS = {  # structure: DLMUSE's numbers in the label maps; cortex is 100 and more
    "sulcal_csf": (1, 46),
    "third_ventricle": (4,),
    "fourth_ventricle": (11,),
    "lateral_ventricles": (49, 50, 51, 52),
    "amygdala": (31, 32),
    "brainstem": (35,),
    "caudate": (36, 37),
    "cerebellar_cortex": (38, 39, 71, 72, 73),
    "cerebellar_white_matter": (40, 41),
    "hippocampus": (47, 48),
    "pallidum": (55, 56),
    "putamen": (57, 58, 23, 30),
    "thalamus": (59, 60),
    "white_matter": (61, 62, 75, 76, 69, *range(81, 96)),
}


SUM_NUMBERS = {"intracranial": (702,), "gray matter": (601,), "white matter": (604,), "ventricles": (509,)}


@dataclass(frozen=True)
class TablePerson:
    """Of whom volumes are known, whether or not there is a scan. ``site``: HH, Guys or IOP; ``ml``: as COLUMNS."""

    person: str
    site: str
    age: float
    sex: str
    ml: dict[str, float]


def three_sites(data: Path) -> list[TablePerson]:
    """Persons of 40 to 86 years on three scanners, measured by DLMUSE at the scans' full resolution."""
    numbers = {name: SUM_NUMBERS.get(name) or NUMBERS[name] for name in COLUMNS}
    with (data / THREE_SITES).open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["Age"]]
    return [
        TablePerson(
            person=(person := row["ID"].removesuffix("-T1")),
            site=person.split("-")[1],
            age=float(row["Age"]),
            sex=row["Sex"],
            ml={name: sum(float(row[str(number)]) for number in group) / 1000 for name, group in numbers.items()},
        )
        for row in rows
    ]


def two_millimetres(data: Path) -> list[TablePerson]:
    """Persons of 20 to 82 years on one of these scanners, measured on the scans of 2 mm that lie beside the table."""
    volumes = dlmuse_volumes(data)
    with (data / VOLUMES).open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["Age"]]
    return [
        TablePerson(row["MRID"], row["MRID"].split("-")[1], float(row["Age"]), row["Sex"], volumes[row["MRID"]])
        for row in rows
    ]


def dlmuse_volumes(data: Path) -> dict[str, dict[str, float]]:
    """IXI person -> structure or sum -> ml."""
    with (data / VOLUMES).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    return {
        row["MRID"]: {name: sum(float(row[column]) for column in columns) / 1000 for name, columns in COLUMNS.items()}
        for row in rows
    }


def sides_of(data: Path) -> dict[str, dict[str, tuple[float, float]]]:
    """IXI person -> structure of both sides -> (left, right) in ml."""
    with (data / VOLUMES).open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    pairs = {
        name: columns for name, columns in COLUMNS.items() if all(column[-2:] in ("_L", "_R") for column in columns)
    }
    return {
        row["MRID"]: {
            name: (
                sum(float(row[column]) for column in columns if column.endswith("_L")) / 1000,
                sum(float(row[column]) for column in columns if column.endswith("_R")) / 1000,
            )
            for name, columns in pairs.items()
        }
        for row in rows
    }


def person_of(file: str) -> str:
    """``IXI012-HH-1211`` from a file's name."""
    return Path(file).name.split("_")[0]


def structures_of(labels: np.ndarray) -> np.ndarray:
    """DLMUSE's numbers -> names of structures as an array of the same shape; "background" elsewhere."""
    names = np.full(labels.shape, "background", dtype="<U24")
    for name, numbers in NUMBERS.items():
        names[np.isin(labels, numbers)] = name
    names[labels >= 100] = "cortex"
    return names
