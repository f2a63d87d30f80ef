"""Clusters, saliency distance, calibration, decision curves, agreement and conformal sets against their references."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.ndimage
import scipy.stats
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, davies_bouldin_score

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.agreement import agreement
from BrainIACLib.statistics.calibration import brier_score, calibration_error, decision_curve, reliability_curve
from BrainIACLib.statistics.clusters import davies_bouldin
from BrainIACLib.statistics.conformal import (
    classification_scores,
    conformal_quantile,
    prediction_interval,
    prediction_sets,
    regression_scores,
)
from BrainIACLib.statistics.interval import Interval
from BrainIACLib.statistics.saliency_distance import centre_of_mass_distance

probabilities = st.lists(st.tuples(st.booleans(), st.integers(0, 20)), min_size=1, max_size=20)


@pytest.mark.parametrize("seed", range(4))
def test_davies_bouldin_against_scikit_learn(seed):
    """P-28: also with a cluster of one case."""
    generator = np.random.default_rng(seed)
    points, labels = generator.normal(size=(40, 6)), np.append(generator.integers(0, 4, 39), 9)
    assert davies_bouldin(points, labels) == pytest.approx(davies_bouldin_score(points, labels))


def test_davies_bouldin_refuses_what_it_cannot_say():
    with pytest.raises(StatisticsError, match="at least two clusters"):
        davies_bouldin([[0.0], [1.0]], [1, 1])
    with pytest.raises(StatisticsError, match="same center"):
        davies_bouldin([[0.0], [2.0], [1.0]], ["a", "a", "b"])
    with pytest.raises(StatisticsError, match="finite numbers"):
        davies_bouldin([[0.0], [np.nan]], [0, 1])


def test_centre_of_mass_distance_is_in_mm_along_the_scans_own_axes():
    """P-36: two blobs at known places of an anisotropic grid; scipy's center of mass is the reference."""
    generator = np.random.default_rng(0)
    saliency, mask = generator.random((20, 24, 10)), np.zeros((20, 24, 10), bool)
    mask[3:7, 10:20, 2:5] = True
    spacing = np.array([0.9, 1.1, 5.0])
    offset = np.subtract(scipy.ndimage.center_of_mass(saliency), scipy.ndimage.center_of_mass(mask))
    assert centre_of_mass_distance(saliency, mask, spacing) == pytest.approx(np.linalg.norm(offset * spacing))
    cut = np.where(saliency < 0.7 * saliency.max(), 0, saliency)
    offset = np.subtract(scipy.ndimage.center_of_mass(cut), scipy.ndimage.center_of_mass(mask))
    found = centre_of_mass_distance(saliency, mask, spacing, threshold=0.7)
    assert found == pytest.approx(np.linalg.norm(offset * spacing))
    assert centre_of_mass_distance(mask.astype(float), mask, spacing) == 0


@pytest.mark.parametrize(
    ("saliency", "mask", "words"),
    [
        (np.ones((2, 2, 2)), np.zeros((2, 2, 2)), "the mask is empty"),
        (np.zeros((2, 2, 2)), np.ones((2, 2, 2)), "somewhere positive"),
        (np.full((2, 2, 2), np.nan), np.ones((2, 2, 2)), "must be finite"),
        (np.ones((2, 2, 2)), np.ones((2, 2, 3)), "on one grid"),
    ],
)
def test_centre_of_mass_distance_refuses_in_words(saliency, mask, words):
    with pytest.raises(StatisticsError, match=words):
        centre_of_mass_distance(saliency, mask, (1, 1, 1))


def test_reliability_against_scikit_learn():
    generator = np.random.default_rng(1)
    predicted = generator.random(500)
    labels = generator.random(500) < predicted**1.5
    curve = reliability_curve(labels, predicted)
    observed, mean = calibration_curve(labels, predicted, n_bins=10)
    assert curve.observed == pytest.approx(observed)
    assert curve.predicted == pytest.approx(mean)
    assert brier_score(labels, predicted) == pytest.approx(brier_score_loss(labels, predicted))
    by_hand = sum(n * abs(o - p) for n, o, p in zip(curve.count, curve.observed, curve.predicted, strict=True)) / 500
    assert calibration_error(labels, predicted) == pytest.approx(by_hand)
    assert calibration_error(generator.random(20_000) < 0.3, np.full(20_000, 0.3)) < 0.01


