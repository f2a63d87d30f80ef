"""Censoring-aware labels of survival at a horizon (PROTOCOL C-11, U-15)."""

from __future__ import annotations

import numpy as np

DAYS_PER_MONTH = 365.25 / 12
ONE_YEAR = 12.0  # months; 15 is the other endpoint in use (U-15)


def horizon_labels(months: np.ndarray, event: np.ndarray, horizon: float = ONE_YEAR) -> np.ndarray:
    """1 died within the horizon, 0 known to be alive beyond it, NaN censored before it (its answer is not known).

    Parameters
    ----------
    months : (n,) time to death or to the last contact.
    event : (n,) 1 died, 0 censored.

    >>> days = np.array([364, 366, 300, 400])
    >>> horizon_labels(days / DAYS_PER_MONTH, np.array([1, 1, 0, 0]))
    array([ 1.,  0., nan,  0.])
    """
    months, event = np.asarray(months, float), np.asarray(event, float)
    labels = np.where(months > horizon, 0.0, np.where(event == 1, 1.0, np.nan))
    at_horizon = (months == horizon) & (event == 0)  # seen alive on the day itself
    return np.where(np.isnan(months) | np.isnan(event), np.nan, np.where(at_horizon, 0.0, labels))
