"""Survival statistics of the paper: Kaplan-Meier, log-rank, the median risk split, and an AUC that weighs censoring.

Times are in any one unit, from 0; an event is 1 (died) or 0 (censored: alive when last seen). scipy has the first two
as well (``scipy.stats.ecdf`` and ``logrank``), without the numbers at risk and with other intervals; the tests compare.
The concordance index is in ``metrics``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import chi2

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.calibration import ReliabilityCurve
from BrainIACLib.statistics.columns import confidence_level, numbers, zeros_and_ones
from BrainIACLib.statistics.metrics import auc


@dataclass(frozen=True)
class KaplanMeier:
    """A survival curve as steps: arrays (times,), of which the first is time 0 with survival 1.

    ``survival[k]`` holds from ``times[k]`` until just before ``times[k + 1]``; ``at_risk[k]`` counts those alive and
    watched just before ``times[k]``; ``censored`` holds the times at which someone was lost from view.
    """

    times: np.ndarray
    survival: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at_risk: np.ndarray
    censored: np.ndarray
    level: float

    def at(self, time: float) -> float:
        """Survival at ``time``: 1 before the start, and after the last time as it was there."""
        index = np.searchsorted(self.times, time, side="right") - 1
        return float(self.survival[index]) if index >= 0 else 1.0

    @property
    def median(self) -> float | None:
        """The first time at which survival is a half or less; None if it never is."""
        reached = self.survival <= 0.5 + 1e-12
        return float(self.times[np.argmax(reached)]) if reached.any() else None


@dataclass(frozen=True)
class LogRank:
    """The test statistic (chi-square, one degree of freedom), its p value, and deaths in the group against expected."""

    statistic: float
    p: float
    observed: float
    expected: float


def kaplan_meier(time: ArrayLike, event: ArrayLike, level: float = 0.95) -> KaplanMeier:
    """The product-limit estimate ``S(t) = product over death times u <= t of (1 - d_u / n_u)`` (PROTOCOL P-41).

    Limits are those of ``log(-log S)`` with Greenwood's variance (Kalbfleisch and Prentice, 2002, section 1.4), which
    stay within 0 and 1. Where S is 1 or 0 that variance is not defined: the limits are then S itself up to the first
    death, and 0 to the last limit above it once everybody has died. Censored at a death time counts as at risk there.

    >>> curve = kaplan_meier([6, 6, 6, 7, 10], [1, 1, 0, 1, 0])
    >>> curve.survival.round(3).tolist(), curve.at_risk.tolist()
    ([1.0, 0.6, 0.3], [5, 5, 2])
    """
    time, event = _outcome(time, event)
    deaths_at = np.unique(time[event])
    at_risk = len(time) - np.searchsorted(np.sort(time), deaths_at, side="left")
    deaths = _counts(deaths_at, time[event])
    survival = np.cumprod(1 - deaths / at_risk)
    low, high = survival.copy(), survival.copy()
    alive = survival > 0
    if alive.any():
        greenwood = np.cumsum(deaths[alive] / (at_risk[alive] * (at_risk[alive] - deaths[alive])))
        log_survival = np.log(survival[alive])
        reach = ndtri((1 + confidence_level(level)) / 2) * np.sqrt(greenwood) / log_survival
        low[alive] = np.exp(log_survival * np.exp(-reach))
        high[alive] = np.exp(log_survival * np.exp(reach))
    if not alive.all():
        high[~alive] = high[alive][-1] if alive.any() else 1.0
    start = ([0.0], [1.0], [1.0], [1.0], [len(time)])
    times, survival, low, high, at_risk = (
        np.concatenate([first, rest])
        for first, rest in zip(start, (deaths_at, survival, low, high, at_risk), strict=True)
    )
    return KaplanMeier(times, survival, low, high, at_risk, np.sort(time[~event]), level)


def at_risk(time: ArrayLike, when: ArrayLike) -> np.ndarray:
    """How many are alive and watched just before each of ``when``: the table below a survival figure."""
    time = np.sort(numbers("time", time))
    return len(time) - np.searchsorted(time, np.asarray(when, dtype=float), side="left")


def log_rank(time: ArrayLike, event: ArrayLike, group: ArrayLike) -> LogRank:
    """The log-rank test of two groups (``group`` 0 or 1): ``(O - E)^2 / V`` over the death times (PROTOCOL P-41).

    At each death time with ``d`` deaths among ``n`` at risk, ``n1`` of them in the group: ``E += d n1 / n``,
    ``V += d (n1 / n) (1 - n1 / n) (n - d) / (n - 1)``. Source: Mantel, Cancer Chemotherapy Reports 50, 1966. Without
    any death time at which both groups are at risk nothing speaks for a difference, and p is 1.

    Raises
    ------
    StatisticsError : a group has no case.

    >>> log_rank([1, 2, 3, 4, 5, 6], [1, 1, 1, 1, 0, 1], [1, 1, 1, 0, 0, 0]).p < 0.05
    True
    """
    time, event = _outcome(time, event)
    group = zeros_and_ones("group", group, len(time))
    if group.all() or not group.any():
        raise StatisticsError(f"all {len(time)} cases are in one group: a log-rank test needs two")
    deaths_at = np.unique(time[event])
    n = len(time) - np.searchsorted(np.sort(time), deaths_at, side="left")
    n1 = int(group.sum()) - np.searchsorted(np.sort(time[group]), deaths_at, side="left")
    d = _counts(deaths_at, time[event])
    share = n1 / n
    observed, expected = float((event & group).sum()), float((d * share).sum())
    variance = float((d * share * (1 - share) * (n - d) / np.maximum(n - 1, 1)).sum())
    statistic = (observed - expected) ** 2 / variance if variance > 0 else 0.0
    return LogRank(statistic, float(chi2.sf(statistic, 1)), observed, expected)


def median_split(training_risk: ArrayLike, risk: ArrayLike) -> tuple[float, np.ndarray]:
    """(median risk of the training cases, who of ``risk`` is above it): high and low risk (PROTOCOL C-10).

    >>> threshold, high = median_split([0.1, 0.3, 0.6], [0.2, 0.3, 0.9])
    >>> threshold, high.tolist()
    (0.3, [False, False, True])
    """
    threshold = float(np.median(numbers("training risk", training_risk)))
    return threshold, numbers("risk", risk) > threshold


def auc_at(time: ArrayLike, event: ArrayLike, risk: ArrayLike, horizon: float) -> float:
    """AUC of ``risk`` for death by ``horizon`` against survival beyond it, weighted for censoring (PROTOCOL P-38).

    Those censored before the horizon count for nothing themselves; each death counts ``1 / G(t-)``, with ``G`` the
    Kaplan-Meier curve of being censored, for those like them. Source: Uno and others, JASA 102, 2007; Hung and Chiang,
    Canadian Journal of Statistics 38, 2010. Without censoring it is the plain AUC.

    Raises
    ------
    StatisticsError : nobody died by the horizon, or nobody is known to be alive at it.
    """
    time, event = _outcome(time, event)
    risk = numbers("risk", risk, len(time))
    died, alive = event & (time <= horizon), time > horizon
    if not died.any() or not alive.any():
        raise StatisticsError(f"death by {horizon:g} needs someone who died by then and someone who lived longer")
    # a death and a censoring at the same time: the death came first, so G is taken just before it
    not_censored = kaplan_meier(time, ~event)
    weights = np.ones(len(time))
    weights[died] = [1 / not_censored.at(np.nextafter(t, -np.inf)) for t in time[died]]
    known = died | alive
    return float(auc(died[known], risk[known], weights[None, known])[0])


def survival_reliability(
    time: ArrayLike, event: ArrayLike, probabilities: ArrayLike, horizon: float, groups: int = 5
) -> ReliabilityCurve:
    """Mean probability of an event by ``horizon``, and ``1 - S(horizon)`` by Kaplan-Meier, in groups of equal size.

    Cases are grouped by their probability, lowest first. Kaplan-Meier counts the censored for as long as they were
    watched; where a group's last case is lost before the horizon, the curve is taken as it was then. Source: Harrell,
    Lee and Mark, Statistics in Medicine 15, 1996, section 5.2.

    >>> survival_reliability([6, 6, 6, 7, 10], [1, 1, 0, 1, 0], [0.7] * 5, 8, groups=1).observed.round(3).tolist()
    [0.7]
    """
    time, event = _outcome(time, event)
    probabilities = numbers("probabilities", probabilities, len(time))
    parts = [rows for rows in np.array_split(np.argsort(probabilities, kind="stable"), groups) if len(rows)]
    return ReliabilityCurve(
        np.array([probabilities[rows].mean() for rows in parts]),
        np.array([1 - kaplan_meier(time[rows], event[rows]).at(horizon) for rows in parts]),
        np.array([len(rows) for rows in parts]),
    )


def _outcome(time: ArrayLike, event: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    time = numbers("time", time)
    if time.min() < 0:
        raise StatisticsError(f"a survival time cannot be negative, as in case {int(np.argmin(time)) + 1}")
    return time, zeros_and_ones("event", event, len(time))


def _counts(sorted_unique: np.ndarray, values: np.ndarray) -> np.ndarray:
    return np.bincount(np.searchsorted(sorted_unique, values), minlength=len(sorted_unique))
