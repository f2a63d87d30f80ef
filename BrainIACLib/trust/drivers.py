"""Which volumes drive an answer: what each adds to it, against the mean of the training persons.

Only for a linear head on an embedding of volumes, where the parts add up to the answer exactly. They say what the head
reads, not what made the brain so; volumes go together, and the head shares an effect out among them.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from BrainIACLib.structures import STRUCTURES

MOST = 4  # structures that are named
REGIONAL = "where fluid and cortex lie"
SIZE = "size of the head"


def drivers_found(weights: np.ndarray, embedding: np.ndarray, usual: np.ndarray, unit: str) -> dict:
    """The largest parts of ``weights @ (embedding - usual)``, all (d,) in the order of ``models.anatomy``.

    >>> from BrainIACLib.models.anatomy import EMBEDDING_NAMES
    >>> weights, usual = np.zeros(len(EMBEDDING_NAMES)), np.zeros(len(EMBEDDING_NAMES)) - 4.0
    >>> weights[1], embedding = 2.0, usual.copy()
    >>> embedding[1] += 1
    >>> drivers_found(weights, embedding, usual, "years")["parts"][0]["adds"]
    2.0
    """
    adds = weights * (embedding - usual)
    last = len(STRUCTURES)  # the first number is the size, then the structures but the background, then the regions
    order = sorted(range(1, last), key=lambda index: -abs(adds[index]))[:MOST]
    parts = [
        {
            "what": STRUCTURES[index].title,
            "adds": round(float(adds[index]), 1),
            "percent_of_intracranial": round(100 * float(np.exp(embedding[index])), 2),
            "usual_percent": round(100 * float(np.exp(usual[index])), 2),
        }
        for index in order
    ]
    rest = {SIZE: adds[0], "other structures": adds[1:last].sum() - adds[order].sum(), REGIONAL: adds[last:].sum()}
    parts += [{"what": what, "adds": round(float(value), 1)} for what, value in rest.items()]
    return {"unit": unit, "parts": parts, "meaning": _in_words(parts, unit)}


def _in_words(parts: Sequence[dict], unit: str) -> str:
    texts = []
    for part in parts:
        shares = ""
        if "usual_percent" in part:
            shares = (
                f" {part['percent_of_intracranial']:.2g} % of the intracranial volume (usual "
                f"{part['usual_percent']:.2g} %)"
            )
        texts.append(f"{part['what']}{shares} {part['adds']:+.1f}")
    return f"Against the mean of the training persons, in {unit}: {'; '.join(texts)}."
