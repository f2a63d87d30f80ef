"""How predicted and true values of a regression agree (PROTOCOL P-31)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.columns import numbers
from BrainIACLib.statistics.metrics import mae


@dataclass(frozen=True)
class Agreement:
    """Of prediction against truth: Pearson's r (None if the prediction is constant), least-squares line, bias, MAE."""

    r: float | None
    slope: float
    intercept: float
    bias: float
    mae: float


def agreement(truth: ArrayLike, prediction: ArrayLike) -> Agreement:
    """``prediction = slope * truth + intercept``; ``bias = mean(prediction - truth)``, in the unit of both.

    A slope below 1 with no bias is the pull to the mean that brain-age models are known for.

    Raises
    ------
    StatisticsError : all true values are the same, so that no line is defined.

    >>> found = agreement([10.0, 20.0, 30.0], [14.0, 20.0, 26.0])
    >>> round(found.slope, 3), round(found.intercept, 3), round(found.bias, 3)
    (0.6, 8.0, 0.0)
    """
    truth = numbers("truth", truth)
    prediction = numbers("prediction", prediction, len(truth))
    from_mean = truth - truth.mean()
    if np.ptp(truth) == 0 or not from_mean @ from_mean:
        raise StatisticsError("all true values are the same: a line through them is not defined")
    spread = prediction - prediction.mean()
    slope = float(from_mean @ spread / (from_mean @ from_mean))
    # constant up to rounding: a correlation of rounding errors would mean nothing
    constant = np.ptp(prediction) <= 1e-12 * max(1.0, np.abs(prediction).max())
    r = None if constant else float(np.clip(np.corrcoef(truth, prediction)[0, 1], -1, 1))
    intercept = float(prediction.mean() - slope * truth.mean())
    return Agreement(r, slope, intercept, float((prediction - truth).mean()), float(mae(truth, prediction)))
