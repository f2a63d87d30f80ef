"""Linear heads for many orders of the labels at once, at each of a few penalties, for the test of chance.

Each function takes embeddings (n, d), the targets in each order, a mask (n,) of the cases left out, whether classes are
balanced, a seed and a job, and returns (penalties, orders, cases out, k) outputs of heads fitted on the other cases.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from BrainIACLib.head_training import cox, logistic
from BrainIACLib.head_training.ridge import fit_ridge
from BrainIACLib.head_training.targets import Target
from BrainIACLib.job import Job
from BrainIACLib.statistics.principal_space import space_of

RIDGE_PENALTIES = np.logspace(-2, 4, 7)  # in units of the mean squared length of a case, as all below
LOGISTIC_PENALTIES = np.logspace(-1, 2, 4)
COX_PENALTIES = np.logspace(-1, 3, 3)


def ridge_outputs(embeddings: np.ndarray, targets: list[Target], out: np.ndarray, *_: object) -> np.ndarray:
    """Ridge regression of numbers."""
    space = space_of(embeddings[~out])
    responses = np.stack([target.values for target in targets], axis=1)[~out]
    coordinates, found = space.project(embeddings[out]), []
    for penalty in RIDGE_PENALTIES * space.typical_square:
        weights, middle = fit_ridge(space, responses, penalty)
        found.append((coordinates @ weights + middle).T)
    return np.stack(found)[:, :, :, None]


def logistic_outputs(
    embeddings: np.ndarray, targets: list[Target], out: np.ndarray, balanced: bool, *_: object
) -> np.ndarray:
    """Logistic regression of classes."""
    space, count = space_of(embeddings[~out]), len(targets[0].classes)
    classes = np.stack([target.values for target in targets], axis=1)[~out]
    weights = np.ones(classes.shape)
    if balanced:
        weights = np.stack([logistic.balanced_weights(column, count) for column in classes.T], axis=1)
    choices, orders = len(LOGISTIC_PENALTIES), len(targets)
    fitted, bias = logistic.fit_logistic(
        space.coordinates,
        np.tile(classes, choices),
        count,
        np.tile(weights, choices),
        np.repeat(LOGISTIC_PENALTIES * space.typical_square, orders),
        logistic.COARSE,
        most_steps=300,
    )
    outputs = np.einsum("nr,frk->fnk", space.project(embeddings[out]), fitted, optimize=True) + bias[:, None]
    return outputs.reshape(choices, orders, *outputs.shape[1:])


def cox_outputs(
    embeddings: np.ndarray, targets: list[Target], out: np.ndarray, _balanced: bool, _seed: int, job: Job
) -> np.ndarray:
    """Cox regression of survival times."""
    space = space_of(embeddings[~out])
    coordinates = space.project(embeddings[out])
    found = np.empty((len(COX_PENALTIES), len(targets), int(out.sum()), 1))
    for order, target in enumerate(targets):
        job.check()
        begin = None
        for place in reversed(range(len(COX_PENALTIES))):
            penalty = COX_PENALTIES[place] * space.typical_square
            begin = cox.fit_cox(
                space.coordinates, target.values[~out], target.happened[~out], penalty, begin, tolerance=1e-3
            )
            found[place, order, :, 0] = coordinates @ begin
    return found


def by_fitting(fit: Callable[..., Any]) -> Callable[..., np.ndarray]:
    """The same for any function that fits a head, one order after the other: for kinds that are quick to fit."""

    def outputs(
        embeddings: np.ndarray, targets: list[Target], out: np.ndarray, balanced: bool, seed: int, job: Job
    ) -> np.ndarray:
        groups, found = np.arange(int((~out).sum())), []
        for target in targets:
            rng = np.random.default_rng(seed)
            head = fit(embeddings[~out], target.rows(~out), groups, rng, balanced=balanced, job=job)
            found.append(head.outputs(embeddings[out]))
        return np.stack(found)[None]

    return outputs
