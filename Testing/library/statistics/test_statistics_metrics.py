"""Metrics and their weighted forms against scikit-learn and plain loops (PROTOCOL P-25, P-30, P-40)."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import balanced_accuracy_score, mean_absolute_error, roc_auc_score

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.metrics import auc, balanced_accuracy, balanced_accuracy_shares, c_index, mae


def slow_c_index(time, event, risk) -> float:
    """Harrell's definition, pair by pair."""
    right = pairs = 0.0
    for i in range(len(time)):
        for j in range(len(time)):
            if event[i] and (time[i] < time[j] or (time[i] == time[j] and not event[j])):
                pairs += 1
                right += 1.0 if risk[i] > risk[j] else 0.5 if risk[i] == risk[j] else 0.0
    return right / pairs


@pytest.fixture(params=range(3))
def cases(request):
    generator = np.random.default_rng(request.param)
    truth = generator.integers(0, 3, 50)
    return {
        "truth": truth,
        "predicted": np.where(generator.random(50) < 0.6, truth, generator.integers(0, 3, 50)),
        "label": generator.integers(0, 2, 50),
        "score": generator.integers(0, 8, 50) / 8,
        "time": generator.integers(1, 15, 50).astype(float),
        "event": generator.integers(0, 2, 50),
        "weights": generator.integers(0, 3, (7, 50)).astype(float),
    }


def test_metrics_against_scikit_learn(cases):
    assert mae(cases["truth"], cases["score"]) == pytest.approx(mean_absolute_error(cases["truth"], cases["score"]))
    assert auc(cases["label"], cases["score"]) == pytest.approx(roc_auc_score(cases["label"], cases["score"]))
    expected = balanced_accuracy_score(cases["truth"], cases["predicted"])
    assert balanced_accuracy(cases["truth"], cases["predicted"]) == pytest.approx(expected)
    assert balanced_accuracy_shares(cases["truth"], cases["predicted"]).sum() == pytest.approx(expected)
    time, event, risk = cases["time"], cases["event"], cases["score"]
    assert c_index(time, event, risk) == pytest.approx(slow_c_index(time, event, risk))


@pytest.mark.parametrize(
    ("metric", "columns"),
    [
        (mae, ("truth", "score")),
        (balanced_accuracy, ("truth", "predicted")),
        (auc, ("label", "score")),
        (c_index, ("time", "event", "score")),
    ],
)
def test_weights_are_repetitions(cases, metric, columns):
    """A weight of 2 is the case written twice, of 0 the case left out."""
    columns = [cases[name] for name in columns]
    together = metric(*columns, weights=cases["weights"])
    for weights, value in zip(cases["weights"].astype(int), together, strict=True):
        assert value == pytest.approx(metric(*(np.repeat(column, weights) for column in columns)), rel=1e-6)


def test_a_class_that_only_the_prediction_holds_is_an_error_not_a_class():
    assert balanced_accuracy(["T1", "T1", "T2"], ["T1", "T2", "other"]) == 0.25


@settings(max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 5), st.booleans(), st.integers(-2, 2)), min_size=1, max_size=10),
)
def test_c_index_is_defined_or_says_why_not(cases):
    time, event, risk = (np.array(column) for column in zip(*cases, strict=True))
    try:
        value = c_index(time, event, risk)
    except StatisticsError as error:
        assert "nobody is known to have died before another" in str(error)  # noqa: PT017
        assert not event.any() or len(time) == 1 or (time[event].min() >= time.max())
        return
    assert value == pytest.approx(slow_c_index(time, event, risk))
    assert value + c_index(time, event, -risk) == pytest.approx(1)


def test_refusals_name_the_case():
    with pytest.raises(StatisticsError, match="prediction is not a finite number in case 2"):
        mae([1.0, 2.0], [1.0, np.nan])
    with pytest.raises(StatisticsError, match="at least one number"):
        mae([], [])
    with pytest.raises(StatisticsError, match="labels must be 0 or 1"):
        auc([0, 2], [0.1, 0.2])
    with pytest.raises(StatisticsError, match="equally long"):
        balanced_accuracy(["T1"], ["T1", "T2"])
