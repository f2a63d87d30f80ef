"""Our light solvers against scikit-learn, refitting, and a slow plain Cox likelihood checked with lifelines."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize
from sklearn.linear_model import LogisticRegression, Ridge

from BrainIACLib.head_training import cox
from BrainIACLib.head_training.logistic import balanced_weights, fit_logistic, log_loss, probabilities
from BrainIACLib.head_training.ridge import fit_ridge, left_out_errors
from BrainIACLib.statistics.principal_space import LEAST_SCALE, space_of


def embeddings(cases: int, size: int, seed: int = 0) -> np.ndarray:
    """Correlated, of unequal scale, not centered, with one number that never varies."""
    rng = np.random.default_rng(seed)
    values = 5 + rng.standard_normal((cases, size)) @ (0.3 * rng.standard_normal((size, size))) * rng.uniform(
        0.1, 9, size
    )
    values[:, 0] = 3.0
    return values


def standardised(values: np.ndarray) -> np.ndarray:
    deviation = values.std(axis=0)
    return (values - values.mean(axis=0)) / np.maximum(deviation, LEAST_SCALE * np.median(deviation))


@pytest.mark.parametrize(("cases", "size"), [(40, 90), (90, 40), (50, 50)])
def test_a_space_is_a_rotation_of_the_standardised_embeddings(cases, size):
    values = embeddings(cases, size)
    space = space_of(values)
    assert np.allclose(space.coordinates @ space.coordinates.T, standardised(values) @ standardised(values).T)
    assert np.allclose(space.axes.T @ space.axes, np.eye(space.axes.shape[1]), atol=1e-8)
    assert np.allclose(space.project(values), space.coordinates, atol=1e-8)
    weights, bias = np.random.default_rng(1).standard_normal((space.axes.shape[1], 2)), np.array([1.0, -2.0])
    direct, shift = space.on_embeddings(weights, bias)
    assert np.allclose(values @ direct.T + shift, space.coordinates @ weights + bias, atol=1e-7)


@pytest.mark.parametrize(("cases", "size"), [(40, 90), (90, 40)])
@pytest.mark.parametrize("penalty", [0.1, 30.0, 3000.0])
def test_ridge_is_that_of_scikit_learn(cases, size, penalty):
    values = embeddings(cases, size)
    response = values[:, 1] - values[:, 2] + np.random.default_rng(2).standard_normal(cases)
    space = space_of(values)
    weights, bias = space.on_embeddings(*fit_ridge(space, response[:, None], penalty))
    reference = Ridge(penalty).fit(standardised(values), response)
    assert np.allclose(values @ weights[0] + bias, reference.predict(standardised(values)), atol=1e-7)


def test_leaving_a_patient_out_of_ridge_is_refitting_without_it():
    values, rng = embeddings(30, 50), np.random.default_rng(3)
    groups = np.repeat(np.arange(12), [1, 2, 3, 4, 1, 2, 3, 4, 1, 2, 3, 4])
    responses = rng.standard_normal((30, 2)) + values[:, 1:3]
    space = space_of(values)
    penalties = np.array([0.5, 20.0, 800.0])
    errors = left_out_errors(space, responses, groups, penalties)
    scaled = standardised(values)
    for row, penalty in enumerate(penalties):
        squares = np.empty_like(responses)
        for group in np.unique(groups):
            out = groups == group
            squares[out] = (
                Ridge(penalty).fit(scaled[~out], responses[~out]).predict(scaled[out]) - responses[out]
            ) ** 2
        assert np.allclose(errors[row], squares.mean(axis=0), rtol=1e-6)


@pytest.mark.parametrize(("cases", "size", "classes"), [(60, 100, 2), (120, 30, 2), (60, 90, 3), (150, 30, 4)])
@pytest.mark.parametrize("penalty", [1.0, 100.0, 10_000.0])
def test_logistic_is_that_of_scikit_learn(cases, size, classes, penalty):
    values = embeddings(cases, size)
    rng = np.random.default_rng(4)
    truth = (standardised(values)[:, 1 : classes + 1] + rng.standard_normal((cases, classes))).argmax(axis=1)
    space = space_of(values)
    weights = balanced_weights(truth, classes)
    fits = fit_logistic(space.coordinates, truth, classes, weights[:, None], np.array([penalty]), 1e-9)
    outputs = space.coordinates @ fits[0][0] + fits[1][0]
    reference = LogisticRegression(C=1 / penalty, class_weight="balanced", tol=1e-10, max_iter=10_000)
    reference.fit(standardised(values), truth)
    assert np.allclose(probabilities(outputs), reference.predict_proba(standardised(values)), atol=1e-5)


def test_fits_side_by_side_are_the_fits_alone_and_see_only_their_cases():
    values = embeddings(50, 20)
    truth = (standardised(values)[:, 1] + np.random.default_rng(5).standard_normal(50) > 0).astype(int)
    space = space_of(values)
    seen = np.ones((50, 2))
    seen[:10, 1] = 0
    both = fit_logistic(space.coordinates, truth, 2, seen, np.array([10.0, 40.0]), 1e-10)
    reference = LogisticRegression(C=1 / 40, tol=1e-12, max_iter=10_000).fit(space.coordinates[10:], truth[10:])
    assert np.allclose(both[0][1][:, 0], reference.coef_[0], atol=1e-6)
    assert both[1][1][0] == pytest.approx(reference.intercept_[0], abs=1e-5)


@pytest.mark.parametrize("outputs", [1, 3])
def test_log_loss_is_that_of_scikit_learn(outputs):
    from sklearn.metrics import log_loss as reference

    rng = np.random.default_rng(6)
    logits, truth, weights = rng.standard_normal((40, outputs)), rng.integers(0, max(2, outputs), 40), rng.random(40)
    ours = log_loss(logits[None], truth, weights[:, None])[0]
    assert ours == pytest.approx(
        reference(truth, probabilities(logits), sample_weight=weights, labels=range(max(2, outputs)))
    )


def slow_cox(weights, values, times, events, penalty):
    """Efron's negative log partial likelihood by its definition, one event time after the other."""
    scores, total = values @ weights, 0.0
    for time in np.unique(times[events]):
        died = np.flatnonzero(events & (times == time))
        for rank in range(len(died)):
            at_risk = np.exp(scores[times >= time]).sum() - rank / len(died) * np.exp(scores[died]).sum()
            total += np.log(at_risk)
        total -= scores[died].sum()
    return total + penalty / 2 * weights @ weights


