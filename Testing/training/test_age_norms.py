"""Percentile curves from tables: fitted numbers come back, and what does not travel or is not followed gets none."""

import csv

import numpy as np
import pytest
from scipy import stats

pytest.importorskip("sklearn", reason="needs the 'training' extra")

from BrainIACLib.models.anatomy import EMBEDDING_NAMES, SMALLEST_ML
from BrainIACLib.structures import STRUCTURES
from Training.starter import age_norms
from Training.starter.age_norms import (
    STRUCTURES_OF_TABLES,
    controls,
    line,
    norms_of,
    not_trained_on,
    parabola,
    report,
    shares_in,
    z_score,
)
from Training.starter.anatomy.reference import COLUMNS, TablePerson

SLOPE, NOISE, SPREAD = 0.8, 0.03, 0.1


def test_a_parabola_of_age_comes_back_with_its_spread():
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 80, 4000)
    x = (age - 50) / 10
    coefficients, deviation = parabola(age, -5 + 0.1 * x - 0.03 * x**2 + rng.normal(0, 0.2, len(age)))
    assert coefficients == pytest.approx([-5, 0.1, -0.03], abs=0.02)
    assert deviation == pytest.approx(0.2, rel=0.05)


def test_a_line_comes_back_with_its_noise():
    rng = np.random.default_rng(0)
    theirs = rng.normal(-5, 0.1, 3000)
    ours = 0.7 * theirs - 1 + rng.normal(0, 0.05, 3000)
    found = line(theirs, ours)
    assert (found.slope, found.intercept, found.noise) == pytest.approx((0.7, -1, 0.05), rel=0.05)
    assert found.r == pytest.approx(0.07 / np.hypot(0.07, 0.05), abs=0.02)
    assert found.interval == pytest.approx(tuple(stats.pearsonr(theirs, ours).confidence_interval()), abs=1e-5)


def test_shares_come_back_from_embeddings():
    ml = np.random.default_rng(0).uniform(1, 50, (5, len(STRUCTURES) - 1))
    embeddings = np.zeros((5, len(EMBEDDING_NAMES)))
    embeddings[:, 0] = np.log(1.5)
    embeddings[:, 1 : len(STRUCTURES)] = np.log((ml + SMALLEST_ML) / 1500)
    shares = shares_in(embeddings)
    assert shares["hippocampus"] == pytest.approx(ml[:, 11] / 1500)
    assert shares["ventricles"] == pytest.approx(ml[:, :3].sum(1) / 1500)


def cohort() -> tuple[list[list[TablePerson]], dict[str, dict[str, float]]]:
    """Two tables of a few hundred persons of three scanners, half of them measured here too; thalamus is shifted on
    one scanner, and what is measured of the amygdala has nothing to do with it."""
    rng = np.random.default_rng(0)
    persons, measured = [], {}
    for number in range(600):
        site, age = ("Guys", "HH", "IOP")[number % 3], rng.uniform(20, 85)
        ml = {name: 1500 * np.exp(-5 - 0.02 * (age - 50) / 10 + rng.normal(0, SPREAD)) for name in COLUMNS}
        ml["intracranial"] = 1500.0
        if site == "IOP":
            ml["thalamus"] *= np.exp(2 * SPREAD)
        persons.append(TablePerson(f"p{number}", site, age, "F", ml))
        if number % 2:
            measured[f"p{number}"] = {
                name: np.exp(SLOPE * np.log(ml[name] / 1500) + rng.normal(0, NOISE)) for name in STRUCTURES_OF_TABLES
            } | {"amygdala": np.exp(rng.normal(-5, 0.1))}
    return [persons[:400], persons[300:]], measured


def test_curves_are_given_where_the_network_follows_and_scanners_agree():
    tables, measured = cohort()
    content, judged = norms_of(tables, measured)
    assert set(STRUCTURES_OF_TABLES) - set(content["curves"]) == {"thalamus", "amygdala"}
    assert content["persons"] == 600  # those in both tables count once
    assert judged["hippocampus"].itself == pytest.approx(1)  # both tables say the same of them
    assert judged["thalamus"].offsets["IOP"].mean == pytest.approx(2, abs=0.4)
    curve = content["curves"]["hippocampus"]
    assert curve["coefficients"] == pytest.approx([-4, -0.016, 0], abs=0.01)
    assert curve["deviation"] == pytest.approx(np.hypot(SLOPE * SPREAD, NOISE), rel=0.1)


