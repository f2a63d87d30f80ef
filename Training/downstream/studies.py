"""From a table of scans to the studies of a task: which volumes belong together, and what is true of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from BrainIACLib.errors import TrainingError
from Training.data.manifest import near_names
from Training.data.splits import persons
from Training.tasks.task import USUAL, Settings, Task


@dataclass(frozen=True)
class Studies:
    """The studies of one task.

    table : one row a study: ``patient``, ``scan`` (a name), ``dataset``, ``role``, ``target`` (class number, age in the
        chosen unit, 0 or 1; NaN where the truth is not known, as for the censored), and the task's columns.
    volumes : int64 (n, slots), rows of the table of scans; -1 where a study lacks a scan.
    left_out : how many scans or studies were left out, by reason.
    """

    task: Task
    table: pd.DataFrame
    volumes: np.ndarray
    left_out: dict[str, int]


def studies(scans: pd.DataFrame, task: Task, settings: Settings = USUAL) -> Studies:
    """The studies of ``task`` in a table of scans (columns of a manifest; the index is not used).

    Raises
    ------
    TrainingError : the table has no study for the task.
    """
    scans = scans.reset_index(drop=True)
    scans["patient"] = persons(scans)  # one name for a person of two datasets (C-09)
    roles = scans["role"].where(scans["role"] != "").groupby(scans["patient"])
    scans["role"] = roles.transform("first").fillna("")  # scans without a role have that of their person (C-08)
    builder = _single if len(task.slots) == 1 else _several
    table, volumes, left_out = builder(scans, task)
    if len(table):
        table["target"] = task.targets(table, settings)
    if not len(table) or table["target"].isna().all():
        near = "".join(f" {sentence}" for sentence in near_names(scans, [column.name for column in task.columns]))
        raise TrainingError(f"The manifest has nothing for the task '{task.name}': it needs {task.needs}.{near}")
    censored = int(table["target"].isna().sum())
    if censored:
        left_out[task.left_out_in_words(settings)] = censored
    return Studies(task, table, volumes, left_out)


def _single(scans: pd.DataFrame, task: Task):
    """One study a scan."""
    fitting = task.fitting(scans)
    known = fitting & task.known(scans)
    left_out = {"of another sequence": int((~fitting).sum()), "without the label": int((fitting & ~known).sum())}
    rows = np.flatnonzero(known)
    return _named(scans, task, rows, scans["scan"].iloc[rows]), rows[:, None], _some(left_out)


def _several(scans: pd.DataFrame, task: Task):
    """One study a patient and session, with the first scan of each slot."""
    fitting = task.fitting(scans)
    known = fitting & task.known(scans)
    left_out = {"of another sequence": int((~fitting).sum()), "without the label": int((fitting & ~known).sum())}
    first_rows, volumes, names, repeated = [], [], [], 0
    for (patient, session), group in scans[known].groupby(["patient", "session"], sort=True):
        places = [group.index[group["sequence"] == slot] for slot in task.slots]
        repeated += sum(max(0, len(place) - 1) for place in places)
        volumes.append([place[0] if len(place) else -1 for place in places])
        first_rows.append(group.index[0])
        names.append(f"{patient} {session}".strip())
    volumes = np.array(volumes, np.int64).reshape(-1, len(task.slots))
    left_out["second scan of the same kind"] = repeated
    left_out["studies that lack a scan (kept: masked mean)"] = int((volumes < 0).any(1).sum())
    return _named(scans, task, np.array(first_rows, int), names), volumes, _some(left_out)


def _named(scans: pd.DataFrame, task: Task, rows: np.ndarray, names) -> pd.DataFrame:
    columns = ["patient", "dataset", "role", "sequence", *(column.name for column in task.columns)]
    table = scans.loc[rows, columns].reset_index(drop=True)
    table.insert(1, "scan", list(names))
    return table


def _some(counts: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}
