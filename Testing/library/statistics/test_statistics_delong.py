"""DeLong's variance and test against published numbers, a slow plain loop and MLstatkit (PROTOCOL P-21, 4.2-6)."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from MLstatkit import Delong_test
from scipy.stats import beta, norm

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.delong import auc_with_interval, compare_aucs
from BrainIACLib.statistics.metrics import auc

# Hanley and McNeil, Radiology 143, 1982, table 1: CT readings from definitely normal (1) to definitely abnormal (5)
NORMAL_READINGS, ABNORMAL_READINGS = (33, 6, 6, 11, 2), (3, 2, 2, 11, 33)


def slow_delong(labels: np.ndarray, a: np.ndarray, b: np.ndarray) -> tuple[float, float, float]:
    """(AUC of a, its variance, two-sided p against b) by two plain loops over the definition of psi."""

    def psi(x: float, y: float) -> float:
        return 1.0 if x > y else 0.5 if x == y else 0.0

    positive, negative = np.flatnonzero(labels == 1), np.flatnonzero(labels == 0)

    def components(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        v10 = [sum(psi(scores[i], scores[j]) for j in negative) / len(negative) for i in positive]
        v01 = [sum(psi(scores[i], scores[j]) for i in positive) / len(positive) for j in negative]
        return np.array(v10), np.array(v01)

    (a10, a01), (b10, b01) = components(a), components(b)
    covariance = np.cov(a10, b10) / len(positive) + np.cov(a01, b01) / len(negative)
    variance = covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1]
    difference = a10.mean() - b10.mean()
    p = 2 * norm.sf(abs(difference) / math.sqrt(variance)) if variance > 1e-15 else 1.0
    return a10.mean(), covariance[0, 0], p


def some_cases(seed: int, cases: int, steps: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Labels and two correlated, tied scores."""
    generator = np.random.default_rng(seed)
    labels = np.arange(cases) % 2
    common = generator.normal(size=cases) + labels
    a, b = (np.round((common + generator.normal(size=cases)) * steps) / steps for _ in range(2))
    return labels, a, b


def test_published_reading_study():
    """0.8932, standard error 0.0307, 0.83295 to 0.95339, as in Stata's manual of roctab for the same table."""
    scores = np.concatenate([np.repeat(np.arange(5), NORMAL_READINGS), np.repeat(np.arange(5), ABNORMAL_READINGS)])
    labels = np.repeat([0, 1], [sum(NORMAL_READINGS), sum(ABNORMAL_READINGS)])
    found = auc_with_interval(labels, scores)
    assert found.value == pytest.approx(0.8932, abs=5e-5)
    assert (found.high - found.value) / norm.ppf(0.975) == pytest.approx(0.0307, abs=5e-5)
    assert (found.low, found.high) == pytest.approx((0.83295, 0.95339), abs=5e-6)


@pytest.mark.parametrize("steps", [1, 100])
@pytest.mark.parametrize("seed", range(4))
def test_plain_loop_and_second_package(seed, steps):
    labels, a, b = some_cases(seed, 60, steps)
    value, variance, p = slow_delong(labels, a, b)
    found = auc_with_interval(labels, a)
    assert found.value == pytest.approx(value, abs=1e-12)
    assert found.low == pytest.approx(value - norm.ppf(0.975) * math.sqrt(variance), abs=1e-12)
    assert compare_aucs(labels, a, b) == pytest.approx(p, abs=1e-12)
    assert compare_aucs(labels, a, b) == pytest.approx(Delong_test(labels, a, b, verbose=0)[1], abs=1e-9)


def test_mean_of_seeds():
    """The mean AUC of several models has the variance of DeLong's contrast (1/k, ..., 1/k)."""
    labels, a, b = some_cases(5, 80, 100)
    found = auc_with_interval(labels, np.stack([a, b]))
    assert found.value == pytest.approx((auc(labels, a) + auc(labels, b)) / 2)
    variance_a, variance_b = slow_delong(labels, a, b)[1], slow_delong(labels, b, a)[1]
    deviation = (found.high - found.value) / norm.ppf(0.975)
    assert deviation**2 < (variance_a + variance_b) / 2  # correlated, but not the same: less than one model's
    assert auc_with_interval(labels, np.stack([a, a])) == auc_with_interval(labels, a)


def test_null_p_values_are_uniform():
    """Two equally good models: the test rejects in about 5 of 100 experiments."""
    rejected = np.mean([compare_aucs(*some_cases(seed, 120, 100)) < 0.05 for seed in range(400)])
    assert 0.02 < rejected < 0.09


def test_interval_covers_the_truth():
    """Two normals one deviation apart: the true AUC, Phi(1 / sqrt 2), lies in about 95 of 100 intervals."""
    truth, inside = norm.cdf(1 / math.sqrt(2)), 0
    for seed in range(300):
        generator = np.random.default_rng(seed)
        labels = np.repeat([0, 1], 50)
        found = auc_with_interval(labels, generator.normal(size=100) + labels)
        inside += found.low <= truth <= found.high
    assert 0.91 < inside / 300 < 0.98


def test_perfect_separation_is_not_certain():
    """With three against five cases, the lower limit is Clopper and Pearson's for 3 of 3."""
    found = auc_with_interval([1, 1, 1, 0, 0, 0, 0, 0], [9, 8, 7, 1, 2, 3, 4, 5])
    assert (found.value, found.high) == (1.0, 1.0)
    assert found.low == pytest.approx(beta.ppf(0.025, 3, 1))
    assert compare_aucs([1, 1, 1, 0, 0, 0], [9, 8, 7, 1, 2, 3], [1, 2, 3, 9, 8, 7]) == 2 * 0.5**3
    assert compare_aucs([1, 1, 0], [3, 2, 1], [3, 2, 1]) == 1.0


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.integers(0, 4), st.integers(0, 4)), min_size=1, max_size=12))
def test_small_and_tied_samples_give_numbers_or_words(cases):
    labels, a, b = (np.array(column) for column in zip(*cases, strict=True))
    if labels.all() or not labels.any():
        with pytest.raises(StatisticsError, match="two classes are needed"):
            auc_with_interval(labels, a)
        return
    found = auc_with_interval(labels, a)
    assert 0 <= found.low <= found.value <= found.high <= 1
    assert 0 <= compare_aucs(labels, a, b) <= 1
    assert compare_aucs(labels, a, b) == compare_aucs(labels, b, a)


@pytest.mark.parametrize("scores", [[0.1, math.nan], [0.1], [0.1, math.inf]])
def test_bad_scores_are_refused(scores):
    with pytest.raises(StatisticsError, match=r"scores|labels has 2 entries where 1"):
        auc_with_interval([0, 1], scores)
