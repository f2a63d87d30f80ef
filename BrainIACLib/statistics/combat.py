"""ComBat: differences of location and scale between sites taken out of many numbers at once.

Fitted on some cases, applied to others of the same sites, so that cross-validation can keep them apart. The parametric
empirical Bayes form of Johnson, Li and Rabinovic, Biostatistics 8, 2007; for images Fortin and others, NeuroImage 161,
2017.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from BrainIACLib.errors import StatisticsError

MOST_STEPS, TOLERANCE = 1000, 1e-8


@dataclass(frozen=True)
class Combat:
    """``sites``: (s,) names; ``mean``, ``scale``: (d,) over all; ``shift``, ``spread``: (s, d), shrunken; ``effects``:
    (c, d) of covariates, which are kept.
    """

    sites: np.ndarray
    mean: np.ndarray
    scale: np.ndarray
    shift: np.ndarray
    spread: np.ndarray
    effects: np.ndarray

    def apply(self, values: np.ndarray, sites: ArrayLike, covariates: np.ndarray | None = None) -> np.ndarray:
        """(m, d) harmonized values of cases of known sites.

        Raises
        ------
        StatisticsError : a site that the fit has not seen.
        """
        sites = np.asarray(sites)
        unknown = sorted(set(sites.tolist()) - set(self.sites.tolist()))
        if unknown:
            raise StatisticsError(f"ComBat was not fitted on the site '{unknown[0]}'")
        row = np.searchsorted(self.sites, sites)
        kept = self.mean + (0 if covariates is None else covariates @ self.effects)
        return ((values - kept) / self.scale - self.shift[row]) / np.sqrt(self.spread[row]) * self.scale + kept


def fit_combat(values: np.ndarray, sites: ArrayLike, covariates: np.ndarray | None = None) -> Combat:
    """From (n, d) values of cases of at least two sites, each with at least two cases.

    The shrinkage is iterated to convergence; neuroCombat stops earlier, at a change of 1e-4.

    Parameters
    ----------
    covariates : (n, c) numbers whose effects are kept in the values, such as age; None for none.
    """
    sites = np.asarray(sites)
    names, index, counts = np.unique(sites, return_inverse=True, return_counts=True)
    if len(names) < 2 or counts.min() < 2:
        raise StatisticsError("ComBat needs two sites with at least two cases each")
    extra = np.zeros((len(values), 0)) if covariates is None else covariates
    design = np.hstack([np.eye(len(names))[index], extra])
    coefficients = np.linalg.lstsq(design, values, rcond=None)[0]
    mean = (counts / len(values)) @ coefficients[: len(names)]
    scale = np.sqrt(((values - design @ coefficients) ** 2).mean(axis=0))
    scale = np.where(scale > 1e-12 * (1e-30 + np.abs(values).max()), scale, 1.0)
    effects = coefficients[len(names) :]
    standardised = (values - mean - extra @ effects) / scale
    shift, spread = [], []
    for site in range(len(names)):
        one_shift, one_spread = _shrunken(standardised[index == site])
        shift.append(one_shift)
        spread.append(one_spread)
    return Combat(names, mean, scale, np.array(shift), np.array(spread), effects)


def _shrunken(of_site: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Location and scale of one site, each number's drawn towards the others': (d,), (d,)."""
    count, location, variance = len(of_site), of_site.mean(axis=0), of_site.var(axis=0, ddof=1)
    middle, width = location.mean(), location.var(ddof=1) if len(location) > 1 else 0.0
    mean_variance, of_variances = variance.mean(), variance.var(ddof=1) if len(variance) > 1 else 0.0
    if width <= 0 or of_variances <= 0:  # nothing to borrow from
        return location, np.where(variance > 0, variance, 1.0)
    shape = (2 * of_variances + mean_variance**2) / of_variances
    rate = (mean_variance * of_variances + mean_variance**3) / of_variances
    shift, spread = location, variance
    for _ in range(MOST_STEPS):
        new_shift = (width * count * location + spread * middle) / (width * count + spread)
        squares = ((of_site - new_shift) ** 2).sum(axis=0)
        new_spread = (0.5 * squares + rate) / (count / 2 + shape - 1)
        with np.errstate(invalid="ignore", divide="ignore"):
            change = max(
                np.nanmax(np.abs(new_shift - shift) / np.abs(shift)), np.nanmax(np.abs(new_spread - spread) / spread)
            )
        shift, spread = new_shift, new_spread
        if change < TOLERANCE:
            break
    return shift, spread
