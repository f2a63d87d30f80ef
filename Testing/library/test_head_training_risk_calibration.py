"""Probabilities of survival heads: against lifelines, against the truth of a simulation, and never from their own case.

lifelines needs an older pandas than the other tests, so that its answers (0.30.3) stand here as numbers.
"""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import logrank

from BrainIACLib.head_training.figures_in_words import risk_groups
from BrainIACLib.head_training.judgement import median_split_test
from BrainIACLib.head_training.risk_calibration import (
    LOWEST,
    calibrate_risk,
    reliability,
    unseen_probabilities,
)
from BrainIACLib.head_training.targets import Target
from BrainIACLib.statistics.survival import kaplan_meier, survival_reliability

END = 12.0


def cohort(cases: int, seed: int, too_sure: float = 2.5):
    """Scores that say ``too_sure`` times what they know, times, events (about 60 %), true P(event by END)."""
    rng = np.random.default_rng(seed)
    risk = rng.standard_normal(cases)
    death, lost = rng.exponential(15 * np.exp(-risk)), rng.uniform(2, 30, cases)
    scores = too_sure * (risk + 0.5 * rng.standard_normal(cases))
    return scores, np.minimum(death, lost), death <= lost, -np.expm1(-END / 15 * np.exp(risk))


def test_slope_and_probabilities_are_those_of_lifelines():
    """CoxPHFitter().fit on the scores alone; params_, and 1 - predict_survival_function at -2, 0 and 3."""
    scores, times, events, _ = cohort(120, 11)
    found = calibrate_risk(scores, times, events, END)
    assert found.slope == pytest.approx(0.27976994, abs=1e-4)
    expected = [0.34487933, 0.52292498, 0.81969720]
    assert found.probabilities(np.array([-2.0, 0.0, 3.0])) == pytest.approx(expected, abs=1e-4)


def test_groups_are_observed_as_lifelines_observes_them():
    """1 - KaplanMeierFitter().predict(12) in thirds of the cases by score."""
    scores, times, events, _ = cohort(120, 11)
    found = survival_reliability(times, events, 1 / (1 + np.exp(-scores)), END, 3)
    assert found.observed == pytest.approx([0.29348386, 0.59081134, 0.78991477], abs=1e-6)
    assert found.count.tolist() == [40, 40, 40]


def test_calibrated_probabilities_are_true_of_new_cases_and_raw_ones_are_not():
    """The truth is that of the simulation, which no censored cohort shows."""
    for seed in range(3):
        scores, times, events, _ = cohort(400, seed)
        new, _, _, truth = cohort(4000, 100 + seed)
        order = np.array_split(np.argsort(new), 5)
        gaps = []
        for slope in (1.0, None):
            said = calibrate_risk(scores, times, events, END, slope).probabilities(new)
            gaps.append(max(abs(said[rows].mean() - truth[rows].mean()) for rows in order))
        assert gaps[0] > 0.12
        assert gaps[1] < 0.08


def test_what_judges_a_calibration_was_not_used_for_it():
    scores, times, events, _ = cohort(100, 3)
    fold = np.arange(100) % 5
    first = unseen_probabilities(scores, times, events, fold, END)
    without = fold != 2
    expected = calibrate_risk(scores[without], times[without], events[without], END).probabilities(scores[~without])
    assert first[~without] == pytest.approx(expected)
    again = unseen_probabilities(scores, np.where(without, times, 99.0), events & without, fold, END)
    assert np.array_equal(first[~without], again[~without])
    assert not np.array_equal(first[without], again[without])


def test_scores_that_say_nothing_give_everybody_the_cohorts_probability():
    """A slope below 0 would turn risks round; it stays above, and the probability is Kaplan-Meier's of all."""
    scores, times, events, _ = cohort(200, 4)
    found = calibrate_risk(-scores, times, events, END)
    assert found.slope == pytest.approx(LOWEST, rel=1e-3)
    everybody = 1 - kaplan_meier(times, events).at(END)
    said = found.probabilities(-scores)
    assert said.std() < 0.06
    assert said.mean() == pytest.approx(everybody, abs=0.03)


def test_scores_that_are_right_as_they_are_keep_their_scale():
    """Noise in the scores asks for a slope of 1 / (1 + 0.25); of 20 cohorts so scaled, about one is rescaled."""
    found = [calibrate_risk(*cohort(80, seed, too_sure=0.8)[:3], END).slope for seed in range(20)]
    assert sum(slope != 1.0 for slope in found) <= 4


def test_nobody_with_an_event_by_the_end_point_means_none_is_foreseen():
    scores, times = np.linspace(-1, 1, 10), np.arange(20.0, 30.0)
    found = calibrate_risk(scores, times, np.ones(10, bool), END)
    assert found.probabilities(scores).tolist() == [0.0] * 10
    assert reliability(times, np.ones(10, bool), np.zeros(10), END).error == 0


@pytest.mark.parametrize(
    ("high", "sizes"), [([0] * 8, None), ([1] * 8, None), ([1, 1, 1, 0, 0, 0, 0, 0], "3 against 5")]
)
def test_a_median_split_says_so_where_there_is_none(high, sizes):
    """One group has no log-rank test; a p of NaN, or none with a traceback, would say nothing."""
    target = Target("time", "survival", np.arange(1.0, 9.0), events=np.ones(8, bool), unit="months")
    found = median_split_test(target, np.array(high, bool), 0.4)
    if sizes is None:
        assert found.p is None
        assert "no high and low group" in risk_groups(found)
    else:
        reference = logrank([1, 2, 3], [4, 5, 6, 7, 8]).pvalue
        assert found.p == pytest.approx(reference)
        assert sizes in risk_groups(found)
