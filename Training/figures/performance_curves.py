"""Performance by amount of training data: Fig 1D, 2A, 2C, 2D, 2E, 2F, 2H, 2I, 5E, 5F and Extended Data Fig 2."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from Training.evaluation.evaluation import Evaluation, constant_value
from Training.figures.style import COLOURS, LINES, MARKERS, WaitsFor, drawing, key_below, legend_below
from Training.runs.cell import CONSTANT, INITIALISATIONS, PAPER, SET_NAMES, TRIVIAL
from Training.tasks import AGE, SEQUENCE, TASKS
from Training.tasks.measure import Measure
from Training.tasks.sequence import PAIRS, pair_name

_APART = 0.9  # per cent between initializations, which must not hide each other's error bars
_TOGETHER = 0.3  # of the step between amounts, for many of them
_ALONE = 15  # per cent to both sides of one amount
_MANY = 6  # lines from which on a panel needs more room
_FAR = 1.5  # times the largest error of the others


def primary_curve(evaluation: Evaluation, task: str, split: str) -> Figure:
    """The primary measure of a task on one set, with 95 % intervals (Fig 2A, 2D, 2E, 2F, 2H, 2I).

    Gray is the answer without an image (``Task.without_image``), unless the line *Constant* was run.
    """
    rows = _rows(evaluation, task, split, "")
    measure = TASKS[task].primary
    size = {"width": 6.4, "height": 4.4} if rows["initialisation"].nunique() > _MANY else {"width": 4.6, "height": 3.4}
    with drawing(1, 1, simulated=evaluation.simulated(task), **size) as (figure, axes):
        _curves(axes[0, 0], evaluation, rows, measure)
        axes[0, 0].set_title(f"{TASKS[task].title}, {SET_NAMES[split]} set (n = {int(rows['cases'].max())})")
        if CONSTANT not in set(rows["initialisation"]):
            _constant(axes[0, 0], evaluation, task, split)
        legend_below(figure, axes.flat)
        _note_missing(axes[0, 0], evaluation, task)
    return figure


def sequence_pairs(evaluation: Evaluation, pairs: tuple[tuple[str, str], ...] = PAIRS[1:]) -> Figure:
    """Balanced accuracy on pairs of sequences (Fig 2C: the first of ``PAIRS``; Extended Data Fig 2: the others)."""
    tables = [_rows(evaluation, SEQUENCE.name, "test", pair_name(pair)) for pair in pairs]
    measure = SEQUENCE.primary
    size = {"width": 4.6, "height": 3.4} if len(pairs) == 1 else {}
    with drawing(1, len(pairs), simulated=evaluation.simulated(SEQUENCE.name), **size) as (figure, axes):
        for axis, rows, pair in zip(axes[0], tables, pairs, strict=True):
            _curves(axis, evaluation, rows, measure)
            axis.set_title(f"{pair_name(pair)} (n = {int(rows['cases'].max())})")
        legend_below(figure, axes.flat)
    return figure


def datasets(evaluation: Evaluation, task: str = AGE.name, split: str = "external") -> Figure:
    """The error on each data set of the external set, which may be one (Fig 5E, F)."""
    table = evaluation.numbers
    table = table[(table["task"] == task) & (table["split"] == split) & (table["subset"] != "")]
    if table.empty:
        cases = [run.rows(split) for run in evaluation.of(task)]
        known = (str(rows["dataset"].iloc[0]) for rows in cases if len(rows) and "dataset" in rows)
        alone = next(known, f"{SET_NAMES[split]} set")
        table = _rows(evaluation, task, split, "").assign(subset=alone)
    names = sorted(table["subset"].unique())
    with drawing(1, len(names), simulated=evaluation.simulated(task)) as (figure, axes):
        for axis, name in zip(axes[0], names, strict=True):
            rows = table[table["subset"] == name]
            _curves(axis, evaluation, rows, TASKS[task].primary)
            axis.set_title(f"{name} (n = {int(rows['cases'].max())})")
        legend_below(figure, axes.flat)
    return figure


def bars_at_three_fractions(evaluation: Evaluation) -> Figure:
    """All tasks at 10, 40 and 100 % of the training data (Fig 1D)."""
    tasks = [task for task in TASKS if evaluation.of(task)]
    if not tasks:
        raise WaitsFor("a finished run")
    simulated = any(evaluation.simulated(task) for task in tasks)
    empty = False
    names = initialisations_of(evaluation)
    step = 0.81 / len(names)
    width = max(3.6 if len(names) > _MANY else 2.8, 5.6 / len(tasks))
    with drawing(1, len(tasks), simulated=simulated, width=width) as (figure, axes):
        for axis, task in zip(axes[0], tasks, strict=True):
            measure = TASKS[task].primary
            for k, name in enumerate(names):
                for place, fraction in enumerate((0.1, 0.4, 1.0)):
                    middle = place + (k - (len(names) - 1) / 2) * step
                    number = evaluation.number(task, "test", measure.name, name, fraction)
                    if number is None or number["reason"]:
                        axis.text(middle, 0, "×", ha="center", va="bottom", color=COLOURS[name])
                        empty = True
                        continue
                    value, low, high = (number[key] * measure.factor for key in ("value", "low", "high"))
                    reach = [[max(0, value - low)], [max(0, high - value)]]
                    style = {"color": COLOURS[name], "width": 0.93 * step, "error_kw": {"lw": 0.8}}
                    axis.bar(middle, value, yerr=reach, **style)
            axis.set_xticks(range(3), ("10 %", "40 %", "100 %"))
            axis.set_xlim(-0.5, 2.5)  # also where the first has no bar
            axis.set(title=TASKS[task].title, ylabel=measure.title)
        key = [
            Patch(color=COLOURS[name], label=evaluation.shown(name)) for name in names
        ]  # also of one that has no bar
        cross = {"color": "0.3", "marker": "x", "linestyle": "", "markersize": 5}
        key += [Line2D([], [], label="no value", **cross)] if empty else []
        key_below(figure, key, [handle.get_label() for handle in key])
    return figure


def initialisations_of(evaluation: Evaluation) -> list[str]:
    """The paper's three, whether they were run or not, and the others that were."""
    there = {run.cell.initialisation for run in evaluation.runs}
    return [name for name in INITIALISATIONS if name in PAPER or name in there]


