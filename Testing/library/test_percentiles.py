"""Percentiles for age: against the normal distribution, only where persons are known, only for their own network."""

import json

import numpy as np
import pytest

from BrainIACLib.errors import ModelError
from BrainIACLib.volumes.percentiles import FILE, read_norms

stats = pytest.importorskip("scipy.stats", reason="needs scipy")
SHA256 = "ab" * 32
CONTENT = {
    "source": "a cohort",
    "licence": "CC0",
    "persons": 90,
    "ages": [20.0, 80.0],
    "encoder_sha256": SHA256,
    "curves": {"hippocampus": {"coefficients": [-5.2, -0.05, -0.01], "deviation": 0.1}},
}


def written(folder, **changes):
    (folder / FILE).write_text(json.dumps({**CONTENT, **changes}), encoding="utf-8")
    return folder


@pytest.mark.parametrize("age", [20.0, 47.5, 80.0])
@pytest.mark.parametrize("z", [-3.0, 0.0, 1.2])
def test_a_percentile_is_that_of_a_normal_distribution_around_the_parabola(tmp_path, age, z):
    norms = read_norms(written(tmp_path), SHA256)
    usual = np.polynomial.Polynomial([-5.2, -0.05, -0.01])((age - 50) / 10)
    assert norms.percentile("hippocampus", float(np.exp(usual + 0.1 * z)), age) == pytest.approx(
        100 * stats.norm.cdf(z), abs=1e-6
    )


def test_nobody_is_ranked_among_persons_who_are_not_there(tmp_path):
    norms = read_norms(written(tmp_path), SHA256)
    assert norms.percentile("hippocampus", 0.005, 19.9) is None
    assert norms.percentile("hippocampus", 0.005, 80.1) is None
    assert norms.percentile("caudate", 0.005, 50) is None
    assert norms.percentile("hippocampus", 0.0, 50) == pytest.approx(0, abs=1e-6)
    assert "90 healthy adults of 20 to 80 years, a cohort (CC0)" in norms.caption


def test_no_file_means_no_percentiles(tmp_path):
    assert read_norms(tmp_path, SHA256) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"ages": [20.0]},
        {"curves": {"hippocampus": {"coefficients": [1, 2], "deviation": 0.1}}},
        {"curves": {"hippocampus": {"coefficients": [1, 2, 3], "deviation": 0}}},
        {"curves": []},
        {"persons": None},
        {"encoder_sha256": "cd" * 32},
    ],
)
def test_curves_that_are_damaged_or_of_another_network_are_refused(tmp_path, changes):
    with pytest.raises(ModelError, match="install the model again"):
        read_norms(written(tmp_path, **changes), SHA256)
