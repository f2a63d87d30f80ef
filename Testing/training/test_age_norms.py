"""Percentile curves from tables: fitted numbers come back, and what does not travel or is not followed gets none."""

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the 'training' extra")

from BrainIACLib.models.anatomy import EMBEDDING_NAMES, SMALLEST_ML
from BrainIACLib.structures import STRUCTURES
from Training.starter import age_norms
from Training.starter.age_norms import STRUCTURES_OF_TABLES, line, norms_of, parabola, report, shares_in, z_score
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
    found = line(theirs, 0.7 * theirs - 1 + rng.normal(0, 0.05, 3000))
    assert (found.slope, found.intercept, found.noise) == pytest.approx((0.7, -1, 0.05), rel=0.05)
    assert found.r == pytest.approx(0.07 / np.hypot(0.07, 0.05), abs=0.02)


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
    content, facts = norms_of(tables, measured)
    assert set(STRUCTURES_OF_TABLES) - set(content["curves"]) == {"thalamus", "amygdala"}
    assert content["persons"] == 600  # those in both tables count once
    assert facts["hippocampus"]["itself"] == pytest.approx(1)  # both tables say the same of them
    assert facts["thalamus"]["offsets"]["IOP"] == pytest.approx(2, abs=0.4)
    curve = content["curves"]["hippocampus"]
    assert curve["coefficients"] == pytest.approx([-4, -0.016, 0], abs=0.01)
    assert curve["deviation"] == pytest.approx(np.hypot(SLOPE * SPREAD, NOISE), rel=0.1)


def test_persons_measured_here_have_z_scores_of_spread_one():
    tables, measured = cohort()
    content, _ = norms_of(tables, measured)
    ages = {person.person: person.age for table in tables for person in table}
    z = [z_score(content["curves"]["hippocampus"], row["hippocampus"], ages[name]) for name, row in measured.items()]
    assert (np.mean(z), np.std(z)) == pytest.approx((0, 1), abs=0.1)


def test_the_report_has_a_row_for_every_structure():
    content, facts = norms_of(*cohort())
    rows = [row for row in report(content, facts, []).splitlines() if row.startswith("| ")]
    assert len(rows) == 1 + len(STRUCTURES_OF_TABLES)
    assert {row.count("|") for row in rows} == {9}
    assert age_norms.LICENCE in report(content, facts, [])
