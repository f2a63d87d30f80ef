"""The patient bootstrap and the paired permutation test against plain loops and scipy (PROTOCOL P-21, C-12)."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import mean_absolute_error

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.bootstrap import bootstrap, bootstrap_difference, paired_permutation_p, resample_counts
from BrainIACLib.statistics.metrics import auc, balanced_accuracy, c_index, mae


def ages(seed: int, cases: int = 80) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """True ages and two predictions, the second worse by about a year."""
    generator = np.random.default_rng(seed)
    truth = generator.uniform(5, 40, cases)
    return truth, truth + generator.normal(0, 4, cases), truth + generator.normal(0, 5.25, cases)


@pytest.mark.parametrize("metric", [mae, balanced_accuracy, auc])
def test_fast_path_equals_the_plain_loop(metric):
    """The same metric without its weights is evaluated resample by resample: the same interval to the last digits."""
    generator = np.random.default_rng(1)
    truth = generator.integers(0, 2, 40)
    other = generator.integers(0, 2, 40) if metric is balanced_accuracy else generator.random(40)
    patients = generator.integers(0, 15, 40)
    fast = bootstrap(metric, truth, other, groups=patients, resamples=150, seed=3)
    slow = bootstrap(lambda a, b: metric(a, b), truth, other, groups=patients, resamples=150, seed=3)
    assert (fast.value, fast.low, fast.high) == pytest.approx((slow.value, slow.low, slow.high), abs=1e-12)


def test_c_index_fast_path_equals_the_plain_loop():
    generator = np.random.default_rng(2)
    columns = generator.integers(1, 20, 30), generator.integers(0, 2, 30), generator.random(30)
    fast = bootstrap(c_index, *columns, resamples=100)
    slow = bootstrap(lambda *three: c_index(*three), *columns, resamples=100)
    assert (fast.low, fast.high) == pytest.approx((slow.low, slow.high), abs=1e-6)


def test_interval_agrees_with_scipy():
    """scipy draws other resamples; with 20,000 of each the limits differ by less than a fiftieth of the width."""
    truth, prediction, _ = ages(0)
    found = bootstrap(mae, truth, prediction, resamples=20_000)
    other = scipy.stats.bootstrap(
        (np.abs(truth - prediction),), np.mean, n_resamples=20_000, method="percentile", rng=np.random.default_rng(5)
    ).confidence_interval
    width = found.high - found.low
    assert found.low == pytest.approx(other.low, abs=width / 50)
    assert found.high == pytest.approx(other.high, abs=width / 50)


def test_a_metric_of_another_package_can_be_used():
    truth, prediction, _ = ages(0)
    other, own = (bootstrap(metric, truth, prediction, resamples=50) for metric in (mean_absolute_error, mae))
    assert (other.low, other.high) == pytest.approx((own.low, own.high))


def test_patients_are_drawn_whole():
    """Each patient's cases have one count, every resample has as many patients as there are, and seeds repeat."""
    patients = np.array(["b", "a", "b", "c", "a", "b"])
    rows = np.concatenate(list(resample_counts(6, patients, 500, seed=1)))
    assert (rows[:, 0] == rows[:, 2]).all()
    assert (rows[:, 0] == rows[:, 5]).all()
    assert (rows[:, 1] == rows[:, 4]).all()
    assert (rows[:, 0] + rows[:, 1] + rows[:, 3] == 3).all()
    assert rows.mean(axis=0) == pytest.approx(np.ones(6), abs=0.15)
    assert (np.concatenate(list(resample_counts(6, patients, 500, seed=1))) == rows).all()


def test_repeated_scans_of_a_patient_add_no_certainty():
    """Ten copies of each patient's scan: the interval stays as wide as with one, where it knows the patients."""
    truth, prediction, _ = ages(4, 40)
    once = bootstrap(mae, truth, prediction)
    copies = [np.repeat(column, 10) for column in (truth, prediction)]
    known = bootstrap(mae, *copies, groups=np.repeat(np.arange(40), 10))
    unknown = bootstrap(mae, *copies)
    assert (known.low, known.high) == pytest.approx((once.low, once.high))
    assert unknown.high - unknown.low < 0.5 * (once.high - once.low)


