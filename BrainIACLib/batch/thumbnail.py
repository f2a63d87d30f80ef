"""A picture of a prepared brain for the quality page: three planes with the template's outline, some 4 kB."""

from __future__ import annotations

import io

import numpy as np
import SimpleITK as sitk

from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.preprocessing.template import icbm152

SIDE = 96  # pixels of each plane
QUALITY = 45  # of WebP


def thumbnail(standardised: Standardised) -> bytes:
    """WebP, three planes side by side: the native scan moved to the template (head and all), the mask's edge in red,
    the template's in green. A bad registration or mask is seen at once."""
    from PIL import Image

    template, image = icbm152().image, standardised.image
    head = sitk.Resample(
        sitk.Cast(standardised.native, sitk.sitkFloat32), image, standardised.transform, sitk.sitkLinear, 0.0
    )
    volume = sitk.GetArrayViewFromImage(head)  # (z, y, x)
    mask = sitk.GetArrayViewFromImage(standardised.mask) > 0
    goal = sitk.GetArrayFromImage(sitk.Resample(template, image, sitk.Transform(), sitk.sitkLinear, 0.0)) > 0
    inside = volume[mask] if mask.any() else volume.ravel()
    low, high = np.percentile(inside, (1, 99.5))
    middle = [size // 2 for size in volume.shape]
    planes = []
    for axis in range(3):
        grey, own, other = (np.take(one, middle[axis], axis=axis)[::-1] for one in (volume, mask, goal))
        tone = (np.clip((grey - low) / max(high - low, 1e-6) * 0.85, 0, 1) * 255).astype(np.uint8)
        small = np.array(Image.fromarray(_square(tone)).resize((SIDE, SIDE)))
        color = np.repeat(small[..., None], 3, axis=2)
        for shape, ink in ((other, (60, 200, 90)), (own, (230, 60, 60))):  # drawn last, so that edges stay sharp
            filled = Image.fromarray(_square(shape.astype(np.uint8) * 255)).resize((SIDE, SIDE))
            color[_edge(np.array(filled) > 127)] = ink
        planes.append(Image.fromarray(color))
    picture = Image.new("RGB", (3 * SIDE, SIDE))
    for number, plane in enumerate(planes):
        picture.paste(plane, (number * SIDE, 0))
    content = io.BytesIO()
    picture.save(content, "WEBP", quality=QUALITY)
    return content.getvalue()


def _edge(mask: np.ndarray) -> np.ndarray:
    inner = mask.copy()
    for axis in (0, 1):
        for step in (1, -1):
            inner &= np.roll(mask, step, axis=axis)
    return mask & ~inner


def _square(plane: np.ndarray) -> np.ndarray:
    side = max(plane.shape)
    square = np.zeros((side, side), np.uint8)
    top, left = ((side - length) // 2 for length in plane.shape)
    square[top : top + plane.shape[0], left : left + plane.shape[1]] = plane
    return square
