"""The same scan, slightly changed: what a robust answer should not notice (P-42, U-14).

Arrays are (X, Y, Z), exactly 0 outside the brain, before resizing and normalization; the outside stays 0. Level 0 (of
contrast: 1) gives back the very array. Ranges and formulas are those of the paper's Figure 4; the bias field is drawn
once from the seed and scaled by the level.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

DEGREE = 3  # of the bias field's polynomial, as MONAI's RandBiasField


def contrast(volume: np.ndarray, gamma: float) -> np.ndarray:
    """((v - min) / range) ** gamma, back in the range; min and range of the whole array.

    Raises
    ------
    ValueError : ``gamma`` is not positive; the paper's methods say -0.5 to 2 (C-02).
    """
    if gamma <= 0:
        raise ValueError(f"gamma must be positive, not {gamma}: a negative one makes the background infinite")
    low, width = float(volume.min()), float(np.ptp(volume))
    if gamma == 1 or width == 0:
        return volume
    changed = ((volume - low) / width) ** np.float32(gamma) * width + low
    return np.where(volume != 0, changed, 0).astype(np.float32)


def gibbs(volume: np.ndarray, alpha: float) -> np.ndarray:
    """Ringing: spatial frequencies beyond (1 - alpha) / sqrt(2) of the longest edge are cut off, as by MONAI."""
    if alpha == 0:
        return volume
    spectrum = np.fft.fftshift(np.fft.fftn(volume))
    axes = np.meshgrid(*(np.arange(size) - (size - 1) / 2 for size in volume.shape), indexing="ij", sparse=True)
    distance = np.sqrt(sum(axis.astype(np.float32) ** 2 for axis in axes))
    spectrum[distance > (1 - alpha) * max(volume.shape) / np.sqrt(2)] = 0
    changed = np.fft.ifftn(np.fft.ifftshift(spectrum)).real
    return np.where(volume != 0, changed, 0).astype(np.float32)


def bias_field(volume: np.ndarray, level: float, seed: int = 0) -> np.ndarray:
    """Times exp(level x a polynomial of degree 3 with coefficients in -1..1), coordinates from -1 to 1."""
    if level == 0:
        return volume
    drawn = np.random.default_rng(seed).uniform(-1, 1, (DEGREE + 1,) * 3)
    order = np.add.outer(np.add.outer(np.arange(4), np.arange(4)), np.arange(4))
    coefficients = np.where(order <= DEGREE, drawn, 0)
    x, y, z = (np.linspace(-1, 1, size) for size in volume.shape)
    field = np.polynomial.legendre.leggrid3d(x, y, z, coefficients)
    return (volume * np.exp(level * field)).astype(np.float32)


# name -> the change, and the levels of one case's stability curve, the unchanged one among them
SWEEPS: dict[str, tuple[Callable[[np.ndarray, float], np.ndarray], tuple[float, ...]]] = {
    "contrast": (contrast, (0.5, 0.7, 1.0, 1.4, 2.0)),
    "gibbs": (gibbs, (0.0, 0.1, 0.2, 0.3, 0.4)),
    "bias field": (bias_field, (0.0, 0.1, 0.2, 0.3, 0.4)),
}
