"""Survival curves, the log-rank test and the censored AUC against published numbers and scipy (PROTOCOL P-38, P-41)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import CensoredData, ecdf, logrank

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.metrics import auc
from BrainIACLib.statistics.survival import at_risk, auc_at, kaplan_meier, log_rank, median_split

# Freireich and others, Blood 21, 1963: weeks of remission of leukaemia under 6-mercaptopurine and placebo
DRUG = [6, 6, 6, 6, 7, 9, 10, 10, 11, 13, 16, 17, 19, 20, 22, 23, 25, 32, 32, 34, 35]
DRUG_EVENT = [1, 1, 1, 0, 1, 0, 1, 0, 0, 1, 1, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0]
PLACEBO = [1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23]

outcomes = st.lists(st.tuples(st.integers(0, 6), st.booleans(), st.booleans()), min_size=1, max_size=14)


def columns(cases) -> list[np.ndarray]:
    return [np.array(column) for column in zip(*cases, strict=True)]


def test_published_remission_curve():
    """Survival and numbers at risk as printed in Kalbfleisch and Prentice and in every textbook since."""
    curve = kaplan_meier(DRUG, DRUG_EVENT)
    assert curve.times.tolist() == [0, 6, 7, 10, 13, 16, 22, 23]
    assert curve.survival.round(3).tolist() == [1, 0.857, 0.807, 0.753, 0.690, 0.627, 0.538, 0.448]
    assert curve.at_risk.tolist() == [21, 21, 17, 15, 12, 11, 7, 6]
    assert curve.median == 23
    assert (curve.low[1].round(3), curve.high[1].round(3)) == (0.620, 0.952)  # log(-log) limits, as R prints them
    assert kaplan_meier(PLACEBO, [1] * 21).median == 8
    assert at_risk(DRUG, [0, 10, 20, 30]).tolist() == [21, 15, 8, 4]


def test_published_log_rank():
    """Chi-square 16.79 for drug against placebo, with 9 deaths observed and 19.3 expected (R's survdiff)."""
    found = log_rank(DRUG + PLACEBO, DRUG_EVENT + [1] * 21, [1] * 21 + [0] * 21)
    assert found.statistic == pytest.approx(16.79, abs=0.005)
    assert found.p == pytest.approx(4.17e-5, abs=5e-8)
    assert (found.observed, found.expected) == pytest.approx((9, 19.25), abs=0.01)


@settings(max_examples=40)
@given(outcomes)
def test_curve_agrees_with_scipy_and_stays_within_its_limits(cases):
    time, event, _ = columns(cases)
    curve = kaplan_meier(time, event)
    for table in (curve.survival, curve.low, curve.high):
        assert np.isfinite(table).all()
    assert (curve.low <= curve.survival + 1e-12).all()
    assert (curve.survival <= curve.high + 1e-12).all()
    assert 0 <= curve.low.min() <= curve.high.max() <= 1
    if event.any():
        other = ecdf(CensoredData(time[event].astype(float), right=time[~event].astype(float))).sf
        for when in range(7):
            assert curve.at(when) == pytest.approx(other.evaluate(when), abs=1e-12)
    else:
        assert curve.survival.tolist() == [1]
        assert curve.median is None


@settings(max_examples=40)
@given(outcomes)
def test_log_rank_agrees_with_scipy_or_says_why_not(cases):
    time, event, group = columns(cases)
    if group.all() or not group.any():
        with pytest.raises(StatisticsError, match="in one group"):
            log_rank(time, event, group)
        return
    found = log_rank(time, event, group)
    assert 0 <= found.p <= 1
    assert found.p == pytest.approx(log_rank(time, event, ~group).p)
    if not event.any():
        assert found.p == 1  # nobody died: nothing speaks for a difference
    elif found.statistic > 0:
        a, b = (
            CensoredData(time[of & event].astype(float), right=time[of & ~event].astype(float))
            for of in (group, ~group)
        )
        assert found.p == pytest.approx(logrank(a, b).pvalue, abs=1e-9)


def test_median_comes_from_the_training_set():
    """C-10: the test cases do not move the threshold, even where all of them fall on one side."""
    threshold, high = median_split([0.2, 0.4, 0.6, 0.8], [0.7, 0.9, 0.51])
    assert threshold == 0.5
    assert high.all()


def test_censored_auc_without_censoring_is_the_plain_one():
    generator = np.random.default_rng(0)
    time, risk = generator.exponential(12, 60), generator.random(60)
    assert auc_at(time, np.ones(60), risk, 12) == pytest.approx(auc(time <= 12, risk))


def test_censored_auc_is_less_biased_than_leaving_the_censored_out():
    """Without those censored early, known deaths are mostly early ones, of those at highest risk: too good an AUC.

    The reference is the AUC of the same patients had nobody been censored, over 20 cohorts.
    """
    weighted, left_out, truth = [], [], []
    for seed in range(20):
        generator = np.random.default_rng(seed)
        risk = generator.normal(size=1000)
        death = generator.exponential(12 * np.exp(-2 * risk))
        lost = generator.uniform(0, 14, 1000)
        time, event = np.minimum(death, lost), death <= lost
        known = event | (time > 12)
        truth.append(auc(death <= 12, risk))
        weighted.append(auc_at(time, event, risk, 12))
        left_out.append(auc(time[known] <= 12, risk[known]))
    assert abs(np.mean(weighted) - np.mean(truth)) < 0.006
    assert np.mean(left_out) - np.mean(truth) > 0.012


@settings(max_examples=60)
@given(outcomes)
def test_censored_auc_is_defined_or_says_why_not(cases):
    time, event, _ = columns(cases)
    try:
        value = auc_at(time, event, np.arange(len(time)), 3)
    except StatisticsError as error:
        assert "someone who died by then" in str(error)  # noqa: PT017
        return
    assert 0 <= value <= 1


def test_negative_time_is_refused():
    with pytest.raises(StatisticsError, match="cannot be negative, as in case 2"):
        kaplan_meier([1, -1], [1, 0])
