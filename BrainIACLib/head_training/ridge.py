"""Ridge regression with its penalty chosen by leaving each patient out, exactly and without refitting.

Minimizes ``|y - b - Z w|^2 + penalty |w|^2`` (as ``sklearn.linear_model.Ridge``). In the coordinates of a ``Space`` the
fit is a rescaling, and the residuals of the cases of a patient that the fit has not seen are ``(I - H_gg)^-1 r_g``,
with the block of the hat matrix that belongs to the patient (Cook and Weisberg, Residuals and Influence in Regression,
1982, section 2.2; for single cases it is the PRESS statistic).
"""

from __future__ import annotations

import numpy as np

from BrainIACLib.statistics.principal_space import Space

PENALTIES = np.logspace(-3, 4, 29)  # in units of the mean squared length of a case


def fit_ridge(space: Space, responses: np.ndarray, penalty: float) -> tuple[np.ndarray, np.ndarray]:
    """Weights (r, k) and intercepts (k,) for responses (n, k)."""
    middle = responses.mean(axis=0)
    return (space.coordinates.T @ (responses - middle)) / (space.squares + penalty)[:, None], middle


def left_out_errors(space: Space, responses: np.ndarray, groups: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """Mean squared error of each response when the case's patient is left out: (penalties, k) for responses (n, k)."""
    cases = len(responses)
    left = space.coordinates / np.sqrt(space.squares)  # orthonormal columns
    centred = responses - responses.mean(axis=0)
    along = left.T @ centred
    blocks = [np.flatnonzero(groups == group) for group in _repeated(groups)]
    errors = np.empty((len(penalties), responses.shape[1]))
    for row, penalty in enumerate(penalties):
        shrink = space.squares / (space.squares + penalty)
        residuals = centred - left @ (shrink[:, None] * along)
        leverage = (left**2) @ shrink + 1 / cases
        unseen = residuals / (1 - np.minimum(leverage, 1 - 1e-9))[:, None]
        for block in blocks:
            hat = (left[block] * shrink) @ left[block].T + 1 / cases
            unseen[block] = np.linalg.solve(np.eye(len(block)) - hat, residuals[block])
        errors[row] = (unseen**2).mean(axis=0)
    return errors


def choose_ridge(space: Space, responses: np.ndarray, groups: np.ndarray) -> float:
    """The penalty of ``PENALTIES`` with the least error on patients left out."""
    penalties = PENALTIES * space.typical_square
    return float(penalties[np.argmin(left_out_errors(space, responses, groups, penalties).sum(axis=1))])


def _repeated(groups: np.ndarray) -> np.ndarray:
    names, counts = np.unique(groups, return_counts=True)
    return names[counts > 1]
