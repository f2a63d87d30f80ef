"""L2-penalized logistic and softmax regression, many penalties and folds at once.

Minimizes ``sum_i c_i loss_i + penalty / 2 |w|^2`` with a free intercept (as ``sklearn.linear_model.LogisticRegression``
with ``C = 1 / penalty``). The curvature of the loss is at most a quarter (two classes) or half (softmax) of that of
least squares (Böhning, Annals of the Institute of Statistical Mathematics 44, 1992), which is diagonal in a ``Space``:
each step costs two products with the coordinates for all penalties and folds together, needs no line search, and is
accelerated with restarts (O'Donoghue and Candès, Foundations of Computational Mathematics 15, 2015).
"""

from __future__ import annotations

import numpy as np

PENALTIES = np.logspace(-3, 3, 7)  # in units of the mean squared length of a case
COARSE = 1e-3  # enough to compare penalties
MOST_STEPS = 20_000


def fit_logistic(
    coordinates: np.ndarray,
    classes: np.ndarray,
    class_count: int,
    case_weights: np.ndarray,
    penalties: np.ndarray,
    tolerance: float = 1e-7,
    most_steps: int = MOST_STEPS,
) -> tuple[np.ndarray, np.ndarray]:
    """F fits that differ in case weights and penalty.

    Parameters
    ----------
    coordinates : (n, r), nearly orthogonal columns of mean nearly 0.
    classes : (n,) numbers from 0, or (n, F) where each fit has its own.
    case_weights : (n, F), 0 for a case that a fit must not see.
    penalties : (F,).
    tolerance : a fit is done when its gradient has fallen to this share of its length at the start.

    Returns
    -------
    Weights (F, r, k) and intercepts (F, k); k is 1 for two classes (the logit of class 1), else the number of classes.
    """
    cases, size = coordinates.shape
    outputs = 1 if class_count == 2 else class_count
    of_fits = classes if classes.ndim == 2 else classes[:, None]  # (n, F or 1)
    truth = (of_fits[:, :, None] == (np.array([1]) if outputs == 1 else np.arange(outputs))).astype(float)
    design = np.hstack([coordinates, np.ones((cases, 1))])
    lengths = (design**2).sum(axis=0)  # (r + 1,)
    fits = len(penalties)
    bound = (0.25 if outputs == 1 else 0.5) * case_weights.max(axis=0)[:, None] * lengths + 1e-12  # (F, r + 1)
    ridge = np.hstack([np.repeat(penalties[:, None], size, axis=1), np.zeros((fits, 1))])
    steps = 1 / (bound + ridge)
    weights = np.zeros((fits, size + 1, outputs))
    ahead, momentum = weights.copy(), np.ones(fits)
    running = np.arange(fits)
    start = None
    for _ in range(most_steps):
        of_running = truth if truth.shape[1] == 1 else truth[:, running]
        gradient = _gradient(design, ahead[running], of_running, case_weights[:, running]) + (
            ridge[running][:, :, None] * ahead[running]
        )
        scaled = np.abs(gradient * np.sqrt(steps[running])[:, :, None]).max(axis=(1, 2))
        start = scaled if start is None else start
        moved = ahead[running] - steps[running][:, :, None] * gradient
        change = moved - weights[running]
        restart = (gradient * change).sum(axis=(1, 2)) > 0
        following = np.where(restart, 1.0, (1 + np.sqrt(1 + 4 * momentum[running] ** 2)) / 2)
        push = np.where(restart, 0.0, (momentum[running] - 1) / following)
        weights[running], momentum[running] = moved, following
        ahead[running] = moved + push[:, None, None] * change
        going = scaled > tolerance * start
        running, start = running[going], start[going]
        if not len(running):
            break
    return weights[:, :-1], weights[:, -1]


def log_loss(outputs: np.ndarray, classes: np.ndarray, case_weights: np.ndarray) -> np.ndarray:
    """(F,) weighted mean of the negative log-probability of the true class; outputs (F, n, k), weights (n, F)."""
    if outputs.shape[2] == 1:
        signed = outputs[:, :, 0] * np.where(classes == 1, -1.0, 1.0)
        losses = np.logaddexp(0, signed)
    else:
        highest = outputs.max(axis=2, keepdims=True)
        losses = np.log(np.exp(outputs - highest).sum(axis=2)) + highest[:, :, 0]
        losses = losses - outputs[:, np.arange(len(classes)), classes]
    return (losses * case_weights.T).sum(axis=1) / case_weights.sum(axis=0)


def probabilities(outputs: np.ndarray) -> np.ndarray:
    """(n, classes) from outputs (n, k): the softmax, or of one logit (1 - p, p)."""
    if outputs.shape[1] == 1:
        positive = 1 / (1 + np.exp(-np.clip(outputs[:, 0], -500, 500)))
        return np.stack([1 - positive, positive], axis=1)
    exponentials = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    return exponentials / exponentials.sum(axis=1, keepdims=True)


def balanced_weights(classes: np.ndarray, class_count: int) -> np.ndarray:
    """(n,) weights under which every class has the same total; their mean is 1 (as sklearn's ``balanced``)."""
    counts = np.bincount(classes, minlength=class_count)
    return (len(classes) / (class_count * np.maximum(counts, 1)))[classes]


def _gradient(design: np.ndarray, weights: np.ndarray, truth: np.ndarray, case_weights: np.ndarray) -> np.ndarray:
    """(F, r + 1, k) of the weighted loss; weights (F, r + 1, k), truth (n, F or 1, k), case_weights (n, F)."""
    fits, size, outputs = weights.shape
    flat = design @ weights.transpose(1, 0, 2).reshape(size, fits * outputs)  # (n, F k)
    values = flat.reshape(-1, fits, outputs)
    if outputs == 1:
        expected = 0.5 + 0.5 * np.tanh(0.5 * values)
    else:
        expected = np.exp(values - values.max(axis=2, keepdims=True))
        expected /= expected.sum(axis=2, keepdims=True)
    errors = (expected - truth) * case_weights[:, :, None]
    product = design.T @ errors.reshape(len(design), fits * outputs)
    return product.reshape(size, fits, outputs).transpose(1, 0, 2)
