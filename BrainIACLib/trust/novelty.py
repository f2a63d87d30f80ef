"""How unlike the training cases an embedding is: its Mahalanobis distance with a shrunken covariance.

Embeddings are standardized by the training cases; their covariance is shrunk towards a multiple of the identity by the
share of Ledoit and Wolf, Journal of Multivariate Analysis 88, 2004, which makes it usable with fewer cases than
numbers. The score is the distance divided by the one that 95 % of the training cases stay below when their patient is
left out: 1 is the edge of what the head was trained on.
"""

from __future__ import annotations

import dataclasses
import hashlib
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.errors import ModelError
from BrainIACLib.file_hash import read_unchanged
from BrainIACLib.statistics.principal_space import space_of

MOST_CASES = 1000
FOLDS = 5
EDGE, FAR = 0.95, 0.99  # shares of the training cases that lie within
WARN_FROM = (1.1, 1.5)  # with few cases, FAR is the one outlier of the cohort, or no other case than EDGE
TENSORS = ("mean", "scale", "axes", "precisions", "rest", "edge", "warn_above")


@dataclass(frozen=True)
class Novelty:
    """``mean``, ``scale``: (d,); ``axes``: (d, r), principal; ``precisions``: (r,); ``rest``: that of all other axes.

    ``edge``: the distance of score 1; ``warn_above``: the score from which on to warn.
    """

    mean: np.ndarray
    scale: np.ndarray
    axes: np.ndarray
    precisions: np.ndarray
    rest: float
    edge: float
    warn_above: float

    def distances(self, embeddings: np.ndarray) -> np.ndarray:
        """(n,) Mahalanobis distances of embeddings (n, d), per root of the number of dimensions."""
        standardised = (np.asarray(embeddings, np.float64) - self.mean) / self.scale
        along = standardised @ self.axes
        outside = np.maximum((standardised**2).sum(axis=1) - (along**2).sum(axis=1), 0)
        return np.sqrt((along**2 @ self.precisions + outside * self.rest) / len(self.mean))

    def scores(self, embeddings: np.ndarray) -> np.ndarray:
        """(n,) of embeddings (n, d)."""
        return self.distances(embeddings) / self.edge


def novelty_of(embeddings: np.ndarray, groups: np.ndarray, seed: int = 0) -> Novelty:
    """From (n, d) training embeddings and the number of each one's patient."""
    rng = np.random.default_rng(seed)
    if len(embeddings) > MOST_CASES:
        rows = np.sort(rng.choice(len(embeddings), MOST_CASES, replace=False))
        embeddings, groups = embeddings[rows], groups[rows]
    names, index = np.unique(groups, return_inverse=True)
    fold = (rng.permutation(len(names)) % FOLDS)[index]
    unseen = np.zeros(len(embeddings))
    for number in np.unique(fold):
        out = fold == number
        unseen[out] = _shrunken(embeddings[~out]).distances(embeddings[out])
    edge, far = np.quantile(unseen, (EDGE, FAR))
    return dataclasses.replace(
        _shrunken(embeddings), edge=float(edge), warn_above=float(np.clip(far / edge, *WARN_FROM))
    )


def _shrunken(embeddings: np.ndarray) -> Novelty:
    """Of edge 1. The covariance is (1 - a) S + a m I with m the mean variance and a as Ledoit and Wolf."""
    space = space_of(embeddings)
    cases, size = len(embeddings), len(space.mean)
    variances = space.squares / cases
    mean_variance = variances.sum() / size
    norm = (variances**2).sum()
    spread = norm - size * mean_variance**2
    noise = ((space.coordinates**2).sum(axis=1) ** 2).sum() / cases**2 - norm / cases
    share = float(np.clip(noise / spread, 1e-3, 1)) if spread > 0 else 1.0
    return Novelty(
        mean=space.mean,
        scale=space.scale,
        axes=space.axes,
        precisions=1 / ((1 - share) * variances + share * mean_variance),
        rest=float(1 / (share * mean_variance)),
        edge=1.0,
        warn_above=1.0,
    )


def write_novelty(novelty: Novelty, path: Path) -> str:
    """Write as safetensors; returns the file's sha256."""
    from safetensors.numpy import save

    content = save({name: np.array(getattr(novelty, name), np.float32, ndmin=1, order="C") for name in TENSORS})
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

    content = read_unchanged(path, sha256)
    try:
        tensors = load(content)
        found = [tensors[name].astype(np.float64) for name in TENSORS]
    except (SafetensorError, KeyError):
        raise ModelError(f"'{path}' holds no statistics of training embeddings; install the model again.") from None
    mean, scale, axes, precisions, rest, edge, warn_above = found
    one_number = all(tensor.shape == (1,) for tensor in (rest, edge, warn_above))
    if mean.shape != (size,) or scale.shape != (size,) or axes.shape != (size, len(precisions)) or not one_number:
        raise ModelError(f"'{path}' does not fit embeddings of {size} numbers; install the model again.")
    return Novelty(mean, scale, axes, precisions, float(rest[0]), float(edge[0]), float(warn_above[0]))
