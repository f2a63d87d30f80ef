"""Prediction sets and intervals from out-of-fold answers, with their coverage measured on folds not used for them.

The head that is installed is fitted on all cases, the scores come from heads fitted on all folds but one. This is the
jackknife with folds: its coverage is near what is asked where the fit is stable, but has no guarantee for few cases
(Barber, Candes, Ramdas and Tibshirani, Annals of Statistics 49, 2021, section 1), so it is measured. With several cases
a patient it is rougher still.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from BrainIACLib.statistics.conformal import conformal_quantile


@dataclass(frozen=True)
class Conformal:
    """``quantile`` of the scores for ``coverage``; ``measured``: the share covered on folds not used for it."""

    quantile: float
    coverage: float
    measured: float


def conformal_of(
    scores: np.ndarray,
    fold: np.ndarray,
    coverage: float,
    scores_knowing: Callable[[np.ndarray], np.ndarray] | None = None,
) -> Conformal | None:
    """From the scores of out-of-fold answers (n,).

    Parameters
    ----------
    scores_knowing : the scores (n,) where only the cases of a mask (n,) may be used to calibrate the answers; None if
        nothing was calibrated.

    Returns
    -------
    None if there are too few cases for that coverage, or for measuring it.
    """
    quantile = conformal_quantile(scores, coverage)
    covered = []
    for number in np.unique(fold):
        out = fold == number
        known = scores if scores_knowing is None else scores_knowing(~out)
        without = conformal_quantile(known[~out], coverage)
        if not np.isfinite(without):
            return None
        covered.append(known[out] <= without)
    return Conformal(quantile, coverage, float(np.concatenate(covered).mean()))
