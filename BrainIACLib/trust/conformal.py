"""Prediction sets and intervals from out-of-fold answers, with their coverage measured on folds not used for them.

The head that is installed is fitted on all cases, the scores come from heads fitted on all folds but one: as in the
jackknife-minmax family this is, if anything, too wide (Vovk, Annals of Mathematics and AI 74, 2015, cross-conformal).
Scores of one case a patient are exchangeable with a new patient's; with several, the guarantee is approximate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from BrainIACLib.statistics.conformal import conformal_quantile


@dataclass(frozen=True)
class Conformal:
    """``quantile`` of the scores for ``coverage``; ``measured``: the share covered on folds not used for it."""

    quantile: float
    coverage: float
    measured: float


def conformal_of(scores: np.ndarray, fold: np.ndarray, coverage: float) -> Conformal | None:
    """From the scores of out-of-fold answers (n,); None if there are too few cases for that coverage."""
    quantile = conformal_quantile(scores, coverage)
    covered = []
    for number in np.unique(fold):
        out = fold == number
        covered.append(scores[out] <= conformal_quantile(scores[~out], coverage))
    if not np.isfinite(quantile):
        return None
    return Conformal(quantile, coverage, float(np.concatenate(covered).mean()))
