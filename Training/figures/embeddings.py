"""The plane of features: Fig 2B (sequences) and Fig 5B, 5D (age bins), t-SNE with density contours (PROTOCOL P-27)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from scipy.stats import gaussian_kde

from BrainIACLib.errors import StatisticsError
from BrainIACLib.foreign_text import without_mathematics
from Training.evaluation.evaluation import Evaluation
from Training.evaluation.feature_clusters import feature_clusters, tsne_plane
from Training.figures.style import CATEGORIES, WaitsFor, drawing
from Training.runs.cell import SET_NAMES
from Training.tasks import TASKS

_FEWEST_FOR_A_CONTOUR = 5
_MARKERS = "os^DvP"


def feature_plane(evaluation: Evaluation, task: str, split: str, initialisation: str = "BrainIAC") -> Figure:
    """The features of the largest model of one initialization on one set, colored by sequence or age bin."""
    run = evaluation.largest(task, initialisation)
    if run is None or run.rows(split).empty:
        raise WaitsFor(f"a {initialisation} run of {TASKS[task].says} with the {SET_NAMES[split]} set")
    try:
        found = feature_clusters(run, split)
    except StatisticsError as error:
        raise WaitsFor(f"embeddings: {error}") from error
    plane = tsne_plane(found.embedding)
    with drawing(1, 1, simulated=run.simulated, width=4.6, height=4.0) as (figure, axes):
        axis = axes[0, 0]
        for k, label in enumerate(np.unique(found.labels)):
            points = plane[found.labels == label]
            style = {"color": CATEGORIES[k % len(CATEGORIES)], "marker": _MARKERS[k % len(_MARKERS)]}
            said = without_mathematics(f"{label} (n = {len(points)})")
            axis.scatter(*points.T, s=12, alpha=0.8, linewidths=0, label=said, **style)
            _contours(axis, points, style["color"])
        axis.set(xticks=[], yticks=[], xlabel="t-SNE 1", ylabel="t-SNE 2")
        handles, labels = axis.get_legend_handles_labels()  # below: inside it would hide cases
        figure.legend(handles, labels, title=TASKS[task].grouped_by, loc="outside lower center", ncols=2)
        axis.set_title(
            f"{TASKS[task].title}, {evaluation.shown(initialisation)}, {SET_NAMES[split]} set\n"
            f"Davies-Bouldin {found.index_k_means:.2f} (k-means), {found.index_labels:.2f} (labels)",
            fontsize=9,
        )
    return figure


def _contours(axis: Axes, points: np.ndarray, colour: str) -> None:
    """Lines of equal density of one label; not for a handful of points, or points on a line."""
    if len(points) < _FEWEST_FOR_A_CONTOUR:
        return
    try:
        density = gaussian_kde(points.T)
    except np.linalg.LinAlgError:
        return
    margin = 0.15 * np.ptp(points, axis=0)
    grid = np.stack(
        np.meshgrid(
            *(
                np.linspace(low, high, 60)
                for low, high in zip(points.min(0) - margin, points.max(0) + margin, strict=True)
            )
        )
    )
    height = density(grid.reshape(2, -1)).reshape(grid.shape[1:])
    axis.contour(*grid, height, levels=4, colors=colour, linewidths=0.6, alpha=0.6)