def test_coverage_of_the_mean_error():
    """The true mean absolute error of normal noise, sigma sqrt(2 / pi), lies in about 95 of 100 intervals."""
    truth_value, inside = 4 * np.sqrt(2 / np.pi), 0
    for seed in range(200):
        truth, prediction, _ = ages(seed)
        found = bootstrap(mae, truth, prediction, resamples=400, seed=seed)
        inside += found.low <= truth_value <= found.high
    assert 0.89 < inside / 200 < 0.99


def test_paired_difference_is_sharper_than_two_intervals():
    truth, a, _ = ages(6, 120)
    b = (
        a + np.random.default_rng(0).normal(0.0, 0.3, 120) + np.sign(a - truth) * 0.3
    )  # almost the same model, a bit worse
    found = bootstrap_difference(mae, (truth, a), (truth, b))
    alone = bootstrap(mae, truth, a)
    assert found.interval.value == pytest.approx(mae(truth, a) - mae(truth, b))
    assert found.interval.high < 0
    assert found.p < 0.01
    assert found.interval.high - found.interval.low < 0.3 * (alone.high - alone.low)
    assert bootstrap_difference(mae, (truth, a), (truth, a)).p == 1


def test_permutation_against_every_swap():
    """Up to 12 patients all swaps are tried, as the plain loop over itertools.product does."""
    generator = np.random.default_rng(0)
    a, b, patients = generator.random(9), generator.random(9), np.array([0, 0, 1, 2, 3, 4, 5, 5, 6])
    difference = np.array([(a - b)[patients == patient].sum() for patient in range(7)])
    swaps = [abs(np.dot(signs, difference)) for signs in itertools.product((1, -1), repeat=7)]
    expected = np.mean(np.array(swaps) >= abs(difference.sum()) - 1e-12)
    assert paired_permutation_p(a, b, patients) == pytest.approx(expected)


def test_permutation_agrees_with_scipy_and_is_uniform_under_the_null():
    truth, a, b = ages(3, 60)
    errors = np.abs(a - truth), np.abs(b - truth)
    expected = scipy.stats.permutation_test(
        errors, lambda x, y: np.mean(x - y), permutation_type="samples", n_resamples=5000, rng=1
    ).pvalue
    assert paired_permutation_p(*errors) == pytest.approx(expected, abs=0.03)
    null = [
        paired_permutation_p(*np.random.default_rng(seed).random((2, 30)), resamples=200) < 0.05 for seed in range(300)
    ]
    assert 0.02 < np.mean(null) < 0.09


@settings(max_examples=40)
@given(st.lists(st.tuples(st.booleans(), st.booleans(), st.integers(0, 3)), min_size=1, max_size=8))
def test_small_samples_give_numbers_or_words(cases):
    truth, predicted, patients = (np.array(column) for column in zip(*cases, strict=True))
    try:
        found = bootstrap(balanced_accuracy, truth, predicted, groups=patients, resamples=60)
    except StatisticsError as error:
        assert "too few cases of a class" in str(error)  # noqa: PT017
        return
    assert np.isfinite([found.value, found.low, found.high]).all()
    assert 0 <= found.low <= found.high <= 1
    assert 0 < paired_permutation_p(truth, predicted, patients) <= 1


def test_refusals():
    with pytest.raises(StatisticsError, match="equally long"):
        bootstrap(mae, [1.0], [1.0, 2.0])
    with pytest.raises(StatisticsError, match="groups has 1 entries where 2 are needed"):
        bootstrap(mae, [1.0, 2.0], [1.0, 2.0], groups=["a"])
    with pytest.raises(StatisticsError, match="confidence level"):
        bootstrap(mae, [1.0, 2.0], [1.0, 2.0], level=95)
    with pytest.raises(StatisticsError, match="at least one resample"):
        bootstrap(mae, [1.0, 2.0], [1.0, 2.0], resamples=0)
