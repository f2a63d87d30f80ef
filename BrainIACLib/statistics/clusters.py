"""How well the embeddings of classes, age bins or clusters lie apart (PROTOCOL P-28, P-33, C-03)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from BrainIACLib.errors import StatisticsError


def davies_bouldin(points: ArrayLike, labels: ArrayLike) -> float:
    """The Davies-Bouldin index of ``points`` (cases, features) with one label a case; lower is better separated.

    ``mean over clusters i of max over j of (s_i + s_j) / d_ij``, with ``s`` the mean distance of a cluster's points
    from its center and ``d`` the distance of two centers. Source: Davies and Bouldin, IEEE PAMI 1, 1979.

    Raises
    ------
    StatisticsError : fewer than two labels, or two clusters with one center, which nothing sets apart.

    >>> davies_bouldin([[0.0], [2.0], [10.0], [14.0]], ["a", "a", "b", "b"])
    0.2727272727272727
    """
    points, labels = np.asarray(points, dtype=float), np.asarray(labels)
    if points.ndim != 2 or labels.shape != points.shape[:1] or not np.isfinite(points).all():
        raise StatisticsError("points must be a table (cases, features) of finite numbers, with one label a case")
    names = np.unique(labels)
    if len(names) < 2:
        raise StatisticsError("the Davies-Bouldin index needs at least two clusters")
    members = [points[labels == name] for name in names]
    centres = np.stack([of_cluster.mean(axis=0) for of_cluster in members])
    spread = np.array(
        [np.linalg.norm(group - centre, axis=1).mean() for group, centre in zip(members, centres, strict=True)]
    )
    apart = np.linalg.norm(centres[:, None] - centres, axis=2)
    np.fill_diagonal(apart, np.inf)
    if (apart == 0).any():
        raise StatisticsError("two clusters have the same center: the Davies-Bouldin index is not defined")
    return float(((spread[:, None] + spread) / apart).max(axis=1).mean())
