"""What a training answers for studies, as rows of predictions.csv (``Training.evaluation.results``)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from Training.downstream.one_training import Trained
from Training.downstream.plan import Workbench
from Training.downstream.tasks import TASKS, display_factor, scores
from Training.evaluation.perturbations import Perturbation
from Training.evaluation.results import Cell


def predictions_table(
    bench: Workbench, cell: Cell, trained: Trained, rows: np.ndarray, perturb: Perturbation | None = None
) -> pd.DataFrame:
    """One row a study, the columns those of predictions.csv but for ``fold``; ages in years.

    Parameters
    ----------
    rows : int (n,), row numbers of studies.
    perturb : applied to the scans; then ``rows`` must be among ``trained.held_out``.
    """
    task = TASKS[cell.task]
    chosen = bench.studies(cell.task).table.iloc[rows]
    values = scores(task, trained.outputs(rows, perturb), trained.fitted.scale)
    out = chosen[["patient", "scan", "dataset"]].copy()
    out["split"] = trained.split.iloc[rows].to_numpy()
    if task.classes:
        out["truth"] = chosen["sequence"].to_numpy()
        for number, name in enumerate(task.classes):
            out[f"score_{name}"] = values[:, number]
        return out
    display = display_factor(task, bench.plan.age_unit)
    truth = chosen["target"].to_numpy(float) * display
    out["truth"] = truth if task.name == "age" else pd.array(truth, dtype="Int64")
    out["score"] = values * display
    if task.name == "survival":
        out["time"], out["event"] = chosen["time"].to_numpy(float), chosen["event"].astype(int).to_numpy()
    return out
