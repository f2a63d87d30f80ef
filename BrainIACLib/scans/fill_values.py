"""Fill values: a number far from all others that stands where there is no image, as -32768 around a cropped scan.

They are set to the lowest value of the image itself, so that nothing downstream takes them for brightness.
"""

from __future__ import annotations

import numpy as np

GAP = 0.1  # of the image's own range lies between it and a fill value below it
GAP_ABOVE = 1.0  # the same for one above: bright vessels and fat reach far
FEWEST = 1e-3  # of all voxels
SAMPLE = 1 << 20  # voxels that tell the image's own range
VARIED, VARIED_SAMPLE = 32, 1 << 17  # different values that an image has, unlike a mask or a map of labels


def set_aside(values: np.ndarray, filled: np.ndarray | None) -> np.ndarray:
    """``values`` with the lowest of the others where ``filled`` is true, as a DICOM header said."""
    if filled is None or not filled.any() or filled.all():
        return values
    return np.where(filled, values[~filled].min(), values)


def fill_values(values: np.ndarray) -> list[float]:
    """The fill values of an image (z, y, x), at most one below and one above it.

    One stands at many places, touches a face of the volume, is not zero (the usual background needs no care), and
    between it and the rest lies nothing.
    """
    found = []
    for sign, gap in ((1, GAP), (-1, GAP_ABOVE)):
        extreme = values.min() if sign > 0 else values.max()
        if extreme == 0 or not _touches_a_face(values, extreme):
            continue
        others = values[values != extreme]
        if others.size == 0 or values.size - others.size < FEWEST * values.size:
            continue
        nearest = others.min() if sign > 0 else others.max()
        sample = others[:: max(1, others.size // SAMPLE)]
        low, high = np.percentile(sample, [0.5, 99.5]).astype(float)
        varied = np.unique(sample[:VARIED_SAMPLE]).size >= VARIED
        if varied and abs(float(nearest) - float(extreme)) > gap * (high - low):
            found.append(float(extreme))
    return found


def _touches_a_face(values: np.ndarray, value: float) -> bool:
    return any((values.take(index, axis) == value).any() for axis in range(3) for index in (0, -1))
