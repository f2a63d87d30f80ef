"""Percentile curves and translated volumes: fitted numbers come back, and another study's offset is noticed."""

import dataclasses

import numpy as np
import pytest

pytest.importorskip("sklearn", reason="needs the 'training' extra")

from BrainIACLib.models.anatomy import EMBEDDING_NAMES, SMALLEST_ML
from BrainIACLib.structures import STRUCTURES
from Testing.training.test_probes_and_age import cohort, scan
from Training.starter import age as age_heads
from Training.starter import age_norms
from Training.starter.anatomy.reference import COLUMNS, FLUID, TablePerson
from Training.starter.probes import Features
from Training.starter.translation import fit_translation, logarithms


def test_a_parabola_of_age_comes_back_with_its_spread():
    rng = np.random.default_rng(0)
    age = rng.uniform(20, 80, 4000)
    x = (age - 50) / 10
    share = np.exp(-5 + 0.1 * x - 0.03 * x**2 + rng.normal(0, 0.2, len(age)))
    found = age_norms.curve(share, age)
    assert found["coefficients"] == pytest.approx([-5, 0.1, -0.03], abs=0.02)
    assert found["deviation"] == pytest.approx(0.2, rel=0.05)
    z = age_norms.z_scores(found, share, age)
    assert (z.mean(), z.std()) == pytest.approx((0, 1), abs=0.02)


def embeddings(ml: np.ndarray, whole: float = 1500.0) -> np.ndarray:
    """(n, d) from (n, structures - 1) ml."""
    found = np.zeros((len(ml), len(EMBEDDING_NAMES)))
    found[:, 0] = np.log(whole / 1000)
    found[:, 1 : len(STRUCTURES)] = np.log((ml + SMALLEST_ML) / whole)
    return found


def test_shares_come_back_from_embeddings():
    ml = np.random.default_rng(0).uniform(1, 50, (5, len(STRUCTURES) - 1))
    shares = age_norms.shares_in(embeddings(ml))
    assert shares["hippocampus"] == pytest.approx(ml[:, 11] / 1500)
    assert shares["ventricles"] == pytest.approx(ml[:, :3].sum(1) / 1500)


def test_a_structure_that_another_scanner_shifts_gets_no_curve():
    scans = [scan(i, "IXI") for i in range(40)] + [scan(i, "ds002748") for i in range(30)]
    ml = np.exp(np.random.default_rng(0).normal(2, 0.1, (70, len(STRUCTURES) - 1)))
    ml[40:, 11] *= 1.3  # hippocampus of the second study
    content, lines = age_norms.norms_of(Features(scans, {"anatomy": embeddings(ml)}))
    assert "hippocampus" not in content["curves"]
    assert "thalamus" in content["curves"]
    assert content["persons"] == 40
    assert any(line.startswith("| hippocampus") and line.endswith("no |") for line in lines)


def persons(n: int, seed: int) -> list[TablePerson]:
    rng = np.random.default_rng(seed)
    names = [*COLUMNS, FLUID]
    return [
        TablePerson(f"p{i}", "Guys", 50.0, "F", dict(zip(names, np.exp(rng.normal(2, 0.2, len(names))), strict=True)))
        for i in range(n)
    ]


def test_a_translation_gives_back_what_depends_on_the_volumes_and_keeps_the_rest_as_noise():
    rng = np.random.default_rng(1)
    known, others = persons(300, 0), persons(50, 2)
    weights = rng.normal(size=(logarithms(known).shape[1], 3))
    told = logarithms(known) @ weights
    found = fit_translation(known, np.hstack([told, rng.normal(0, 2, (300, 1))]))
    assert found.embeddings(others)[:, :3] == pytest.approx(logarithms(others) @ weights, abs=0.1)
    assert found.noise[3, 3] == pytest.approx(4, rel=0.25)
    assert found.explained[:3].min() > 0.95
    assert found.explained[3] < 0.1
    with pytest.raises(ValueError, match="30 are needed"):
        fit_translation(known[:5], told[:5])


def test_noise_of_translated_numbers_keeps_a_head_from_trusting_them():
    """Two numbers tell the age alike; the one that is translated with errors must get less weight."""
    cases = cohort(size=2, noise=1.0)
    values = np.repeat(cases.values[:, :1], 2, axis=1)
    same = dataclasses.replace(cases, values=values, translated=np.ones(len(values), bool), noise=np.diag([0.0, 4.0]))
    first, second = age_heads._ridges(same, [1.0])[0].weights
    assert first > 3 * abs(second)


def test_persons_without_a_scan_are_fitted_on_and_never_judged():
    cases = cohort()
    tables = dataclasses.replace(cases, translated=cases.study == "b", noise=np.zeros((cases.values.shape[1],) * 2))
    left = age_heads.leave_studies_out(tables)
    assert not left.within[cases.study == "b"].any()
    assert left.within[cases.study == "a"].any()
