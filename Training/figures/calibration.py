"""Reliability and decision curves of the largest classifiers: extras that the paper does not show."""

from __future__ import annotations

from matplotlib.figure import Figure

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.calibration import decision_curve, reliability_curve
from Training.evaluation.evaluation import Evaluation
from Training.figures.style import COLOURS, LINES, MARKERS, WaitsFor, drawing
from Training.runs.cell import INITIALISATIONS
from Training.tasks import TASKS
from Training.tasks.task import Task


def reliability(evaluation: Evaluation, split: str = "test") -> Figure:
    """How often what was predicted with a probability is so; above the diagonal the model is too modest."""
    found = _cases(evaluation, [task for task in TASKS.values() if task.probabilistic], split)
    tasks = list(dict.fromkeys(task for task, _ in found))
    simulated = any(evaluation.simulated(task) for task in tasks)
    with drawing(1, len(tasks), simulated=simulated, height=3.0) as (figure, axes):
        for axis, task in zip(axes[0], tasks, strict=True):
            axis.plot([0, 1], [0, 1], "k--", linewidth=0.8)
            for (of, name), (labels, probabilities) in found.items():
                if of != task:
                    continue
                curve = reliability_curve(labels, probabilities)
                style = {"color": COLOURS[name], "marker": MARKERS[name], "linestyle": LINES[name]}
                axis.plot(curve.predicted, curve.observed, label=evaluation.shown(name), markersize=4, **style)
            axis.set(title=TASKS[task].title, xlabel="predicted probability", ylabel="observed share", aspect="equal")
        axes[0, 0].legend()
    return figure


def net_benefit(evaluation: Evaluation, split: str = "test") -> Figure:
    """Decision curves of the two-class tasks: net benefit against acting on everybody or nobody."""
    found = _cases(evaluation, [task for task in TASKS.values() if task.two_class], split)
    tasks = list(dict.fromkeys(task for task, _ in found))
    simulated = any(evaluation.simulated(task) for task in tasks)
    with drawing(1, len(tasks), simulated=simulated, height=3.0) as (figure, axes):
        for axis, task in zip(axes[0], tasks, strict=True):
            lowest = 0.0
            for (of, name), (labels, probabilities) in found.items():
                if of != task:
                    continue
                try:
                    curve = decision_curve(labels, probabilities)
                except StatisticsError:  # one class only: no decision to weigh
                    continue
                axis.plot(
                    curve.thresholds,
                    curve.model,
                    color=COLOURS[name],
                    linestyle=LINES[name],
                    label=evaluation.shown(name),
                )
                axis.plot(curve.thresholds, curve.everybody, color="0.5", linewidth=0.8)
                lowest = max(curve.model.max(), lowest)
            axis.axhline(0, color="0.2", linewidth=0.8)
            axis.set(
                title=TASKS[task].title, xlabel="threshold", ylabel="net benefit", ylim=(-0.1, lowest * 1.15 + 0.02)
            )
        axes[0, 0].legend(title="gray: everybody")
    return figure


def _cases(evaluation: Evaluation, tasks: list[Task], split: str) -> dict:
    """(0/1 outcomes, probabilities) by (task, initialization)."""
    found = {}
    for task in tasks:
        for name in INITIALISATIONS:
            run = evaluation.largest(task.name, name)
            rows = None if run is None else run.rows(split).dropna(subset=["truth"])
            if rows is None or rows.empty:
                continue
            labels, probabilities = task.outcome(rows)
            if probabilities.min() >= 0 and probabilities.max() <= 1:
                found[task.name, name] = (labels, probabilities)
    if not found:
        raise WaitsFor("finished classifiers that give probabilities")
    return found
