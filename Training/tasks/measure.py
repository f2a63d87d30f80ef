"""A measure of a task: a metric, its interval, and the test that compares two models by it (PROTOCOL P-21, C-12)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd

from BrainIACLib.statistics.bootstrap import Difference, bootstrap, bootstrap_difference, paired_permutation_p
from BrainIACLib.statistics.delong import auc_with_interval, compare_aucs
from BrainIACLib.statistics.interval import Interval
from BrainIACLib.statistics.metrics import auc, balanced_accuracy, balanced_accuracy_shares, c_index, mae


def most_probable_class(rows: pd.DataFrame) -> np.ndarray:
    """The class with the highest of the scores ``score_<class>``, (rows,)."""
    table = rows.filter(regex="^score_")
    classes = table.columns.str.removeprefix("score_").to_numpy(dtype=object)
    return classes[table.to_numpy().argmax(axis=1)]


def score(rows: pd.DataFrame) -> np.ndarray:
    """The single score column."""
    return rows["score"].to_numpy()


def positive(rows: pd.DataFrame) -> np.ndarray:
    """Whether the probability is a half or more."""
    return (rows["score"].to_numpy() >= 0.5).astype(float)


def absolute_error_shares(truth: np.ndarray, prediction: np.ndarray) -> np.ndarray:
    """What each case adds to the mean absolute error."""
    return np.abs(truth - prediction) / len(truth)


@dataclass(frozen=True)
class Measure:
    """A metric of one task: which columns of predictions.csv are the truth, which the answer, and how it prints.

    ``shares`` gives what each case adds to the metric, where it is such a sum: then models are compared by permutation.
    """

    name: str
    title: str
    metric: Callable[..., float | np.ndarray]
    truth: tuple[str, ...]
    answer: Callable[[pd.DataFrame], np.ndarray]
    shares: Callable[[np.ndarray, np.ndarray], np.ndarray] | None = None
    factor: float = 1.0
    digits: int = 2
    lower_is_better: bool = False

    def known(self, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows whose truth is known (survival: not those censored before the horizon, C-11)."""
        return rows.dropna(subset=list(self.truth))

    def value(self, rows: pd.DataFrame) -> float:
        """The metric of all rows together; StatisticsError where it is not defined."""
        known = self.known(rows).sort_values("scan", kind="stable")  # as the tables do: order decides the last bit
        return float(self.metric(*(known[name].to_numpy() for name in self.truth), self.answer(known)))

    def estimate(self, columns: list[np.ndarray], patients: np.ndarray, resamples: int) -> tuple[Interval, str]:
        """The metric, averaged over the answers (seeds) after the truth columns, with its interval and method."""
        if self.metric is auc and len(np.unique(patients)) == len(patients):
            return auc_with_interval(columns[0], np.stack(columns[1:])), "DeLong"
        return bootstrap(self._mean, *columns, groups=patients, resamples=resamples), "bootstrap by patient"

    def compare(
        self, a: list[np.ndarray], b: list[np.ndarray], patients: np.ndarray, resamples: int
    ) -> tuple[Difference, str]:
        """The difference a - b with its paired bootstrap interval, and the p value of the named test."""
        found = bootstrap_difference(self._mean, a, b, groups=patients, resamples=resamples)
        if self.metric is auc and len(np.unique(patients)) == len(patients):
            return Difference(found.interval, compare_aucs(a[0], np.stack(a[1:]), np.stack(b[1:]))), "DeLong"
        if self.shares is not None:
            shares = (np.mean([self.shares(one[0], answer) for answer in one[1:]], axis=0) for one in (a, b))
            return Difference(found.interval, paired_permutation_p(*shares, patients)), "paired permutation"
        return found, "paired bootstrap"

    def _mean(self, *columns: np.ndarray, weights: np.ndarray | None = None) -> float | np.ndarray:
        truth, answers = columns[: len(self.truth)], columns[len(self.truth) :]
        return np.mean([self.metric(*truth, answer, weights=weights) for answer in answers], axis=0)


BALANCED_ACCURACY_OF_CLASSES = Measure(
    "balanced_accuracy",
    "balanced accuracy (%)",
    balanced_accuracy,
    ("truth",),
    most_probable_class,
    balanced_accuracy_shares,
    factor=100,
    digits=1,
)
BALANCED_ACCURACY_AT_HALF = Measure(
    "balanced_accuracy",
    "balanced accuracy (%) at probability 0.5",
    balanced_accuracy,
    ("truth",),
    positive,
    balanced_accuracy_shares,
    factor=100,
    digits=1,
)
AUC = Measure("auc", "AUC", auc, ("truth",), score)
C_INDEX = Measure("c_index", "concordance index", c_index, ("time", "event"), score)


def mean_absolute_error(unit: str) -> Measure:
    """The mean absolute error of a number in ``unit``."""
    return Measure("mae", f"MAE ({unit})", mae, ("truth",), score, absolute_error_shares, lower_is_better=True)
