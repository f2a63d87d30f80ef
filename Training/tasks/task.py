"""A task: which scans a case has, what is predicted, the loss, and what is measured (PROTOCOL P-19, P-24 to P-41).

``Task`` says what every task can be asked; the files beside this one answer it. Nothing outside this room compares the
name of a task.
"""

from __future__ import annotations

import typing
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from BrainIACLib.statistics.metrics import auc
from Training.tasks.measure import Measure

if typing.TYPE_CHECKING:
    from torch import Tensor

ANY = "any"
ONE_YEAR = 12.0  # months; 15 is the other endpoint in use (U-15)


@dataclass(frozen=True)
class Settings:
    """What a plan may choose of a task: the unit in which ages are learned, and the horizon of survival in months."""

    age_unit: str = "years"
    horizon: float = ONE_YEAR


USUAL = Settings()


@dataclass(frozen=True)
class LabelColumn:
    """A column of numbers in the manifest; allowed is what lies from ``low`` to ``high``, or ``values`` alone."""

    name: str
    says: str
    low: float = -np.inf
    high: float = np.inf
    values: tuple[float, ...] | None = None


@dataclass(frozen=True)
class TargetScale:
    """The affine scale on which a number is learned: the network's output times ``deviation`` plus ``mean``.

    The minimum of the squared error (eq 2) is the same on every scale; only the start of the optimization differs,
    whose first epochs would otherwise climb from 0 to the mean.
    """

    mean: float = 0.0
    deviation: float = 1.0


