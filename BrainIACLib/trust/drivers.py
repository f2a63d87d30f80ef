"""Which volumes drive an answer: what each adds to it, against the mean of the training persons.

Only for a linear head on an embedding of volumes, where the parts add up to the answer exactly. They say what the head
reads, not what made the brain so; volumes go together, and the head shares an effect out among them.
"""

from __future__ import annotations

import numpy as np

from BrainIACLib.structures import LOOSE, MEASURED, STRUCTURES
from BrainIACLib.trust.findings import Driver, Drivers

MOST = 4  # structures that are named
REGIONAL = "where fluid and cortex lie"
SIZE = "size of the head"


def drivers_found(weights: np.ndarray, embedding: np.ndarray, usual: np.ndarray, unit: str) -> Drivers:
    """The largest parts of ``weights @ (embedding - usual)``, all (d,) in the order of ``models.anatomy``."""
    adds = weights * (embedding - usual)
    last = len(STRUCTURES)  # the first number is the size, then the structures but the background, then the regions
    named = [index for index in range(1, last) if STRUCTURES[index] in MEASURED]
    order = sorted(named, key=lambda index: -abs(adds[index]))[:MOST]
    parts = [
        Driver(
            STRUCTURES[index].title + (" *" if STRUCTURES[index].name in LOOSE else ""),
            round(float(adds[index]), 1),
            round(100 * float(np.exp(embedding[index])), 2),
            round(100 * float(np.exp(usual[index])), 2),
        )
        for index in order
    ]
    rest = {SIZE: adds[0], "other structures": adds[1:last].sum() - adds[order].sum()}
    if weights[last:].any():  # a head on the volumes alone reads nothing of it
        rest[REGIONAL] = adds[last:].sum()
    parts += [Driver(what, round(float(value), 1)) for what, value in rest.items()]
    return Drivers(unit, tuple(parts))