def test_persons_measured_here_have_z_scores_of_spread_one():
    tables, measured = cohort()
    content, _ = norms_of(tables, measured)
    ages = {person.person: person.age for table in tables for person in table}
    z = [z_score(content["curves"]["hippocampus"], row["hippocampus"], ages[name]) for name, row in measured.items()]
    assert (np.mean(z), np.std(z)) == pytest.approx((0, 1), abs=0.1)


def test_the_error_of_an_offset_is_its_spread_over_many_cohorts():
    rng = np.random.default_rng(0)
    found = []
    for _ in range(300):
        persons = [
            TablePerson(
                "p", "IOP" if n < 20 else "HH", age, "F", {"thalamus": np.exp(rng.normal() - 5), "intracranial": 1}
            )
            for n, age in enumerate(rng.uniform(20, 85, 80))
        ]
        found.append(age_norms.scanner_offsets(persons, "thalamus")["IOP"])
    assert np.mean([one.error for one in found]) == pytest.approx(np.std([one.mean for one in found]), rel=0.15)


def scan_row(file: str, age: str, note: str = "", sequence: str = "T1") -> dict[str, str]:
    """A row of the manifest."""
    subject = file.split("/")[-1].removesuffix(".nii.gz").replace("_again", "")
    return {
        **{"file": file, "kind": "scan", "sequence": sequence, "subject": subject, "age_years": age, "sex": "F"},
        **{"skull_stripped": "no", "sha256": file, "note": note},
    }


def manifest(folder, rows: list[dict[str, str]]):
    """A folder with these rows."""
    with (folder / "MANIFEST.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return folder


def test_only_healthy_adults_of_other_studies_within_the_ages_judge_the_curves_and_each_once(tmp_path):
    rows = [
        scan_row("age/ds002748_1.nii.gz", "30", "v1, group=control; original"),
        scan_row("age/ds002748_1_again.nii.gz", "30", "v1, group=control; cropped"),
        scan_row("age/ds002748_2.nii.gz", "30", "v1, group=depr; original"),
        scan_row("scans/ds000002_3.nii.gz", "21"),
        scan_row("scans/ds000002_4.nii.gz", "19"),
        scan_row("scans/ds000002_5.nii.gz", ""),
        scan_row("scans/ds000002_6.nii.gz", "40", sequence="T2"),
        scan_row("scans/openms_long_7.nii.gz", "40"),
        scan_row("age_ixi/IXI048-HH-1326_T1w.nii.gz", "40"),
    ]
    found = controls(manifest(tmp_path, rows), (21, 78))
    assert {scan.file for scan in found} == {"age/ds002748_1.nii.gz", "scans/ds000002_3.nii.gz"}


def test_no_person_whom_the_network_was_trained_on_says_how_it_follows(tmp_path):
    persons = ["IXI048-HH-1326", "IXI012-HH-1211", "IXI100-HH-1400", "IXI101-HH-1401", "IXI102-HH-1403"]
    table = [TablePerson(person, "HH", 50, "F", {}) for person in persons[:-1]]
    rows = [scan_row(f"age_ixi/{person}_T1w.nii.gz", "50") for person in persons]
    found = not_trained_on(manifest(tmp_path, rows), [table])
    assert [scan.file.split("/")[1].split("_")[0] for scan in found] == ["IXI048-HH-1326", "IXI101-HH-1401"]


def test_the_report_has_a_row_for_every_structure_and_names_who_judged(tmp_path):
    tables, measured = cohort()
    content, judged = norms_of(tables, measured)
    rows = [scan_row(f"scans/ds000002_{number}.nii.gz", "40") for number in range(3)]
    scans = controls(manifest(tmp_path, rows), content["ages"])
    usual = content["curves"]["hippocampus"]
    share = float(np.exp(np.polynomial.Polynomial(usual["coefficients"])(-1.0)))
    shares = [dict.fromkeys(STRUCTURES_OF_TABLES, share * np.exp(k * usual["deviation"])) for k in (-1, 0, 1)]
    text = report(content, judged, list(zip(scans, shares, strict=True)))
    table = [row for row in text.splitlines() if row.startswith("| ")]
    assert len(table) == 1 + len(STRUCTURES_OF_TABLES)
    assert {row.count("|") for row in table} == {10}
    assert age_norms.LICENCE in text
    hippocampus = next(row for row in table if row.startswith("| hippocampus"))
    assert "0.0 [-2.5, +2.5], 1.0" in hippocampus  # 4.30, Student's t of 2 degrees of freedom, by the root of 3
    assert hippocampus.count("±") == 3
    assert "ds002748, n = 0 | ds000002, n = 3" in table[0]
