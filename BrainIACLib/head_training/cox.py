"""Cox proportional hazards with an L2 penalty and Efron's treatment of ties.

Minimizes ``-log partial likelihood + penalty / 2 |w|^2``; lifelines' ``CoxPHFitter(penalizer=p)`` on standardized
columns has the same minimum at ``penalty = n p``. The risk at an end point uses Breslow's baseline hazard. Sources:
Efron, Journal of the American Statistical Association 72, 1977; Breslow, discussion of Cox, J. R. Stat. Soc. B 34,
1972.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize

PENALTIES = np.logspace(-2, 3, 6)  # in units of the mean squared length of a case


@dataclass(frozen=True)
class _Risks:
    """The order of cases by time, and for each event which cases are at risk and which died with it."""

    order: np.ndarray  # of decreasing time, so that sums over those at risk are running sums
    last_at_risk: np.ndarray  # (events,) position in that order of the last case at risk
    tie: np.ndarray  # (events,) number of the event's tied group
    share: np.ndarray  # (events,) Efron's l / d
    event_rows: np.ndarray  # (events,) positions in that order


def _risks(times: np.ndarray, events: np.ndarray) -> _Risks:
    order = np.argsort(-times, kind="stable")
    ordered, died = times[order], events[order]
    rows = np.flatnonzero(died)
    last = np.searchsorted(-ordered, -ordered[rows], side="right") - 1
    tie = np.unique(ordered[rows], return_inverse=True)[1]
    counts = np.bincount(tie)
    rank = np.array([np.count_nonzero(tie[:place] == number) for place, number in enumerate(tie)])
    return _Risks(order, last, tie, rank / counts[tie], rows)


def _negative_log_likelihood(scores: np.ndarray, risks: _Risks) -> tuple[float, np.ndarray]:
    """Value and gradient with respect to the scores (n,)."""
    ordered = scores[risks.order]
    shift = ordered.max()
    hazards = np.exp(ordered - shift)
    rows = risks.event_rows
    tied = np.bincount(risks.tie, hazards[rows])[risks.tie]
    denominators = np.cumsum(hazards)[risks.last_at_risk] - risks.share * tied
    value = np.log(denominators).sum() + shift * len(rows) - ordered[rows].sum()
    added = np.zeros(len(scores))
    np.add.at(added, risks.last_at_risk, 1 / denominators)
    gradient = hazards * np.cumsum(added[::-1])[::-1]  # every event whose risk set holds the case
    relief = np.bincount(risks.tie, risks.share / denominators)[risks.tie]
    gradient[rows] -= hazards[rows] * relief + 1
    unordered = np.empty_like(gradient)
    unordered[risks.order] = gradient
    return float(value), unordered


def fit_cox(
    coordinates: np.ndarray,
    times: np.ndarray,
    events: np.ndarray,
    penalty: float,
    begin: np.ndarray | None = None,
    tolerance: float = 1e-7,
) -> np.ndarray:
    """Weights (r,) for coordinates (n, r), times (n,) and events (n,) bool. ``begin``: weights of a similar fit."""
    risks = _risks(times, events)
    # a step of equal size in every direction of the penalized curvature, which is at most about that of least squares
    scale = 1 / np.sqrt(0.25 * events.mean() * (coordinates**2).sum(axis=0) + penalty)

    def objective(scaled: np.ndarray) -> tuple[float, np.ndarray]:
        weights = scale * scaled
        value, by_score = _negative_log_likelihood(coordinates @ weights, risks)
        return value + penalty / 2 * weights @ weights, scale * (coordinates.T @ by_score + penalty * weights)

    start = np.zeros(coordinates.shape[1]) if begin is None else begin / scale
    options = {"maxiter": 2000, "maxcor": 20, "ftol": 1e-15, "gtol": tolerance}
    return scale * minimize(objective, start, jac=True, method="L-BFGS-B", options=options).x


def partial_log_likelihood(scores: np.ndarray, times: np.ndarray, events: np.ndarray) -> float:
    """Of given scores (n,); the measure by which penalties are compared on left-out cases."""
    return -_negative_log_likelihood(scores, _risks(times, events))[0]


def baseline_log_hazard(scores: np.ndarray, times: np.ndarray, events: np.ndarray, end: float) -> float:
    """log of Breslow's cumulative baseline hazard at ``end``: P(event by then) = 1 - exp(-exp(score + this)).

    Minus infinity if there was no event by then.
    """
    hazards = np.exp(scores)
    at_risk = np.array([hazards[times >= time].sum() for time in times[events & (times <= end)]])
    return float(np.log((1 / at_risk).sum())) if len(at_risk) else -np.inf


def martingale_residuals(times: np.ndarray, events: np.ndarray) -> np.ndarray:
    """events - expected events of each case where nothing is known of it (n,): what least squares can be fitted to."""
    risks_at = {time: 1 / np.count_nonzero(times >= time) for time in set(times[events])}
    deaths = [(time, share * np.count_nonzero(events & (times == time))) for time, share in risks_at.items()]
    expected = np.array([sum(amount for at, amount in deaths if at <= time) for time in times])
    return events - expected
