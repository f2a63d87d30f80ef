"""Brain age from a T1 scan (PROTOCOL P-29 to P-33)."""

from __future__ import annotations

import itertools
import typing

import numpy as np
import pandas as pd

from BrainIACLib.sequences import T1
from BrainIACLib.statistics.metrics import mae
from Training.tasks.measure import mean_absolute_error
from Training.tasks.task import LabelColumn, Settings, TargetScale, Task

if typing.TYPE_CHECKING:
    from torch import Tensor

AGE_UNITS = {"years": 1.0, "months": 12.0}  # what a year is in the unit (U-16)
AGE_BINS = (0, 10, 20, 30, 40)
"""Limits of the paper's age bins in years (Fig 5B, D)."""
_STRATA = 5


class AgeTask(Task):
    """A number in years, learned in the unit of the plan: squared error (eq 2, C-01)."""

    name = "age"
    says = "brain age"
    slots = (T1.name,)
    columns = (LabelColumn("age_years", "must lie between 0 and 120 years", 0, 120),)
    needs = "T1 scans with age_years"
    measures = (mean_absolute_error("years"),)
    in_brief = ("one T1", "years")
    grouped_by = "years"
    without_image = "the median age"

    def targets(self, cases: pd.DataFrame, settings: Settings) -> np.ndarray:
        """Ages in the unit of the plan."""
        return cases["age_years"].to_numpy(float) * AGE_UNITS[settings.age_unit]

    def strata(self, cases: pd.DataFrame) -> dict[str, str]:
        """Fifths of the age."""
        ranks = cases.groupby("patient", sort=True).first()["target"].rank(method="first")
        return np.ceil(ranks / len(ranks) * _STRATA).astype(int).astype(str).to_dict()

    def scale(self, targets: np.ndarray) -> TargetScale:
        """Mean and deviation of the training ages."""
        return TargetScale(float(np.mean(targets)), float(np.std(targets)) or 1.0)

    def display_factor(self, settings: Settings) -> float:
        """Years (U-16)."""
        return 1 / AGE_UNITS[settings.age_unit]

    def loss(self, outputs: Tensor, targets: Tensor, scale: TargetScale) -> Tensor:
        """Squared error on the scale."""
        import torch.nn.functional as F

        return F.mse_loss(outputs[:, 0], ((targets - scale.mean) / scale.deviation).to(outputs.dtype))

    def scores(self, outputs: Tensor, scale: TargetScale) -> np.ndarray:
        """(n,) ages in the unit of the targets."""
        return (outputs.double()[:, 0] * scale.deviation + scale.mean).numpy()

    def validation_score(self, truth: np.ndarray, predicted: np.ndarray) -> float:
        """The mean absolute error in the unit of the targets."""
        return float(mae(truth, predicted))

    def facts(self, settings: Settings) -> dict:
        """In which unit the age was learned, and in which it is shown."""
        return {"unit": settings.age_unit, "display_unit": "years", "conversion": self.display_factor(settings)}

    def groups(self, cases: pd.DataFrame) -> np.ndarray:
        """The paper's age bins."""
        return age_bins(cases["truth"].to_numpy())

    def constant_answer(self, learned_from: pd.DataFrame, cases: pd.DataFrame) -> np.ndarray:
        """The median age of those that could be learned from: of all constants it has the smallest mean absolute
        error there."""
        return np.full(len(cases), learned_from["truth"].median())


def age_bins(years: np.ndarray) -> np.ndarray:
    """The bin of each age, (cases,), as text.

    >>> age_bins(np.array([9.9, 10.0, 55.0])).tolist()
    ['0-10', '10-20', '40+']
    """
    names = [f"{low}-{high}" for low, high in itertools.pairwise(AGE_BINS)] + [f"{AGE_BINS[-1]}+"]
    return np.array(names)[np.digitize(years, AGE_BINS[1:])]


AGE = AgeTask()