class Task(ABC):
    """A question that a head answers about the scans of a case.

    Attributes
    ----------
    name : in file names and tables of runs; lower-case letters and ``_``.
    says : as a sentence calls it.
    slots : the scans of one case (P-18); one slot: each scan is a case of its own.
    columns : of the manifest that this task brings; the first is the label, without which a case is left out.
    needs : what a manifest must have, as a message says it.
    outputs : of the head.
    measures : the primary one first. The best checkpoint has its best value on the validation cases (P-15, C-01).
    in_brief : a case, and the answer, in two or three words for Fig 1C.
    kind : "regression" or "classification", of a linear head that is solved.
    classes : of a softmax, in the order of the outputs.
    two_class, probabilistic : the answer is one probability; or one, or several that sum to 1.
    chance : the primary measure of any constant answer, where all have the same.
    without_image : what figures and tables call the answer that needs no image.
    grouped_by : what ``groups`` tells apart; None where a task has no groups.
    """

    name: str
    says: str
    slots: tuple[str, ...]
    columns: tuple[LabelColumn, ...] = ()
    needs: str
    outputs: int = 1
    measures: tuple[Measure, ...]
    in_brief: tuple[str, str]
    classes: tuple[str, ...] | None = None
    kind = "regression"
    two_class = False
    probabilistic = False
    grouped_by: str | None = None
    chance: float | None = None
    without_image = "chance"

    @property
    def title(self) -> str:
        """As tables and figures call it."""
        return self.says[0].upper() + self.says[1:]

    @property
    def primary(self) -> Measure:
        """The measure of the paper's figures."""
        return self.measures[0]

    # --- cases ------------------------------------------------------------------------------------------------------

    def fitting(self, scans: pd.DataFrame) -> pd.Series:
        """bool (n,): scans that can be part of a case."""
        return scans["sequence"].isin(self.slots)

    def known(self, scans: pd.DataFrame) -> pd.Series:
        """bool (n,): scans whose label is known."""
        return scans[self.columns[0].name].notna()

    @abstractmethod
    def targets(self, cases: pd.DataFrame, settings: Settings) -> np.ndarray:
        """float (n,): class number, number in the unit that is learned, 0 or 1; NaN where the truth is not known."""

    def strata(self, cases: pd.DataFrame) -> dict[str, str]:
        """patient -> stratum of the draw; where a patient has several labels the first counts."""
        first = cases.groupby("patient", sort=True).first()
        return first["target"].fillna(-1).astype(int).astype(str).to_dict()

    def left_out_in_words(self, settings: Settings) -> str:
        """Why a case with a label may have no target."""
        return "without a target"

    # --- learning ---------------------------------------------------------------------------------------------------

    def scale(self, targets: np.ndarray) -> TargetScale:
        """From the training targets."""
        return TargetScale()

    def display_factor(self, settings: Settings) -> float:
        """What one unit of the target is in the unit of the results."""
        return 1.0

    @abstractmethod
    def loss(self, outputs: Tensor, targets: Tensor, scale: TargetScale) -> Tensor:
        """Mean loss of raw ``outputs`` (B, n) for ``targets`` (B,)."""

    @abstractmethod
    def scores(self, outputs: Tensor, scale: TargetScale) -> np.ndarray:
        """What raw outputs (n, outputs) mean, float64: probabilities, or a number in the unit of the targets."""

    @abstractmethod
    def validation_score(self, truth: np.ndarray, predicted: np.ndarray) -> float:
        """The primary measure of ``scores`` for known targets; defined for any cases, also of one class alone."""

    # --- finished runs ----------------------------------------------------------------------------------------------

    def facts(self, settings: Settings) -> dict:
        """What config.json says about the task."""
        return {}

    def problem_of_facts(self, config: Mapping) -> str:
        """What is wrong with the task's part of config.json; "" if nothing is."""
        return ""

    def answers(self, cases: pd.DataFrame, values: np.ndarray, settings: Settings) -> pd.DataFrame:
        """Truth and score columns of predictions.csv for ``cases`` and their ``scores``."""
        display = self.display_factor(settings)
        truth = cases["target"].to_numpy(float) * display
        return pd.DataFrame({"truth": truth, "score": values * display}, index=cases.index)

    def answer_columns(self, config: Mapping) -> dict[str, type]:
        """Truth and score columns of predictions.csv, and their kinds."""
        return {"truth": float, "score": float}

    may_be_empty: tuple[str, ...] = ()

    def allowed(self, config: Mapping) -> dict[str, tuple]:
        """Columns of predictions.csv with few values, and these."""
        return {}

    def subsets(self, cases: pd.DataFrame) -> Iterator[tuple[str, np.ndarray]]:
        """(name, mask of rows) of parts of the held-out cases that are measured by themselves."""
        return iter(())

    def groups(self, cases: pd.DataFrame) -> np.ndarray | None:
        """A label of each case, by which a plane of features is colored; None: there is none."""
        return None

    def outcome(self, cases: pd.DataFrame) -> tuple[np.ndarray, np.ndarray] | None:
        """(0/1 outcome, its probability) of each case, whose calibration is shown; None: the answer is a number."""
        return None

    def constant_answer(self, learned_from: pd.DataFrame, cases: pd.DataFrame) -> np.ndarray | None:
        """The answer without an image, for each case; None where every constant has the same value of the measure."""
        return None


class TwoClassTask(Task):
    """The probability of label 1: binary cross-entropy on logits (eq 3)."""

    kind = "classification"
    two_class = True
    probabilistic = True
    chance = 0.5

    def loss(self, outputs: Tensor, targets: Tensor, scale: TargetScale) -> Tensor:
        """Binary cross-entropy."""
        import torch.nn.functional as F

        return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs.dtype))

    def scores(self, outputs: Tensor, scale: TargetScale) -> np.ndarray:
        """(n,) probabilities of label 1."""
        return outputs.double()[:, 0].sigmoid().numpy()

    def validation_score(self, truth: np.ndarray, predicted: np.ndarray) -> float:
        """The area under the curve; 0.5 where the cases are all of one class."""
        return float(auc(truth, predicted)) if len(np.unique(truth)) == 2 else 0.5

    def answers(self, cases: pd.DataFrame, values: np.ndarray, settings: Settings) -> pd.DataFrame:
        """``truth`` as a whole number, empty where it is not known; ``score`` the probability."""
        truth = pd.array(cases["target"].to_numpy(float), dtype="Int64")
        return pd.DataFrame({"truth": truth, "score": values}, index=cases.index)

    def allowed(self, config: Mapping) -> dict[str, tuple]:
        """0 and 1."""
        return {"truth": (0, 1)}

    def outcome(self, cases: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
        """Label and probability."""
        return cases["truth"].to_numpy(dtype=float), cases["score"].to_numpy()
