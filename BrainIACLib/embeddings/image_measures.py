"""The few numbers of a scan that any encoder must beat: the volume of its brain and a histogram of its intensities.

They stand beside the embedding, in the optional columns ``MEASURES`` of the table, so that a head is never judged
without trivial answers of the same scans.
"""

from __future__ import annotations

import typing
from collections.abc import Iterable, Mapping

import numpy as np
import SimpleITK as sitk

if typing.TYPE_CHECKING:
    from BrainIACLib.preprocessing.standardised import Standardised

BRAIN_ML, HISTOGRAM = "brain_ml", "intensity_histogram"
MEASURES = (BRAIN_ML, HISTOGRAM)
BINS, BRIGHTEST = 32, 99.5  # equal steps from 0 to this percentile of the brain; what is brighter counts to the last


def measures_of(standardised: "Standardised") -> dict[str, str]:
    """The texts of ``MEASURES``: ml within the brain mask, and 32 shares of its voxels separated by spaces."""
    mask = sitk.GetArrayViewFromImage(standardised.native_mask) != 0
    volume = float(mask.sum() * np.prod(standardised.native_mask.GetSpacing()) / 1000)
    values = sitk.GetArrayViewFromImage(standardised.image)[sitk.GetArrayViewFromImage(standardised.mask) != 0]
    top = float(np.percentile(values, BRIGHTEST)) if values.size else 0.0
    if top <= 0:
        return {BRAIN_ML: f"{volume:.1f}", HISTOGRAM: ""}
    counts = np.histogram(np.clip(values / top, 0, 1), BINS, (0, 1))[0]
    return {BRAIN_ML: f"{volume:.1f}", HISTOGRAM: " ".join(f"{share:.5f}" for share in counts / values.size)}


def measured_numbers(columns: Mapping[str, Iterable[str]], name: str) -> np.ndarray | None:
    """(n, 1) volumes or (n, 32) shares from a table's columns; None where a row has none, or cannot be read."""
    try:
        rows = [[float(number) for number in text.split()] for text in columns[name]]
    except (KeyError, ValueError):
        return None
    if {len(row) for row in rows} != {BINS if name == HISTOGRAM else 1}:
        return None
    numbers = np.array(rows)
    return numbers if np.isfinite(numbers).all() else None
