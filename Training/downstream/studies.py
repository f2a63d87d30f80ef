"""From a table of scans to the studies of a task: which volumes belong together, and what is true of them."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from BrainIACLib.errors import TrainingError
from BrainIACLib.sequences import STANDARD_NAMES
from Training.data.splits import persons
from Training.downstream.survival_labels import ONE_YEAR, horizon_labels
from Training.downstream.tasks import AGE_UNITS, Task


@dataclass(frozen=True)
class Studies:
    """The studies of one task.

    table : one row a study: ``patient``, ``scan`` (a name), ``dataset``, ``role``, ``target`` (class number, age in the
        chosen unit, 0 or 1; NaN where the truth is not known, as for the censored), for survival ``time`` in months and
        ``event``.
    volumes : int64 (n, slots), rows of the table of scans; -1 where a study lacks a scan.
    left_out : how many scans or studies were left out, by reason.
    """

    task: Task
    table: pd.DataFrame
    volumes: np.ndarray
    left_out: dict[str, int]


def studies(scans: pd.DataFrame, task: Task, *, age_unit: str = "years", horizon: float = ONE_YEAR) -> Studies:
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
        table["target"] = _targets(table, task, age_unit, horizon)
    if not len(table) or table["target"].isna().all():
        needed = {
            "sequence": f"scans with sequence {', '.join(STANDARD_NAMES)}",
            "age": "T1 scans with age_years",
            "idh": "T1CE or FLAIR scans with idh",
            "survival": "scans with survival_months and event",
        }[task.name]
        raise TrainingError(f"The manifest has nothing for the task '{task.name}': it needs {needed}.")
    censored = int(table["target"].isna().sum())
    if censored:
        left_out[f"censored before {horizon:g} months (not trained on, no AUC)"] = censored
    return Studies(task, table, volumes, left_out)


def _single(scans: pd.DataFrame, task: Task):
    """One study a scan: of any of the four sequences, or of the task's own."""
    fitting = scans["sequence"].isin(task.classes or task.slots)
    known = fitting & (scans["age_years"].notna() if task.name == "age" else True)
    left_out = {"of another sequence": int((~fitting).sum()), "without the label": int((fitting & ~known).sum())}
    rows = np.flatnonzero(known)
    return _named(scans, rows, scans["scan"].iloc[rows]), rows[:, None], _some(left_out)


def _several(scans: pd.DataFrame, task: Task):
    """One study a patient and session, with the first scan of each slot."""
    label = "idh" if task.name == "idh" else "survival_months"
    fitting = scans["sequence"].isin(task.slots)
    known = fitting & scans[label].notna()
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
    return _named(scans, np.array(first_rows, int), names), volumes, _some(left_out)


def _named(scans: pd.DataFrame, rows: np.ndarray, names) -> pd.DataFrame:
    columns = ["patient", "dataset", "role", "sequence", "age_years", "idh", "survival_months", "event"]
    table = scans.loc[rows, columns].reset_index(drop=True)
    table.insert(1, "scan", list(names))
    return table.rename(columns={"survival_months": "time"})


def _targets(table: pd.DataFrame, task: Task, age_unit: str, horizon: float) -> np.ndarray:
    if task.name == "sequence":
        return table["sequence"].map({name: number for number, name in enumerate(task.classes)}).to_numpy(float)
    if task.name == "age":
        return table["age_years"].to_numpy(float) * AGE_UNITS[age_unit]
    if task.name == "idh":
        return table["idh"].to_numpy(float)
    return horizon_labels(table["time"].to_numpy(), table["event"].to_numpy(), horizon)


def _some(counts: dict[str, int]) -> dict[str, int]:
    return {reason: count for reason, count in counts.items() if count}
