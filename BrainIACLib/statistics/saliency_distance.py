"""ComDIST: how far from a tumor a network looks (PROTOCOL P-36; the paper's reference 32)."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from BrainIACLib.errors import StatisticsError


def centre_of_mass_distance(
    saliency: np.ndarray, mask: np.ndarray, spacing: ArrayLike, threshold: float = 0.0
) -> float:
    """Distance in mm between the center of mass of ``saliency`` and that of ``mask``.

    Both are (X, Y, Z) on one grid, with ``spacing`` (3,) in mm along its axes, which are at right angles in any scan,
    oblique or not. Saliency below ``threshold`` times its maximum is left out; the paper states neither threshold nor
    unit, so write the threshold beside the number.

    Raises
    ------
    StatisticsError : the mask is empty, the saliency is nowhere positive or not finite, or the grids differ.

    >>> saliency, mask = np.zeros((9, 9, 9)), np.zeros((9, 9, 9))
    >>> saliency[2, 4, 4], mask[5, 8, 4] = 1.0, 1
    >>> centre_of_mass_distance(saliency, mask, (1.0, 1.0, 3.0))
    5.0
    """
    saliency, mask = np.asarray(saliency, dtype=float), np.asarray(mask) != 0
    if saliency.shape != mask.shape or saliency.ndim != 3:
        raise StatisticsError(f"saliency {saliency.shape} and mask {mask.shape} must be volumes on one grid")
    if not np.isfinite(saliency).all() or saliency.min() < 0 or saliency.max() <= 0:
        raise StatisticsError("saliency must be finite, nowhere negative and somewhere positive")
    if not mask.any():
        raise StatisticsError("the mask is empty: there is nothing to measure a distance to")
    kept = np.where(saliency >= threshold * saliency.max(), saliency, 0.0)
    offset = (_centre(kept) - _centre(mask.astype(float))) * np.asarray(spacing, dtype=float)
    return float(np.linalg.norm(offset))


def _centre(weights: np.ndarray) -> np.ndarray:
    """Weighted mean index along each axis, (3,)."""
    total = weights.sum()
    sums = (weights.sum(axis=tuple(other for other in range(3) if other != axis)) for axis in range(3))
    return np.array([along @ np.arange(len(along)) / total for along in sums])
