"""Whether probabilities can be taken at their word, and whether acting on them does good."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.columns import both_classes, numbers, zeros_and_ones


@dataclass(frozen=True)
class ReliabilityCurve:
    """Per bin that has cases, (bins,): mean probability, share of cases that were positive, number of cases."""

    predicted: np.ndarray
    observed: np.ndarray
    count: np.ndarray

    @property
    def error(self) -> float:
        """The mean over cases of ``|observed - predicted|`` of their bin."""
        return float(self.count @ np.abs(self.observed - self.predicted) / self.count.sum())


def reliability_curve(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> ReliabilityCurve:
    """Cases by probability in ``bins`` equal steps from 0 to 1 (a bin holds its upper edge; the first also 0).

    For several classes, give whether the most probable class was right, and its probability. Source: Guo and others,
    On Calibration of Modern Neural Networks, ICML 2017, equations 2 and 3.

    >>> reliability_curve([0, 1, 1], [0.1, 0.6, 1.0], bins=2).observed.tolist()
    [0.0, 1.0]
    """
    labels, probabilities = _probable(labels, probabilities)
    index = np.clip(np.ceil(probabilities * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(index, minlength=bins)
    there = count > 0
    predicted = np.bincount(index, probabilities, bins)[there] / count[there]
    observed = np.bincount(index, labels, bins)[there] / count[there]
    return ReliabilityCurve(predicted, observed, count[there])


def calibration_error(labels: ArrayLike, probabilities: ArrayLike, bins: int = 10) -> float:
    """Expected calibration error: the mean over cases of ``|observed - predicted|`` of their bin.

    >>> round(calibration_error([0, 1, 1, 0], [0.2, 0.7, 0.9, 0.3], bins=10), 3)
    0.225
    """
    return reliability_curve(labels, probabilities, bins).error


def brier_score(labels: ArrayLike, probabilities: ArrayLike) -> float:
    """Mean squared distance of probability and outcome. Source: Brier, Monthly Weather Review 78, 1950.

    >>> brier_score([0, 1], [0.5, 0.5])
    0.25
    """
    labels, probabilities = _probable(labels, probabilities)
    return float(np.mean((probabilities - labels) ** 2))


@dataclass(frozen=True)
class DecisionCurve:
    """Net benefit (thresholds,) of treating by the model, and of treating everybody; of treating nobody it is 0."""

    thresholds: np.ndarray
    model: np.ndarray
    everybody: np.ndarray


def decision_curve(labels: ArrayLike, probabilities: ArrayLike, thresholds: ArrayLike | None = None) -> DecisionCurve:
    """``TP / n - FP / n * t / (1 - t)`` where those with probability ``t`` or more are treated.

    ``thresholds`` lie from 0 to below 1; 0.01 to 0.99 if None. Source: Vickers and Elkin, Medical Decision Making 26,
    2006.

    >>> decision_curve([1, 0, 1, 0], [0.9, 0.6, 0.4, 0.1], [0.5]).model.tolist()
    [0.0]
    """
    positive = both_classes("labels", labels)
    probabilities = _probable(labels, probabilities)[1]
    t = numbers("thresholds", np.linspace(0.01, 0.99, 99) if thresholds is None else thresholds)
    if t.min() < 0 or t.max() >= 1:
        raise StatisticsError("decision thresholds lie from 0 to below 1")
    treated = probabilities >= t[:, None]
    odds = t / (1 - t)
    model = (treated & positive).mean(axis=1) - (treated & ~positive).mean(axis=1) * odds
    return DecisionCurve(t, model, positive.mean() - (~positive).mean() * odds)


def _probable(labels: ArrayLike, probabilities: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    probabilities = numbers("probabilities", probabilities)
    if probabilities.min() < 0 or probabilities.max() > 1:
        raise StatisticsError("probabilities lie from 0 to 1")
    return zeros_and_ones("labels", labels, len(probabilities)).astype(float), probabilities
