"""Stability of a trained cell: its metric on the test cases at each level of each perturbation (PROTOCOL P-42).

For a probe the encoder is shared, so perturbed embeddings are computed once and serve all tasks; a finetuned net is
swept by itself.
"""

from __future__ import annotations

import functools
import typing

import numpy as np
import pandas as pd
import torch

from Training.downstream.embeddings import embeddings_of
from Training.downstream.fitting import predict, validation_score
from Training.downstream.inputs import VolumeInputs, pool_studies
from Training.downstream.plan import Workbench
from Training.downstream.recipe import load_recipe
from Training.downstream.tasks import TASKS, scores
from Training.evaluation.perturbations import SWEEPS
from Training.evaluation.results import Cell

if typing.TYPE_CHECKING:
    from Training.downstream.one_training import Trained

SPLITS = ("test", "external")


def stability_table(bench: Workbench, cell: Cell, split: pd.Series, trained: Trained, display: float) -> pd.DataFrame:
    """Columns ``perturbation``, ``level``, ``split``, ``metric``, ``value``; the level without an effect is in it.

    Parameters
    ----------
    display : factor of the metric, from the unit of an age to years.
    """
    task, data = TASKS[cell.task], bench.studies(cell.task)
    truth = data.table["target"].to_numpy(float)
    rows_of = {name: np.flatnonzero((split == name) & data.table["target"].notna()) for name in SPLITS}
    rows_of = {name: rows for name, rows in rows_of.items() if len(rows)}
    found = []
    for sweep in SWEEPS:
        for level in bench.plan.stability.get(sweep.name, []):
            apply = functools.partial(_perturbed, sweep.apply, level)
            for name, rows in rows_of.items():
                outputs = _outputs(bench, cell, rows, trained, (sweep.name, level, apply))
                value = validation_score(task, truth[rows], scores(task, outputs, trained.fitted.scale)) * display
                found.append((sweep.name, level, name, task.metric, value))
    return pd.DataFrame(found, columns=["perturbation", "level", "split", "metric", "value"])


def _perturbed(apply, level: float, volumes: torch.Tensor) -> torch.Tensor:
    return apply(volumes, level)


def _outputs(bench: Workbench, cell: Cell, rows: np.ndarray, trained: Trained, perturb: tuple) -> torch.Tensor:
    data = bench.studies(cell.task)
    if trained.net is None:
        embeddings = embeddings_of(bench, cell.initialisation, cell.seed, bench.test_volumes(cell), perturb)
        pooled = pool_studies(embeddings, data.volumes[rows])
        with torch.inference_mode():
            return trained.head.eval()(pooled)
    contract = bench.initialisation(cell.initialisation).contract
    inputs = VolumeInputs(bench.cache, data.volumes, contract, bench.plan.device, perturb[2])
    return predict(trained.net, inputs, rows, load_recipe(bench.plan.recipes[cell.mode], cell.task).batch_size)
