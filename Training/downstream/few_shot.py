"""Few-shot: heads on frozen encoders learned from 1 or 5 cases a class, many draws (Nature Neuroscience 2026).

The version of record adds such runs to the preprint's fractions. Which cases are drawn decides more than anything else,
so each number is the mean over draws, with the range that holds 95 % of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np
import pandas as pd
import torch

from BrainIACLib.errors import StatisticsError, TrainingError
from BrainIACLib.models.heads import LinearHead
from Training.downstream.embeddings import embeddings_of
from Training.downstream.exact_head import solve
from Training.downstream.inputs import pool_studies
from Training.downstream.plan import Workbench, with_truth
from Training.runs.cell import HELD_OUT, Cell
from Training.tasks import TASKS

SHOTS = (1, 5)
DRAWS = 50
COLUMNS = ("task", "split", "initialisation", "shots", "value", "low", "high", "draws", "cases")
_STREAM = 17  # so that one seed gives unrelated draws


def few_shot(
    bench: Workbench, task_name: str, initialisations: Sequence[str], shots: Sequence[int] = SHOTS, draws: int = DRAWS
) -> pd.DataFrame:
    """The task's primary measure on the held-out cases, one row a set, initialization and number of cases a class.

    Training cases are drawn from those that are neither held out nor external, at most one of a patient and class.
    Classes with fewer patients give all they have.

    Raises
    ------
    TrainingError : the task has no classes, or the plan is a cross-validation.
    """
    task = TASKS[task_name]
    if task.kind != "classification" or bench.plan.folds:
        raise TrainingError(
            f"Few-shot runs need a task with classes and a hold-out, and '{task_name}' here has not both."
        )
    (split,) = bench.splits(Cell(task_name, "Scratch", 1.0), hold_out=0.2, validation=0.2)
    data = bench.studies(task_name)
    pool, targets = with_truth(data, split, "train", "validation"), data.table["target"].to_numpy(float)
    rows = []
    for name in initialisations:
        pooled = pool_studies(embeddings_of(bench, name, 0), data.volumes)
        for count in shots:
            found: dict[str, list[float]] = {}
            for draw in range(draws):
                chosen = drawn_cases(targets, data.table["patient"].to_numpy(), pool, count, draw)
                head = LinearHead(pooled.shape[1], task.outputs)
                fitted = solve(head, pooled, targets, data.table["patient"].to_numpy(), chosen, chosen, task, draw)
                for held_out, value in _scored(bench, task_name, split, head, pooled, fitted.scale):
                    found.setdefault(held_out, []).append(value)
            for held_out, values in found.items():
                low, high = np.quantile(values, (0.025, 0.975))
                cases = int((split == held_out).sum())
                rows.append((task_name, held_out, name, count, np.mean(values), low, high, len(values), cases))
    return pd.DataFrame(rows, columns=list(COLUMNS))


def drawn_cases(targets: np.ndarray, patients: np.ndarray, pool: np.ndarray, count: int, draw: int) -> np.ndarray:
    """Row numbers of ``count`` cases of each class of the pool, of different patients."""
    rng = np.random.default_rng((draw, count, _STREAM))
    chosen = []
    for label in np.unique(targets[pool]):
        order = rng.permutation(pool[targets[pool] == label])
        _, first = np.unique(patients[order], return_index=True)
        chosen += order[np.sort(first)][:count].tolist()
    return np.array(chosen)


@torch.inference_mode()
def _scored(
    bench: Workbench, task_name: str, split: pd.Series, head: LinearHead, pooled: torch.Tensor, scale
) -> Iterator[tuple[str, float]]:
    """(set, primary measure) of each held-out set where it is defined."""
    task, table = TASKS[task_name], bench.studies(task_name).table
    for held_out in HELD_OUT:
        rows = np.flatnonzero(split == held_out)
        if not len(rows):
            continue
        cases = table.iloc[rows]
        values = task.scores(head.eval()(pooled[torch.from_numpy(rows)]), scale)
        answers = cases[["patient", "scan"]].join(task.answers(cases, values, bench.plan.settings))
        try:
            yield held_out, task.primary.value(answers)
        except StatisticsError:  # one class alone
            continue
