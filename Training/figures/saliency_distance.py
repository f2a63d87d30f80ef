"""Distance of saliency from the tumor by initialization: Fig 2G (PROTOCOL P-36)."""

from __future__ import annotations

from matplotlib.figure import Figure

from Training.evaluation.evaluation import Evaluation
from Training.figures.style import COLOURS, WaitsFor, drawing
from Training.runs.cell import INITIALISATIONS
from Training.tasks import IDH


def com_distance_boxes(evaluation: Evaluation, task: str = IDH.name) -> Figure:
    """One box an initialization for each sequence: quartiles, whiskers to 1.5 times their range, every patient."""
    runs = {name: evaluation.largest(task, name) for name in INITIALISATIONS}
    runs = {name: run for name, run in runs.items() if run is not None and run.centre_of_mass is not None}
    if not runs:
        raise WaitsFor("saliency of tumors with masks (saliency/centre_of_mass.csv of a run)")
    sequences = sorted({sequence for run in runs.values() for sequence in run.centre_of_mass["sequence"]})
    with drawing(1, len(sequences), simulated=evaluation.simulated(task), height=3.2) as (figure, axes):
        for axis, sequence in zip(axes[0], sequences, strict=True):
            found = {
                name: table["distance_mm"].to_numpy()
                for name, run in runs.items()
                if len(table := run.centre_of_mass[run.centre_of_mass["sequence"] == sequence])
            }
            boxes = axis.boxplot(
                list(found.values()),
                tick_labels=[evaluation.shown(name) for name in found],
                patch_artist=True,
                showfliers=False,
            )
            for box, name in zip(boxes["boxes"], found, strict=True):
                box.set(facecolor=COLOURS[name], alpha=0.6)
            for median in boxes["medians"]:
                median.set(color="black")
            for place, (name, distances) in enumerate(found.items(), start=1):
                spread = [(k * 0.618 % 1 - 0.5) * 0.3 for k in range(len(distances))]  # evenly, and always the same
                axis.plot([place + s for s in spread], distances, ".", color=COLOURS[name], markersize=3)
            patients = {len(distances) for distances in found.values()}
            counts = " or ".join(map(str, sorted(patients)))
            axis.set(title=f"{sequence} (n = {counts})", ylabel="distance to tumor (mm)", ylim=(0, None))
            axis.tick_params(axis="x", labelsize=7)
    return figure
