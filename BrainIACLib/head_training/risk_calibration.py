"""From held-out log hazard ratios to probabilities of an event by an end point that can be taken at their word.

A head's scores may spread more, or less, than they are worth on new cases. Held-out scores are then multiplied by the
slope of a Cox model of them alone (van Houwelingen, Statistics in Medicine 19, 2000, section 3), but only where their
likelihood asks for it: with few cases a slope is mostly noise (Vergouwe and others, Statistics in Medicine 36, 2017).
The baseline is Breslow's at those scores. Both are right where censoring does not depend on the outcome, given the
score.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar
from scipy.stats import chi2

from BrainIACLib.head_training.cox import baseline_log_hazard, partial_log_likelihood
from BrainIACLib.statistics.calibration import ReliabilityCurve
from BrainIACLib.statistics.survival import survival_reliability

LOWEST, HIGHEST = 0.05, 20.0  # as the reciprocal of a classifier's temperature: risks are never turned round
SIGNIFICANT = float(chi2.ppf(0.95, 1))  # of twice the gain in log likelihood
MOST_GROUPS, EVENTS_A_GROUP = 5, 5


@dataclass(frozen=True)
class RiskCalibration:
    """P(event by ``end``) = 1 - exp(-exp(slope x score + baseline)), of a score with mean 0 in the training cases."""

    slope: float
    baseline: float
    end: float

    def probabilities(self, scores: np.ndarray) -> np.ndarray:
        """(n,) of log hazard ratios (n,)."""
        return -np.expm1(-np.exp(self.slope * scores + self.baseline))


def calibrate_risk(
    scores: np.ndarray, times: np.ndarray, events: np.ndarray, end: float, slope: float | None = None
) -> RiskCalibration:
    """From held-out scores (n,).

    Parameters
    ----------
    slope : None fits it by the partial likelihood, and keeps 1 unless that is significantly worse.
    """

    def loss(log_slope: float) -> float:
        return -partial_log_likelihood(np.exp(log_slope) * scores, times, events)

    if slope is None:
        bounds = (np.log(LOWEST), np.log(HIGHEST))
        found = minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6})
        slope = float(np.exp(found.x)) if 2 * (loss(0.0) - found.fun) > SIGNIFICANT else 1.0
    return RiskCalibration(slope, baseline_log_hazard(slope * scores, times, events, end), end)


def unseen_probabilities(
    scores: np.ndarray,
    times: np.ndarray,
    events: np.ndarray,
    fold: np.ndarray,
    end: float,
    slope: float | None = None,
) -> np.ndarray:
    """(n,) each by a calibration on the other folds: to judge what a calibration is worth."""
    found = np.empty(len(scores))
    for number in np.unique(fold):
        seen = fold != number
        calibration = calibrate_risk(scores[seen], times[seen], events[seen], end, slope)
        found[~seen] = calibration.probabilities(scores[~seen])
    return found


def reliability(times: np.ndarray, events: np.ndarray, probabilities: np.ndarray, end: float) -> ReliabilityCurve:
    """Predicted and observed shares by ``end`` in up to five groups of equal size, each with some events."""
    groups = int(np.clip((events & (times <= end)).sum() // EVENTS_A_GROUP, 1, MOST_GROUPS))
    return survival_reliability(times, events, probabilities, end, groups)