def survival(cases: int, seed: int = 0, step: float = 4.0):
    """Times with many ties."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal((cases, 4))
    times = np.ceil(step * rng.exponential(np.exp(-values[:, 0] + 0.5 * values[:, 1]))) / step
    return values, times, rng.random(cases) < 0.7


@pytest.mark.parametrize("penalty", [0.01, 5.0])
def test_cox_minimises_the_likelihood_of_its_definition(penalty):
    values, times, events = survival(40)
    ours = cox.fit_cox(values, times, events, penalty)
    reference = minimize(slow_cox, np.zeros(4), (values, times, events, penalty), method="BFGS", options={"gtol": 1e-6})
    assert np.allclose(ours, reference.x, atol=1e-4)
    likelihood = -slow_cox(ours, values, times, events, 0.0)
    assert cox.partial_log_likelihood(values @ ours, times, events) == pytest.approx(likelihood)


def test_the_baseline_hazard_is_breslows_and_residuals_are_the_martingales():
    values, times, events = survival(30, seed=1)
    scores = values @ np.array([0.5, -0.2, 0.1, 0.0])
    hazard = sum(
        1 / np.exp(scores)[times >= time].sum() for time, died in zip(times, events, strict=True) if died and time <= 1
    )
    assert cox.baseline_log_hazard(scores, times, events, 1.0) == pytest.approx(np.log(hazard))
    residuals = cox.martingale_residuals(times, events)
    expected = [sum(1 / (times >= t).sum() for t in times[events] if t <= own) for own in times]
    assert np.allclose(residuals, events - np.array(expected))
    assert residuals.sum() == pytest.approx(0, abs=1e-9)


LIFELINES = (0.92144498, -0.45362361, 0.00978461, -0.04403931)


def test_cox_is_that_of_lifelines():
    """Coefficients that lifelines 0.30.3 gave: CoxPHFitter(penalizer=0.05).fit(...) on the standardized columns.

    lifelines needs an older pandas than the other tests, so that its answer stands here as numbers.
    """
    values, times, events = survival(80, seed=2)
    scaled = (values - values.mean(axis=0)) / values.std(axis=0, ddof=1)
    ours = cox.fit_cox(scaled, times, events, 80 * 0.05)
    assert np.allclose(ours, LIFELINES, atol=2e-4)
