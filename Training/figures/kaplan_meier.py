"""Survival of high and low risk for each initialization and fraction: Fig 3 (PROTOCOL P-41)."""

from __future__ import annotations

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.survival import KaplanMeier, at_risk
from Training.evaluation.evaluation import Evaluation
from Training.evaluation.risk_groups import RiskGroups, risk_groups
from Training.figures.style import HIGH_RISK, LOW_RISK, WaitsFor, drawing, key_below
from Training.runs.cell import INITIALISATIONS, SET_NAMES, percent
from Training.runs.reading import Run
from Training.tables.table import p_text
from Training.tasks import SURVIVAL

HIGH, LOW = "high risk", "low risk"
_ACROSS = 3  # panels side by side whose text is still read on a page


def survival_grid(evaluation: Evaluation, split: str) -> Figure:
    """Initializations down, fractions across: two curves, numbers at risk and, in the title, the log-rank p.

    More fractions than a page is wide go on in a second line.
    """
    fractions = sorted({cell.fraction for cell in evaluation.wanted if cell.task == SURVIVAL.name})
    runs = [run for run in evaluation.of(SURVIVAL.name) if len(run.rows(split))]
    if not runs:
        raise WaitsFor(f"overall survival runs with the {SET_NAMES[split]} set")
    groups = {run.cell: _groups(run, split) for run in runs}
    if all(isinstance(found, str) for found in groups.values()):
        raise WaitsFor(f"overall survival runs that split into groups ({groups[runs[0].cell]})")
    simulated = evaluation.simulated(SURVIVAL.name)
    wanted = {cell.initialisation for cell in evaluation.wanted if cell.task == SURVIVAL.name}
    names = [name for name in INITIALISATIONS if name in wanted]
    across = min(len(fractions), _ACROSS)
    lines = -(-len(fractions) // across)
    with drawing(len(names) * lines, across, simulated=simulated, width=2.4, height=2.1) as (figure, axes):
        for row, name in enumerate(names):
            panels = axes[row * lines : (row + 1) * lines].ravel()
            for axis, fraction in zip(panels, fractions, strict=False):
                said = f"{evaluation.shown(name)}, {percent(fraction)}"
                axis.set_title(said, fontsize=8)
                own = evaluation.of(SURVIVAL.name, name, fraction)
                found = groups.get(own[0].cell, "no such set") if own else "missing"
                if isinstance(found, str):
                    _say(axis, found)
                else:
                    _panel(axis, found)
                    axis.set_title(f"{said}: p {p_text(found.test.p)}", fontsize=8)
            for axis in panels[len(fractions) :]:
                axis.set_axis_off()
            for axis in panels[::across]:
                axis.set_ylabel("share alive", fontsize=7)
        key = [Line2D([], [], color=colour, label=label) for colour, label in ((HIGH_RISK, HIGH), (LOW_RISK, LOW))]
        key_below(figure, key, [f"{one.get_label()}, at risk below" for one in key])
    return figure


def _groups(run: Run, split: str) -> RiskGroups | str:
    """The groups, or why there are none."""
    try:
        return risk_groups(run, split)
    except StatisticsError as error:
        return str(error)


def _panel(axis: Axes, found: RiskGroups) -> None:
    end = float(found.time.max()) or 1.0
    ticks = np.linspace(0, end, 4).round()
    groups = (
        (found.curve_high, HIGH_RISK, found.high),
        (found.curve_low, LOW_RISK, ~found.high),
    )
    for line, (curve, colour, members) in enumerate(groups):
        _steps(axis, curve, colour, end)
        for tick, count in zip(ticks, at_risk(found.time[members], ticks), strict=True):
            axis.text(tick, -0.42 - 0.14 * line, str(count), color=colour, fontsize=6, ha="center", clip_on=False)
    axis.set(ylim=(0, 1.04), xlim=(0, end), xticks=ticks)
    axis.set_xlabel("months\n\n\n", fontsize=6.5)
    axis.tick_params(labelsize=6.5)


def _steps(axis: Axes, curve: KaplanMeier, colour: str, end: float) -> None:
    times, survival, low, high = (
        np.append(values, last)
        for values, last in (
            (curve.times, end),
            (curve.survival, curve.survival[-1]),
            (curve.low, curve.low[-1]),
            (curve.high, curve.high[-1]),
        )
    )
    axis.step(times, survival, where="post", color=colour, linewidth=1.2)
    axis.fill_between(times, low, high, step="post", color=colour, alpha=0.15, linewidth=0)
    if len(curve.censored):
        axis.plot(curve.censored, [curve.at(t) for t in curve.censored], "|", color=colour, markersize=4)


def _say(axis: Axes, text: str) -> None:
    axis.text(0.5, 0.5, text, ha="center", va="center", wrap=True, fontsize=7, color="0.4", transform=axis.transAxes)
    axis.set(xticks=[], yticks=[])
