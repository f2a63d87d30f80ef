"""How well the embedding tells the site: where it does, a head may learn the site instead of what it is asked."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

FEWEST = 5  # scans of a site that counts
MOST_SITES = 50
AXES, FOLDS, DRAWS = 20, 5, 200


@dataclass(frozen=True)
class SiteCheck:
    """``accuracy``: mean over the sites of the share of scans that are put to their own (balanced accuracy), patients
    never on both sides of a fold; ``low``, ``high``: 95 % by resampling patients; ``chance``: 1 / sites."""

    column: str
    sites: int
    scans: int
    accuracy: float
    low: float
    high: float
    chance: float

    @property
    def in_words(self) -> str:
        """The finding and what to do about it."""
        found = f"the {self.column} is told in {self.accuracy:.0%} ({self.low:.0%} to {self.high:.0%})"
        scans = f"{self.scans} scans from {self.sites} {self.column}s"
        text = f"From the embedding, {found} of {scans}, {self.chance:.0%} by chance"
        if self.low <= self.chance:
            return f"{text}: no more than chance."
        return (
            f"{text}. A head trained on these scans may learn the {self.column} where labels differ between them: "
            f"compare the labels by {self.column} first, and leave one {self.column} out to test."
        )


def check_sites(
    embeddings: np.ndarray, sites: Sequence[str], patients: Sequence[str], column: str = "site", seed: int = 0
) -> SiteCheck | None:
    """Nearest centroid after shrinking to principal axes, five folds by patient; None where there are no two sites of
    at least five scans.

    Parameters
    ----------
    embeddings : (n, size).
    patients : of each scan; empty where unknown, then every scan counts as another person.
    """
    names, counts = np.unique([site for site in sites if site], return_counts=True)
    chosen = names[counts >= FEWEST][:MOST_SITES]
    rows = np.flatnonzero(np.isin(list(sites), chosen)).tolist()
    people = np.array([patients[row] or f"row {row}" for row in rows])
    if len(chosen) < 2 or len(np.unique(people)) < FOLDS:
        return None
    labels, vectors = np.array(list(sites))[rows], np.asarray(embeddings, np.float64)[rows]
    rng = np.random.default_rng(seed)
    unique, of_row = np.unique(people, return_inverse=True)
    fold_of_row = rng.permutation(len(unique))[of_row] % FOLDS
    hit = np.zeros(len(rows), bool)
    for fold in range(FOLDS):
        train, test = fold_of_row != fold, fold_of_row == fold
        if test.any() and train.any():
            hit[test] = _nearest(vectors[train], labels[train], vectors[test]) == labels[test]
    draws = []
    members = [np.flatnonzero(of_row == person) for person in range(len(unique))]
    for _ in range(DRAWS):
        drawn = np.concatenate([members[person] for person in rng.integers(len(unique), size=len(unique))])
        draws.append(_balanced(hit[drawn], labels[drawn]))
    low, high = np.percentile(draws, (2.5, 97.5))
    return SiteCheck(column, len(chosen), len(rows), _balanced(hit, labels), float(low), float(high), 1 / len(chosen))


def _nearest(known: np.ndarray, labels: np.ndarray, asked: np.ndarray) -> np.ndarray:
    mean, spread = known.mean(0), known.std(0) + 1e-9
    known, asked = (known - mean) / spread, (asked - mean) / spread
    _, strength, axes = np.linalg.svd(known, full_matrices=False)
    kept = axes[: min(AXES, (strength > 1e-9).sum())]
    known, asked = known @ kept.T, asked @ kept.T
    names = np.unique(labels)
    centers = np.stack([known[labels == name].mean(0) for name in names])
    within = np.sqrt(np.mean([known[labels == name].var(0) for name in names], axis=0)) + 1e-9
    distances = (((asked[:, None] - centers[None]) / within) ** 2).sum(2)
    return names[distances.argmin(1)]


def _balanced(hit: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean([hit[labels == name].mean() for name in np.unique(labels)]))
