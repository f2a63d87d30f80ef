"""The four downstream tasks: which scans a study has, what is predicted, and the loss (PROTOCOL P-19, P-24 to P-41)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.sequences import STANDARD_NAMES, STUDY_ORDER

AGE_UNITS = {"years": 1.0, "months": 12.0}  # what a year is in the unit (U-16)


@dataclass(frozen=True)
class Task:
    """``slots`` name the scans of one study (P-18); "any" is a single scan of any of the four sequences.

    The best checkpoint has the highest, or for an error the lowest, ``metric`` on the validation cases (P-15, C-01).
    """

    name: str
    slots: tuple[str, ...]
    outputs: int
    metric: str
    higher_is_better: bool = True

    @property
    def classes(self) -> tuple[str, ...] | None:
        """The labels of the outputs of the softmax, in their order."""
        return STANDARD_NAMES if self.name == "sequence" else None


TASKS = {
    task.name: task
    for task in (
        Task("sequence", ("any",), len(STANDARD_NAMES), "balanced_accuracy"),
        Task("age", ("T1",), 1, "mae", higher_is_better=False),
        Task("idh", STUDY_ORDER[:2], 1, "auc"),
        Task("survival", STUDY_ORDER, 1, "auc"),
    )
}


def display_factor(task: Task, age_unit: str) -> float:
    """What one unit of the target is in the unit of the results: years for an age (U-16), the same for other tasks."""
    return 1 / AGE_UNITS[age_unit] if task.name == "age" else 1.0


@dataclass(frozen=True)
class TargetScale:
    """The affine scale on which an age is learnt: the network's output times ``deviation`` plus ``mean`` is the age.

    The minimum of the squared error (eq 2) is the same on every scale; only the start of the optimisation differs,
    whose first epochs would otherwise climb from 0 to the mean age. Other tasks have the scale 0, 1.
    """

    mean: float = 0.0
    deviation: float = 1.0

    @classmethod
    def of(cls, task: Task, targets: np.ndarray) -> TargetScale:
        """From the training targets."""
        if task.name != "age":
            return cls()
        return cls(float(np.mean(targets)), float(np.std(targets)) or 1.0)


def loss(task: Task, outputs: Tensor, targets: Tensor, scale: TargetScale) -> Tensor:
    """Mean loss of raw ``outputs`` (B, n): cross-entropy (eq 1), squared error (eq 2, C-01), or binary cross-entropy on
    logits (eq 3). ``targets`` (B,) are class numbers, ages, or 0 and 1 (D-01: integers for the cross-entropy)."""
    if task.name == "sequence":
        return F.cross_entropy(outputs, targets.long())
    if task.name == "age":
        return F.mse_loss(outputs[:, 0], ((targets - scale.mean) / scale.deviation).to(outputs.dtype))
    return F.binary_cross_entropy_with_logits(outputs[:, 0], targets.to(outputs.dtype))


def scores(task: Task, outputs: Tensor, scale: TargetScale) -> np.ndarray:
    """What the outputs mean, float64: class probabilities (n, 4), ages (n,) in the unit of the targets, or the
    probability of label 1 (n,)."""
    outputs = outputs.double()
    if task.name == "sequence":
        return outputs.softmax(1).numpy()
    if task.name == "age":
        return (outputs[:, 0] * scale.deviation + scale.mean).numpy()
    return torch.sigmoid(outputs[:, 0]).numpy()
