"""How unlike the training cases an embedding is: the distance to its nearest neighbours among them.

Embeddings are standardised by the training cases and scaled to length 1; the score is the mean distance to the ``k``
nearest training cases, divided by the distance that 95 % of the training cases stay below when their own patient is
left out. 1 is thus the edge of what the head was trained on. Source: Sun and others, "Out-of-Distribution Detection
with Deep Nearest Neighbors", ICML 2022.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.errors import ModelError

NEIGHBOURS = 5
MOST_CASES = 2000  # that are kept; 16 MB of 2,048 half-precision numbers
EDGE, FAR = 0.95, 0.99  # shares of the training cases that lie within
WARN_AT_LEAST = 1.1  # with few cases the two shares are one and the same case
MEANING = (
    "distance to the nearest training cases; 1 is the edge of what the head was trained on (95 % of the training cases "
    "lie within)"
)


@dataclass(frozen=True)
class Novelty:
    """``mean``, ``scale``: (d,); ``bank``: (m, d), length 1; ``edge``: distance of score 1; ``warn_above``: score."""

    mean: np.ndarray
    scale: np.ndarray
    bank: np.ndarray
    edge: float
    warn_above: float

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """(n,) of embeddings (n, d)."""
        return _distances(_unit(embeddings, self.mean, self.scale), self.bank) / self.edge


def novelty_of(embeddings: np.ndarray, groups: np.ndarray, seed: int = 0) -> Novelty:
    """From (n, d) training embeddings and the number of each one's patient."""
    if len(embeddings) > MOST_CASES:
        rows = np.sort(np.random.default_rng(seed).choice(len(embeddings), MOST_CASES, replace=False))
        embeddings, groups = embeddings[rows], groups[rows]
    mean, deviation = embeddings.mean(axis=0), embeddings.std(axis=0)
    scale = np.where(deviation > 1e-6 * np.abs(embeddings).max(), deviation, np.inf)
    bank = _unit(embeddings, mean, scale).astype(np.float16).astype(np.float64)
    similarity = bank @ bank.T
    similarity[groups[:, None] == groups[None, :]] = -np.inf
    nearest = _nearest(similarity, min(NEIGHBOURS, len(set(groups)) - 1))
    edge, far = np.quantile(nearest, (EDGE, FAR))
    return Novelty(mean, scale, bank, float(edge), max(WARN_AT_LEAST, float(far / edge)))


def write_novelty(novelty: Novelty, path: Path) -> str:
    """Write as safetensors; returns the file's sha256."""
    from safetensors.numpy import save

    content = save(
        {
            "mean": novelty.mean.astype(np.float32),
            "scale": novelty.scale.astype(np.float32),
            "bank": novelty.bank.astype(np.float16),
            "edge": np.array([novelty.edge], np.float32),
            "warn_above": np.array([novelty.warn_above], np.float32),
        }
    )
    path.write_bytes(content)
    return hashlib.sha256(content).hexdigest()


def read_novelty(path: Path, sha256: str, size: int) -> Novelty:
    """Read what ``write_novelty`` wrote, for embeddings of ``size`` numbers.

    Raises
    ------
    ModelError : the file is missing, changed, or of another shape.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() != sha256:
            raise ModelError(f"'{path}' is damaged or was changed (sha256 differs); install the model again.")
        tensors = load(content)
        shapes = {name: tensors[name].shape for name in ("mean", "scale", "edge", "warn_above", "bank")}
    except OSError as error:
        raise ModelError(f"'{path}' cannot be read ({error.strerror}); install the model again.") from None
    except (SafetensorError, KeyError):
        raise ModelError(f"'{path}' holds no statistics of training embeddings; install the model again.") from None
    if shapes["mean"] != (size,) or shapes["scale"] != (size,) or shapes["bank"][1:] != (size,):
        raise ModelError(f"'{path}' does not fit embeddings of {size} numbers; install the model again.")
    bank = tensors["bank"].astype(np.float64)
    return Novelty(
        tensors["mean"].astype(np.float64),
        tensors["scale"].astype(np.float64),
        bank,
        float(tensors["edge"][0]),
        float(tensors["warn_above"][0]),
    )


def _unit(embeddings: np.ndarray, mean: np.ndarray, scale: np.ndarray) -> np.ndarray:
    standardised = (np.asarray(embeddings, np.float64) - mean) / scale
    return standardised / np.maximum(np.linalg.norm(standardised, axis=1, keepdims=True), 1e-12)


def _distances(units: np.ndarray, bank: np.ndarray) -> np.ndarray:
    return _nearest(units @ bank.T, min(NEIGHBOURS, len(bank)))


def _nearest(similarity: np.ndarray, neighbours: int) -> np.ndarray:
    """Mean Euclidean distance to the most similar unit vectors, (n,)."""
    best = -np.partition(-similarity, neighbours - 1, axis=1)[:, :neighbours]
    return np.sqrt(np.maximum(2 - 2 * best, 0)).mean(axis=1)
