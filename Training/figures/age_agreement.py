"""Predicted against true age: Fig 5A and 5C (PROTOCOL P-31)."""

from __future__ import annotations

import numpy as np
from matplotlib.figure import Figure

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.agreement import agreement
from Training.evaluation.evaluation import Evaluation
from Training.figures.style import COLOURS, WaitsFor, drawing, legend_below
from Training.runs.cell import SET_NAMES
from Training.tasks import AGE


def age_scatter(evaluation: Evaluation, split: str, initialisation: str = "BrainIAC") -> Figure:
    """The largest model's cases with their regression line; dashed is where predicted and true age are the same."""
    run = evaluation.largest(AGE.name, initialisation)
    if run is None or run.rows(split).empty:
        raise WaitsFor(f"a {initialisation} run of brain age with the {SET_NAMES[split]} set")
    rows = run.rows(split)
    truth, predicted = rows["truth"].to_numpy(), rows["score"].to_numpy()
    try:
        found = agreement(truth, predicted)
    except StatisticsError as error:
        raise WaitsFor(f"cases of different ages ({error})") from error
    with drawing(1, 1, simulated=run.simulated, width=4.0, height=4.4) as (figure, axes):
        axis = axes[0, 0]
        axis.scatter(truth, predicted, s=10, alpha=0.6, linewidths=0, color=COLOURS[initialisation])
        ends = np.array([min(truth.min(), predicted.min()), max(truth.max(), predicted.max())])
        axis.plot(ends, ends, "k--", linewidth=0.9, label="predicted = true")
        across = np.array([truth.min(), truth.max()])
        line = f"slope {found.slope:.2f}, bias {found.bias:+.2f} years"
        axis.plot(across, found.slope * across + found.intercept, color="#D55E00", linewidth=1.4, label=line)
        r = "" if found.r is None else f"r {found.r:.2f}, "
        shown = f"{evaluation.shown(initialisation)}, {SET_NAMES[split]} set (n = {len(rows)})"
        axis.set_title(f"{shown}\n{r}MAE {found.mae:.2f} years", fontsize=9)
        axis.set(xlabel="true age (years)", ylabel="predicted age (years)", aspect="equal")
        legend_below(figure, [axis])  # inside it would hide cases
    return figure