@settings(max_examples=40)
@given(probabilities)
def test_calibration_is_always_a_number(cases):
    labels, steps = (np.array(column) for column in zip(*cases, strict=True))
    assert 0 <= calibration_error(labels, steps / 20) <= 1
    assert reliability_curve(labels, steps / 20).count.sum() == len(labels)


def test_decision_curve_by_counting():
    generator = np.random.default_rng(2)
    labels, predicted = generator.random(200) < 0.3, generator.random(200)
    curve = decision_curve(labels, predicted)
    for k in (0, 20, 60, 98):
        t = curve.thresholds[k]
        true = sum(1 for y, p in zip(labels, predicted, strict=True) if p >= t and y)
        false = sum(1 for y, p in zip(labels, predicted, strict=True) if p >= t and not y)
        assert curve.model[k] == pytest.approx(true / 200 - false / 200 * t / (1 - t))
    everybody = decision_curve(labels, np.ones(200))
    assert everybody.model == pytest.approx(curve.everybody)
    with pytest.raises(StatisticsError, match="two classes"):
        decision_curve([1, 1], [0.5, 0.6])


def test_agreement_against_scipy():
    """P-31: the regression line, Pearson's r, the bias and the MAE of the age scatter."""
    generator = np.random.default_rng(3)
    truth = generator.uniform(5, 40, 60)
    predicted = 0.7 * truth + 6 + generator.normal(0, 3, 60)
    found, other = agreement(truth, predicted), scipy.stats.linregress(truth, predicted)
    assert (found.slope, found.intercept, found.r) == pytest.approx((other.slope, other.intercept, other.rvalue))
    assert found.bias == pytest.approx(np.mean(predicted - truth))
    assert agreement(truth, np.full(60, 20.0)).r is None
    with pytest.raises(StatisticsError, match="all true values are the same"):
        agreement([20.0, 20.0], [19.0, 21.0])


def test_conformal_sets_and_intervals_cover():
    """Over 120 calibration sets of 40, the coverage of new cases is at least 90 %, and at most 1 / 41 above it."""
    covered_classes, covered_values = [], []
    for seed in range(120):
        generator = np.random.default_rng(seed)
        logits = generator.normal(size=(140, 3))
        table = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = (table.cumsum(axis=1) > generator.random((140, 1))).argmax(axis=1)
        quantile = conformal_quantile(classification_scores(table[:40], labels[:40]))
        covered_classes.append(prediction_sets(table[40:], quantile)[np.arange(100), labels[40:]].mean())
        truth = generator.standard_cauchy(140)  # no normal error: the guarantee needs none
        quantile = conformal_quantile(regression_scores(truth[:40], np.zeros(40)))
        interval = prediction_interval(0.0, quantile)
        covered_values.append(((interval.low <= truth[40:]) & (truth[40:] <= interval.high)).mean())
    for covered in (covered_classes, covered_values):
        assert 0.89 < np.mean(covered) < 0.9 + 1 / 41 + 0.01


def test_conformal_says_when_there_are_too_few_cases():
    assert conformal_quantile(np.arange(8)) == math.inf
    assert conformal_quantile(np.arange(9)) == 8
    assert prediction_sets([[0.9, 0.1]], math.inf).all()
    with pytest.raises(StatisticsError, match="class numbers from 0 to 1"):
        classification_scores([[0.4, 0.6]], [2])
    with pytest.raises(StatisticsError, match="from 0 to 1"):
        prediction_sets([[1.4, -0.4]], 0.5)


def test_interval_prints_as_papers_do():
    assert f"{Interval(-0.25, -1.5, 0.75):.2f}" == "-0.25 (-1.50 to 0.75)"
    assert f"{Interval(3.95, 3.78, 4.13):.2f}" == "3.95 (3.78-4.13)"
