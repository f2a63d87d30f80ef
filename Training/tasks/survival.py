"""Overall survival of a glioblastoma at a horizon from four sequences (PROTOCOL P-37 to P-41, C-11, U-15)."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pandas as pd

from BrainIACLib.sequences import STUDY_ORDER
from Training.tasks.measure import AUC, BALANCED_ACCURACY_AT_HALF, C_INDEX
from Training.tasks.task import ONE_YEAR, LabelColumn, Settings, TwoClassTask

DAYS_PER_MONTH = 365.25 / 12


class SurvivalTask(TwoClassTask):
    """The probability of death within the horizon. Who is censored before it is not trained on and has no AUC."""

    name = "survival"
    says = "overall survival"
    slots = STUDY_ORDER
    columns = (
        LabelColumn("survival_months", "must not be negative", low=0),
        LabelColumn("event", "must be 0 or 1", values=(0.0, 1.0)),
    )
    needs = "scans with survival_months and event"
    measures = (AUC, C_INDEX, BALANCED_ACCURACY_AT_HALF)
    in_brief = ("T1CE, FLAIR,\nT1, T2", "risk of death")
    may_be_empty = ("truth",)

    def targets(self, cases: pd.DataFrame, settings: Settings) -> np.ndarray:
        """Labels at the horizon."""
        return horizon_labels(cases["survival_months"].to_numpy(), cases["event"].to_numpy(), settings.horizon)

    def left_out_in_words(self, settings: Settings) -> str:
        """The censored."""
        return f"censored before {settings.horizon:g} months (not trained on, no AUC)"

    def facts(self, settings: Settings) -> dict:
        """The horizon."""
        return {"horizon_months": settings.horizon}

    def answers(self, cases: pd.DataFrame, values: np.ndarray, settings: Settings) -> pd.DataFrame:
        """With ``time`` in months and ``event``."""
        times = {"time": cases["survival_months"].to_numpy(float), "event": cases["event"].astype(int).to_numpy()}
        return super().answers(cases, values, settings).assign(**times)

    def answer_columns(self, config: Mapping) -> dict[str, type]:
        """Time and event too."""
        return super().answer_columns(config) | {"time": float, "event": float}

    def allowed(self, config: Mapping) -> dict[str, tuple]:
        """0 and 1."""
        return super().allowed(config) | {"event": (0, 1)}


def horizon_labels(months: np.ndarray, event: np.ndarray, horizon: float = ONE_YEAR) -> np.ndarray:
    """1 died within the horizon, 0 known to be alive beyond it, NaN censored before it (its answer is not known).

    Parameters
    ----------
    months : (n,) time to death or to the last contact.
    event : (n,) 1 died, 0 censored.

    >>> days = np.array([364, 366, 300, 400])
    >>> horizon_labels(days / DAYS_PER_MONTH, np.array([1, 1, 0, 0]))
    array([ 1.,  0., nan,  0.])
    """
    months, event = np.asarray(months, float), np.asarray(event, float)
    labels = np.where(months > horizon, 0.0, np.where(event == 1, 1.0, np.nan))
    at_horizon = (months == horizon) & (event == 0)  # seen alive on the day itself
    return np.where(np.isnan(months) | np.isnan(event), np.nan, np.where(at_horizon, 0.0, labels))


SURVIVAL = SurvivalTask()
