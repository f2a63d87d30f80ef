"""Stability of a trained cell: its metric on the held-out cases at each level of each perturbation (PROTOCOL P-42).

Each training is perturbed on the cases that it is tested with and on no others: in a cross-validation each case for the
network or head of one fold. The answers of all folds are measured together, once a level, as the unperturbed ones are.
For a probe the encoder is shared, so perturbed embeddings are computed once and serve all tasks and folds; a finetuned
net is swept by itself.
"""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Sequence

import pandas as pd

from BrainIACLib.errors import StatisticsError
from Training.downstream.perturbations import FEW_LEVELS, SWEEPS
from Training.downstream.plan import Plan, Workbench
from Training.downstream.predictions import predictions_table
from Training.runs.cell import HELD_OUT, Cell
from Training.tasks import TASKS
from Training.tasks.measure import Measure

if typing.TYPE_CHECKING:
    from Training.downstream.one_training import Trained

RESAMPLES = 500  # of the bootstrap at each level


def stability_table(
    bench: Workbench, cell: Cell, trainings: Sequence[Trained], predictions: pd.DataFrame
) -> pd.DataFrame:
    """``perturbation``, ``level``, ``split``, ``metric``, ``value``, ``low``, ``high`` of the task's primary measure.

    ``low`` and ``high`` are its 95 % interval over cases (bootstrap by patient).

    Parameters
    ----------
    trainings : one, or one for each fold.
    predictions : what they answer for the scans as they are. At the level without an effect these are measured, not
        computed again: another batch may round differently, and the sweep starts at the cell's own metric exactly.
    """
    measure = TASKS[cell.task].primary
    unperturbed: dict[str, tuple[float, float, float]] = {}
    for split in HELD_OUT:
        with contextlib.suppress(StatisticsError):  # nobody there, or everybody of one class: no metric at any level
            unperturbed[split] = _measured(measure, predictions[predictions["split"] == split])
    found = []
    for sweep in SWEEPS:
        for level in levels_of(bench.plan, sweep.name, cell.initialisation):
            values = unperturbed
            if level != sweep.neutral:
                perturb = sweep.at(level)
                answers = pd.concat([predictions_table(bench, cell, one, one.held_out, perturb) for one in trainings])
                values = {split: _measured(measure, answers[answers["split"] == split]) for split in unperturbed}
            found += [(sweep.name, level, split, measure.name, *value) for split, value in values.items()]
    return pd.DataFrame(found, columns=["perturbation", "level", "split", "metric", "value", "low", "high"])


def levels_of(plan: Plan, name: str, initialisation: str) -> list[float]:
    """The levels of a perturbation at which an initialization is measured: of some, a few only."""
    levels = plan.stability.get(name, [])
    return [level for level in levels if level in FEW_LEVELS[name]] if initialisation in plan.few_levels else levels


def _measured(measure: Measure, answers: pd.DataFrame) -> tuple[float, float, float]:
    """The metric with its interval."""
    value, known = measure.value(answers), measure.known(answers)
    columns = [*(known[name].to_numpy() for name in measure.truth), measure.answer(known)]
    interval, _ = measure.estimate(columns, known["patient"].to_numpy(), RESAMPLES)
    return value, interval.low, interval.high