def _rows(evaluation: Evaluation, task: str, split: str, subset: str) -> pd.DataFrame:
    table = evaluation.numbers
    measure = TASKS[task].primary.name
    rows = table[
        (table["task"] == task)
        & (table["split"] == split)
        & (table["subset"] == subset)
        & (table["measure"] == measure)
        & (table["reason"] == "")
    ]
    if rows.empty:
        of = f" of {subset}" if subset else ""
        raise WaitsFor(f"{TASKS[task].says} runs with an answer to the {SET_NAMES[split]} set{of}")
    return rows


def _curves(axis: Axes, evaluation: Evaluation, rows: pd.DataFrame, measure: Measure) -> None:
    there = [name for name in INITIALISATIONS if name in set(rows["initialisation"])]
    fractions = sorted(set(rows["fraction"] * 100))
    together = _TOGETHER * min(np.diff(fractions), default=_ALONE)
    apart = together / len(there) if len(there) > _MANY else _APART
    for place, name in enumerate(there):
        own = rows[rows["initialisation"] == name].sort_values("fraction")
        value, low, high = (own[key].to_numpy(dtype=float) * measure.factor for key in ("value", "low", "high"))
        reach = np.maximum(0, [value - low, high - value])
        axis.errorbar(
            own["fraction"] * 100 + (place - (len(there) - 1) / 2) * apart,
            value,
            yerr=reach,
            label=evaluation.shown(name),
            color=COLOURS[name],
            marker=MARKERS[name],
            linestyle=LINES[name],
            markersize=4,
            linewidth=1.4,
            elinewidth=0.8,
            capsize=2,
        )
    _leave_out_far_ones(axis, rows, measure)
    axis.set(xlabel="training data (%)", ylabel=measure.title, xticks=fractions)
    if len(fractions) == 1:  # one point needs room around it, and no fractions of a per cent
        axis.set_xlim(fractions[0] - _ALONE, fractions[0] + _ALONE)
    axis.tick_params(axis="x", labelsize=7)


def _constant(axis: Axes, evaluation: Evaluation, task: str, split: str) -> None:
    """What the answer without an image gets with each amount of data that a run has."""
    fractions = sorted({run.cell.fraction for run in evaluation.of(task)})
    values = [constant_value(evaluation, task, split, fraction) for fraction in fractions]
    if all(value is not None for value in values):
        heights = [value * TASKS[task].primary.factor for value in values]
        style = {"color": "0.5", "linewidth": 1, "label": TASKS[task].without_image}
        axis.plot([fraction * 100 for fraction in fractions], heights, **style, marker="_", markersize=8)


def _leave_out_far_ones(axis: Axes, rows: pd.DataFrame, measure: Measure) -> None:
    """Features without training can err several times as much as all else, which would become one line: the axis then
    ends below them, and a note says where they are."""
    trivial = rows["initialisation"].isin(TRIVIAL)
    if not measure.lower_is_better or trivial.all():
        return
    top = rows["high"][~trivial].max() * measure.factor
    far = {
        name: own["value"] * measure.factor
        for name, own in rows[trivial].groupby("initialisation", sort=False)
        if own["value"].min() * measure.factor > _FAR * top
    }
    if not far:
        return
    near = rows[~rows["initialisation"].isin(far)]
    axis.set_ylim(top=near["high"].max() * measure.factor * 1.05)
    notes = [f"{name} lies above: {values.min():.0f} to {values.max():.0f}" for name, values in far.items()]
    axis.text(0.99, 0.99, "\n".join(notes), transform=axis.transAxes, ha="right", va="top", fontsize=7, color="0.3")


def _note_missing(axis: Axes, evaluation: Evaluation, task: str) -> None:
    missing = [cell for cell in evaluation.missing if cell.task == task]
    if missing:
        text = f"{len(missing)} of {sum(cell.task == task for cell in evaluation.wanted)} cells missing"
        axis.text(0.99, 1.0, text, transform=axis.transAxes, ha="right", va="top", fontsize=7, color="#D55E00")
