"""What a training answers for studies, as rows of predictions.csv (``Training.runs.layout``)."""

from __future__ import annotations

import numpy as np
import pandas as pd

from Training.downstream.one_training import Trained
from Training.downstream.perturbations import Perturbation
from Training.downstream.plan import Workbench
from Training.runs.layout import Cell
from Training.tasks import TASKS


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
    values = task.scores(trained.outputs(rows, perturb), trained.fitted.scale)
    out = chosen[["patient", "scan", "dataset"]].copy()
    out["split"] = trained.split.iloc[rows].to_numpy()
    return out.join(task.answers(chosen, values, bench.plan.settings))
