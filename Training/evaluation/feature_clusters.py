"""Clusters of embeddings: the Davies-Bouldin index on k-means and on known labels, and the t-SNE plane.

PROTOCOL P-27, P-28, P-33 and C-03: the paper's "KNN clustering (K=4)" can only be k-means, and it does not say whether
its index is of the clusters or of the classes; both are given, on the embeddings themselves, not on a t-SNE plane.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from sklearn.cluster import KMeans
from sklearn.manifold import TSNE

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.clusters import davies_bouldin
from Training.runs.reading import Run
from Training.tasks import TASKS

_CLUSTERS = 4  # K of the paper, for sequences and for age bins
_FEWEST_CASES = 8  # below that, four clusters of embeddings mean nothing


@dataclass(frozen=True)
class FeatureClusters:
    """Embeddings (cases, features) of a split, the label of each case, and both indices."""

    embedding: np.ndarray
    labels: np.ndarray
    k_means: np.ndarray
    index_k_means: float
    index_labels: float


def feature_clusters(run: Run, split: str, seed: int = 0) -> FeatureClusters:
    """Cluster the embeddings of a split; labels are those of the task: sequences, or age bins.

    Raises
    ------
    StatisticsError : the run has no embeddings or those of several networks, too few for four clusters, or one label
        only.
    """
    if run.cell.mode == "finetune" and "fold" in run.predictions:
        raise StatisticsError("each fold of the cross-validation has a network, and features, of its own")
    if run.embeddings is None:
        raise StatisticsError("the embeddings of the run were not kept")
    rows = run.rows(split)
    rows = rows[rows.index.isin(run.embeddings.index)]
    if len(rows) < _FEWEST_CASES:
        raise StatisticsError(f"{len(rows)} embeddings in the {split} split are too few for {_CLUSTERS} clusters")
    embedding = run.embeddings.loc[rows.index].to_numpy(dtype=float)
    labels = TASKS[run.cell.task].groups(rows)
    if labels is None:
        raise StatisticsError(f"cases of the task {run.cell.task} have no label to compare clusters with")
    if not np.ptp(embedding, axis=0).any():
        raise StatisticsError("all cases have the same features")
    k_means = KMeans(_CLUSTERS, n_init=10, random_state=seed).fit_predict(embedding)
    return FeatureClusters(
        embedding, labels, k_means, davies_bouldin(embedding, k_means), davies_bouldin(embedding, labels)
    )


def tsne_plane(embedding: np.ndarray, seed: int = 0) -> np.ndarray:
    """The t-SNE coordinates (cases, 2), seeded; perplexity 30, or a third of the cases where there are fewer than 90.

    Source: van der Maaten and Hinton, JMLR 9, 2008; the paper states no perplexity.
    """
    perplexity = min(30.0, (len(embedding) - 1) / 3)
    return TSNE(perplexity=perplexity, init="pca", random_state=seed).fit_transform(embedding)
