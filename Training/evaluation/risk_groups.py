"""High and low risk by the median of the training cases, and how long either lives (PROTOCOL P-41, C-10)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from BrainIACLib.errors import StatisticsError
from BrainIACLib.statistics.survival import KaplanMeier, LogRank, kaplan_meier, log_rank, median_split
from Training.runs.reading import Run


@dataclass(frozen=True)
class RiskGroups:
    """The held-out cases of one run in two groups: arrays (cases,), two curves, and the test between them."""

    time: np.ndarray
    event: np.ndarray
    high: np.ndarray
    thresholds: tuple[float, ...]
    curve_high: KaplanMeier
    curve_low: KaplanMeier
    test: LogRank


def risk_groups(run: Run, split: str) -> RiskGroups:
    """Split the cases of ``split`` at the median risk of the run's training cases, fold by fold where there are folds.

    Raises
    ------
    StatisticsError : the run has no training rows or no such split, or all cases fall into one group.
    """
    rows, training = run.rows(split), run.rows("train")
    if rows.empty:
        raise StatisticsError(f"there are no cases in the {split} split")
    if training.empty:
        raise StatisticsError("the predictions of the training cases, whose median splits the groups, are missing")
    high, thresholds = np.zeros(len(rows), bool), []
    by_fold = "fold" in run.predictions and split == "test"
    for fold in sorted(rows["fold"].unique()) if by_fold else [None]:
        of_fold = (rows["fold"] == fold).to_numpy() if by_fold else np.ones(len(rows), bool)
        own = training[training["fold"] == fold] if by_fold else training
        threshold, high[of_fold] = median_split(own["score"], rows["score"][of_fold])
        thresholds.append(threshold)
    time, event = rows["time"].to_numpy(), rows["event"].to_numpy()
    test = log_rank(time, event, high)
    return RiskGroups(
        time,
        event,
        high,
        tuple(thresholds),
        kaplan_meier(time[high], event[high]),
        kaplan_meier(time[~high], event[~high]),
        test,
    )
