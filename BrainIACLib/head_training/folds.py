"""Folds that keep a patient together and the target balanced."""

from __future__ import annotations

import numpy as np

from BrainIACLib.head_training.targets import Target


def stratified_folds(target: Target, groups: np.ndarray, folds: int, rng: np.random.Generator) -> np.ndarray:
    """(n,) number of each case's fold; all cases of a patient are in one.

    Patients are ordered by class (of survival: event, then time; of a number: the number), in random order among
    equals, and dealt in blocks of ``folds``, each block in random order.
    """
    names, index = np.unique(groups, return_inverse=True)
    first = np.array([np.flatnonzero(index == patient)[0] for patient in range(len(names))])
    keys = [rng.random(len(names)), target.values[first]]
    if target.events is not None:
        keys.append(target.events[first])
    order = np.lexsort(keys)
    fold = np.empty(len(names), int)
    for start in range(0, len(names), folds):
        block = order[start : start + folds]
        fold[block] = rng.permutation(folds)[: len(block)]
    return fold[index]


def fold_count(target: Target, groups: np.ndarray) -> int:
    """5, or 10 below 100 patients, but no more than the patients of the rarest class (or of events)."""
    patients = len(set(groups))
    if target.kind == "classification":
        rarest = min(len(set(groups[target.values == number])) for number in range(len(target.classes)))
    elif target.kind == "survival":
        rarest = int(target.happened.sum())
    else:
        rarest = patients
    return max(2, min(10 if patients < 100 else 5, rarest))
