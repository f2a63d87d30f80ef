"""The background of a scan: found by where it is and how constant it is, not by being dark.

Around a scan that was masked lies one exact value. It is usually 0, but in a scan that was scaled to mean 0 it lies in
the middle of the tissue's range, where everything that looks for dark surroundings fails.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

CONSTANT = 0.5  # of the voxels on the faces have the value: a masked scan, not the noise of air
ABOVE = 0.1  # of the scan's range lies below the value: it is in the middle, not the first step above black


def commonest_on_faces(values: np.ndarray) -> tuple[float, float]:
    """The commonest value on the six faces of a volume (z, y, x), and the part of their voxels that has it."""
    faces = np.concatenate([values.take(index, axis).ravel() for axis in range(3) for index in (0, -1)])
    found, counts = np.unique(faces, return_counts=True)
    return float(found[counts.argmax()]), float(counts.max() / faces.size)


def darkened_background(values: np.ndarray) -> tuple[np.ndarray, float | None]:
    """``values`` (z, y, x; finite) with a constant background that lies inside their range set to the lowest value.

    Only what is connected to the faces is changed; tissue that happens to have the value stays.

    Returns
    -------
    values : the same array where nothing had to be done.
    background : the value that was replaced, or None.
    """
    value, share = commonest_on_faces(values)
    low = float(values.min())
    high = float(np.percentile(values[::2, ::2, ::2], 99.5))
    if share < CONSTANT or value - low < ABOVE * (high - low):
        return values, None
    pieces = sitk.ConnectedComponent(sitk.GetImageFromArray((values == np.float32(value)).astype(np.uint8)))
    labels = sitk.GetArrayViewFromImage(pieces)
    outside = np.unique(np.concatenate([labels.take(i, axis).ravel() for axis in range(3) for i in (0, -1)]))
    return np.where(np.isin(labels, outside[outside > 0]), np.float32(low), values), value
