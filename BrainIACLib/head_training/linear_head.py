"""Fit a linear head with its penalty chosen inside the training cases, by patient."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from BrainIACLib.head_training import cox, logistic
from BrainIACLib.head_training.folds import fold_count, stratified_folds
from BrainIACLib.head_training.ridge import choose_ridge, fit_ridge
from BrainIACLib.head_training.targets import Target
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.statistics.principal_space import Space, space_of

INNER_FOLDS = 5
SOLVERS = {"classification": "L2 logistic regression", "regression": "ridge regression", "survival": "ridge Cox model"}


@dataclass(frozen=True)
class LinearHead:
    """``weights``: (k, d), ``bias``: (k,), on embeddings as they are; ``penalty`` in units of ``typical_square``."""

    weights: np.ndarray
    bias: np.ndarray
    penalty: float

    def outputs(self, embeddings: np.ndarray) -> np.ndarray:
        """(m, d) -> (m, k): logits, the number, or the log hazard ratio."""
        return embeddings @ self.weights.T + self.bias

    def tensors(self) -> dict[str, np.ndarray]:
        """The state of ``models.heads.LinearHead``."""
        return {"fc.weight": self.weights, "fc.bias": self.bias}


def fit_linear_head(
    embeddings: np.ndarray,
    target: Target,
    groups: np.ndarray,
    rng: np.random.Generator,
    balanced: bool = True,
    penalty: float | None = None,
    job: Job = UNATTENDED,
) -> LinearHead:
    """Ridge, logistic or Cox regression on (n, d) embeddings.

    Parameters
    ----------
    balanced : classes count the same, whatever their size.
    penalty : None chooses it among the solver's ``PENALTIES`` by patients left out.
    """
    job.check()
    space = space_of(embeddings)
    if target.kind == "regression":
        responses = target.values[:, None]
        chosen = choose_ridge(space, responses, groups) if penalty is None else penalty * space.typical_square
        weights, bias = fit_ridge(space, responses, chosen)
    elif target.kind == "classification":
        case_weights = (
            logistic.balanced_weights(target.values, len(target.classes)) if balanced else np.ones(len(embeddings))
        )
        chosen = (
            _choose_logistic(space, target, groups, case_weights, rng)
            if penalty is None
            else penalty * space.typical_square
        )
        count = len(target.classes)
        fits = logistic.fit_logistic(
            space.coordinates, target.values, count, case_weights[:, None], np.array([chosen]), 1e-6
        )
        weights, bias = (fit[0] for fit in fits)
    else:
        chosen = _choose_cox(space, target, groups, rng) if penalty is None else penalty * space.typical_square
        weights = cox.fit_cox(space.coordinates, target.values, target.happened, chosen)[:, None]
        bias = np.zeros(1)
    return LinearHead(*space.on_embeddings(weights, bias), chosen / space.typical_square)


def _inner_folds(target: Target, groups: np.ndarray, rng: np.random.Generator) -> list[np.ndarray]:
    """Boolean (n,) masks of the cases that each inner fold leaves out."""
    fold = stratified_folds(target, groups, min(INNER_FOLDS, fold_count(target, groups)), rng)
    return [fold == number for number in np.unique(fold)]


def _choose_logistic(
    space: Space, target: Target, groups: np.ndarray, case_weights: np.ndarray, rng: np.random.Generator
) -> float:
    penalties = logistic.PENALTIES * space.typical_square
    left_out = _inner_folds(target, groups, rng)
    seen = np.concatenate(
        [np.repeat((case_weights * ~out)[:, None], len(penalties), axis=1) for out in left_out], axis=1
    )
    weights, bias = logistic.fit_logistic(
        space.coordinates,
        target.values,
        len(target.classes),
        seen,
        np.tile(penalties, len(left_out)),
        logistic.COARSE,
        most_steps=300,
    )
    losses = np.zeros(len(penalties))
    for number, out in enumerate(left_out):
        fits = slice(number * len(penalties), (number + 1) * len(penalties))
        outputs = np.einsum("nr,frk->fnk", space.coordinates[out], weights[fits]) + bias[fits, None]
        shares = np.repeat(case_weights[out][:, None], len(penalties), axis=1)
        losses += logistic.log_loss(outputs, target.values[out], shares) * case_weights[out].sum()
    return float(penalties[np.argmin(losses)])


def _choose_cox(space: Space, target: Target, groups: np.ndarray, rng: np.random.Generator) -> float:
    """By the cross-validated partial likelihood of Verweij and van Houwelingen, Statistics in Medicine 12, 1993."""
    penalties = cox.PENALTIES * space.typical_square
    gains = np.zeros(len(penalties))
    for out in _inner_folds(target, groups, rng):
        times, events, begin = target.values[~out], target.happened[~out], None
        for place in reversed(range(len(penalties))):  # from the strongest, each fit beginning at the one before
            begin = cox.fit_cox(space.coordinates[~out], times, events, penalties[place], begin, tolerance=1e-3)
            scores = space.coordinates @ begin
            everybody = cox.partial_log_likelihood(scores, target.values, target.happened)
            gains[place] += everybody - cox.partial_log_likelihood(scores[~out], times, events)
    return float(penalties[np.argmax(gains)])
