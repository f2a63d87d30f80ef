"""What the anatomy network would say of persons of whom only DLMUSE's volumes are known.

A table of volumes has no scan, so no embedding; but some persons have both. From them a ridge regression learns each
number of the embedding from the logarithms of DLMUSE's volumes. What it leaves unexplained is kept as a covariance: a
head that is fitted on translated persons must not trust a number more than it deserves (errors in variables, Fuller
1987), so this covariance is added to their part of the normal equations. No age enters here.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from Training.starter.anatomy.reference import COLUMNS, FLUID, TablePerson

PENALTIES = np.logspace(-1, 4, 16)
FEWEST = 30


@dataclass(frozen=True)
class Translation:
    """embedding = (volumes - middle) / scale @ weights + bias, with errors of covariance ``noise`` (d, d)."""

    middle: np.ndarray
    scale: np.ndarray
    weights: np.ndarray
    bias: np.ndarray
    noise: np.ndarray
    explained: np.ndarray
    """(d,) share of the variance of each number that is explained in persons left out."""

    def embeddings(self, persons: list[TablePerson]) -> np.ndarray:
        """(n, d)."""
        return (logarithms(persons) - self.middle) / self.scale @ self.weights + self.bias


def logarithms(persons: list[TablePerson]) -> np.ndarray:
    """(n, p): of the intracranial volume in litres, and of each volume as a share of it."""
    names = [name for name in (*COLUMNS, FLUID) if name != "intracranial"]
    return np.log(
        [
            [
                person.ml["intracranial"] / 1000,
                *((person.ml[name] + 0.05) / person.ml["intracranial"] for name in names),
            ]
            for person in persons
        ]
    )


def fit_translation(persons: list[TablePerson], embeddings: np.ndarray) -> Translation:
    """From persons with both; each number's penalty errs least on persons left out one by one.

    Raises
    ------
    ValueError : fewer than ``FEWEST`` persons.
    """
    if len(persons) < FEWEST:
        raise ValueError(f"{len(persons)} persons have both a scan and a row in the table; {FEWEST} are needed.")
    values = logarithms(persons)
    middle, scale = values.mean(0), values.std(0) + 1e-9
    bias, centred = embeddings.mean(0), embeddings - embeddings.mean(0)
    left, singular, right = np.linalg.svd((values - middle) / scale, full_matrices=False)
    along = left.T @ centred
    best = np.full(embeddings.shape[1], np.inf)
    residuals, weights = np.empty_like(embeddings), np.empty((values.shape[1], embeddings.shape[1]))
    for penalty in PENALTIES:
        shrunk = singular**2 / (singular**2 + penalty)
        said = left @ (shrunk[:, None] * along)
        leverage = (left**2 * shrunk).sum(1) + 1 / len(values)
        errors = (centred - said) / (1 - leverage)[:, None]  # as if each had been left out
        coefficients = right.T @ ((singular / (singular**2 + penalty))[:, None] * along)
        error = (errors**2).mean(0)
        better = error < best
        best[better] = error[better]
        residuals[:, better], weights[:, better] = errors[:, better], coefficients[:, better]
    noise = residuals.T @ residuals / len(residuals)
    return Translation(middle, scale, weights, bias, noise, 1 - best / np.maximum(embeddings.var(0), 1e-12))
