"""Associations, agreement of repeated measurements and ComBat against scipy, statsmodels, pingouin and neuroCombat."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import f_oneway, spearmanr
from scipy.stats.contingency import association, crosstab

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.association import cramers_v, eta_squared, rank_correlation
from BrainIACLib.statistics.bootstrap import bootstrap
from BrainIACLib.statistics.combat import fit_combat
from BrainIACLib.statistics.repeatability import intraclass_correlation


@pytest.fixture
def columns():
    rng = np.random.default_rng(0)
    first = rng.integers(0, 3, 90)
    second = np.where(rng.random(90) < 0.5, first, rng.integers(0, 4, 90))
    return first, second, first + rng.standard_normal(90)


def test_cramers_v_is_scipys_after_bergsmas_correction(columns):
    first, second, _ = columns
    table = crosstab(first, second).count
    plain, n = association(table, method="cramer"), table.sum()
    phi2 = plain**2 * (min(table.shape) - 1)
    corrected = phi2 - (table.shape[0] - 1) * (table.shape[1] - 1) / (n - 1)
    sizes = [size - (size - 1) ** 2 / (n - 1) for size in table.shape]
    assert cramers_v(first, second) == pytest.approx(np.sqrt(corrected / (min(sizes) - 1)))
    rng = np.random.default_rng(1)
    independent = [cramers_v(rng.integers(0, 2, 60), rng.integers(0, 10, 60)) for _ in range(200)]
    assert np.mean(independent) < 0.12  # the uncorrected one is .38 here


def test_eta_squared_follows_from_the_f_value_of_scipy(columns):
    first, _, values = columns
    ratio, n, k = f_oneway(*(values[first == name] for name in range(3))).statistic, 90, 3
    assert eta_squared(first, values) == pytest.approx((k - 1) * (ratio - 1) / ((k - 1) * ratio + n - k))


def test_rank_correlation_is_scipys(columns):
    first, _, values = columns
    assert rank_correlation(first, values) == pytest.approx(spearmanr(first, values).statistic)


@pytest.mark.parametrize("measure", [cramers_v, eta_squared])
def test_weights_give_what_resampled_columns_give(measure, columns):
    first, second, values = columns
    other = values if measure is eta_squared else second
    weights = np.random.default_rng(2).multinomial(90, [1 / 90] * 90, size=20)
    slow = [measure(np.repeat(first, row), np.repeat(other, row)) for row in weights]
    assert np.allclose(measure(first, other, weights=weights.astype(float)), slow)
    interval = bootstrap(measure, first, other)
    assert interval.low < interval.value < interval.high


@pytest.mark.parametrize("measure", [cramers_v, eta_squared, rank_correlation])
def test_a_constant_column_has_no_association(measure):
    with pytest.raises(StatisticsError):
        measure([1.0] * 10, [2.0] * 10)


SHROUT = np.array([[9, 2, 5, 8], [6, 1, 3, 2], [8, 4, 6, 8], [7, 1, 2, 6], [10, 5, 6, 9], [6, 2, 4, 7]], float)


def test_the_intraclass_correlation_is_that_of_shrout_and_fleiss():
    """Their Table 4: ICC(1, 1) = .17, of six targets and four judges; interval of section "Confidence intervals"."""
    found = intraclass_correlation(SHROUT.ravel(), np.repeat(np.arange(6), 4))
    assert found.value == pytest.approx(0.1657, abs=5e-4)
    pingouin = pytest.importorskip("pingouin", reason="pingouin is not installed")
    import pandas

    data = {"target": np.repeat(np.arange(6), 4), "rater": np.tile(np.arange(4), 6), "score": SHROUT.ravel()}
    table = pingouin.intraclass_corr(pandas.DataFrame(data), targets="target", raters="rater", ratings="score")
    row = table.iloc[0]
    assert found.value == pytest.approx(row["ICC"])
    limits = next(row[name] for name in ("CI95%", "CI95") if name in row)
    assert (found.low, found.high) == pytest.approx(tuple(limits), abs=0.006)


def test_people_measured_once_add_nothing_and_perfect_agreement_is_one():
    people = ["a", "a", "b", "b", "c"]
    assert intraclass_correlation([1, 1, 2, 2, 9], people).value == 1
    with pytest.raises(StatisticsError, match="two people"):
        intraclass_correlation([1, 2, 3], ["a", "a", "b"])


def test_the_interval_of_unequal_counts_covers_the_truth_of_a_simulation():
    rng, covered = np.random.default_rng(0), 0
    for _ in range(300):
        people = np.repeat(np.arange(30), rng.integers(2, 4, 30))
        values = rng.standard_normal(30)[people] * 2 + rng.standard_normal(len(people))  # ICC .8
        found = intraclass_correlation(values, people)
        covered += found.low <= 0.8 <= found.high
    assert 0.91 <= covered / 300 <= 0.98


def test_combat_is_that_of_neurocombat():
    pytest.importorskip("neuroCombat", reason="neuroCombat is not installed")
    import pandas
    from neuroCombat import neuroCombat

    rng = np.random.default_rng(0)
    site, age = np.repeat([0, 1, 2], (20, 25, 15)), rng.uniform(20, 80, 60)
    values = rng.standard_normal((60, 30)) * (1 + site[:, None]) + site[:, None] * rng.standard_normal(30)
    values += age[:, None] * rng.standard_normal(30) / 20
    for covariates, names in ((None, []), (age[:, None], ["age"])):
        frame = pandas.DataFrame({"site": site + 1, "age": age})[["site", *names]]
        theirs = neuroCombat(
            dat=pandas.DataFrame(values.T), covars=frame, batch_col="site", continuous_cols=names or None
        )["data"].T
        ours = fit_combat(values, site, covariates)
        assert np.allclose(ours.apply(values, site, covariates), theirs, rtol=0, atol=1e-5)
        part = rng.permutation(60)[:7]  # one case's result does not depend on which others are asked with it
        some = None if covariates is None else covariates[part]
        assert np.allclose(ours.apply(values[part], site[part], some), theirs[part], rtol=0, atol=1e-5)
    with pytest.raises(StatisticsError, match="not fitted on the site '7'"):
        ours.apply(values[:1], [7], covariates[:1])
