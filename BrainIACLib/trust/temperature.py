"""One number that makes a classifier's probabilities as sure as they should be (Guo and others, ICML 2017)."""

from __future__ import annotations

import numpy as np
from scipy.optimize import minimize_scalar

LOWEST, HIGHEST = 0.05, 20.0


def fit_temperature(logits: np.ndarray, classes: np.ndarray, weights: np.ndarray | None = None) -> float:
    """The temperature by which held-out logits are best divided.

    Parameters
    ----------
    logits : (n, k) of cases that the head was not fitted on; k is 1 for the logit of class 1 of two.
    classes : (n,) numbers from 0.
    weights : (n,) of the cases in the log loss.
    """
    shares = np.ones(len(classes)) if weights is None else weights
    both = np.hstack([np.zeros_like(logits), logits]) if logits.shape[1] == 1 else logits

    def loss(log_temperature: float) -> float:
        scaled = both / np.exp(log_temperature)
        highest = scaled.max(axis=1, keepdims=True)
        normaliser = np.log(np.exp(scaled - highest).sum(axis=1)) + highest[:, 0]
        return float(shares @ (normaliser - scaled[np.arange(len(classes)), classes]))

    found = minimize_scalar(loss, bounds=(np.log(LOWEST), np.log(HIGHEST)), method="bounded")
    return float(np.exp(found.x))


def unseen_temperatures(
    logits: np.ndarray, classes: np.ndarray, fold: np.ndarray, weights: np.ndarray | None = None
) -> np.ndarray:
    """(n, 1) the temperature of each case, fitted on the other folds: to judge what a temperature is worth."""
    found = np.empty((len(classes), 1))
    for number in np.unique(fold):
        seen = fold != number
        found[~seen] = fit_temperature(logits[seen], classes[seen], None if weights is None else weights[seen])
    return found
