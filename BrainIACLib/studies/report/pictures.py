"""Small pictures for the page: three planes of a scan, plain, with an outline or with a map over it, as JPEG bytes."""

from __future__ import annotations

import base64
import io

import numpy as np
import SimpleITK as sitk

from BrainIACLib.reports.overview_picture import DISPLAY_SPACING_MM, PLANES, plane_of, upright_grid, upright_plane

PANE = 220  # pixels
QUALITY = 82
OUTLINE = (255, 209, 102)
HEAT_THRESHOLD, OPACITY = 0.25, 0.75
AIR, MARGIN = 0.1, 6  # of the gray values shown; pixels of 1 mm
HOTTEST = 200  # voxels through whose middle the planes go
LEGEND = "yellow: strongest, dark red: a quarter of it"


def planes_picture(
    scan: sitk.Image, heat: sitk.Image | None = None, mask: sitk.Image | None = None
) -> tuple[bytes, dict[str, str]]:
    """Axial, coronal and sagittal plane side by side, and where they were cut.

    Parameters
    ----------
    scan : any grid. heat, mask : the same grid; the planes go through the strongest point of ``heat``, else through
        the center of ``mask``, else of the scan. ``heat`` is drawn over the scan, ``mask`` as an outline.

    Returns
    -------
    JPEG bytes; plane -> position in words.
    """
    center = _center(scan, heat, mask)
    low, high = _window(scan)
    panes, places = [], {}
    for name, cut, horizontal, vertical, _ in PLANES:

        def plane(
            image: sitk.Image, cut: int = cut, horizontal: int = horizontal, vertical: int = vertical
        ) -> np.ndarray:
            return plane_of(upright_plane(image, scan, cut, center[cut]), cut, horizontal, vertical, 0)

        gray = np.clip((plane(scan) - low) / max(high - low, 1e-6), 0, 1)
        pane = np.repeat(gray[..., None], 3, axis=2) * 255
        if heat is not None:
            pane = _with_heat(pane, plane(heat))
        if mask is not None:
            pane = _with_outline(pane, plane(mask) >= 0.5)
        panes.append(_fitted(pane[_head(gray)]))
        places[name] = f"slice {center[cut] + 1} of {upright_grid(scan)[1][cut]}"
    return _jpeg(np.hstack(panes)), places


def _head(gray: np.ndarray) -> tuple[slice, slice]:
    """The part of a plane that is not air, with a margin."""
    rows, columns = (np.flatnonzero((gray > AIR).any(axis=axis)) for axis in (1, 0))
    if not len(rows):
        return slice(None), slice(None)
    of_rows, of_columns = (slice(max(0, found[0] - MARGIN), found[-1] + MARGIN + 1) for found in (rows, columns))
    return of_rows, of_columns


def _window(scan: sitk.Image) -> tuple[float, float]:
    """Gray values shown as black and white; every second voxel tells."""
    values = sitk.GetArrayViewFromImage(scan)[::2, ::2, ::2]
    inside = values[values > values.min()]
    low, high = np.percentile(inside, (1, 99.5)) if inside.size else (0.0, 1.0)
    return float(low), float(high)


def data_uri(jpeg: bytes) -> str:
    """The picture as the source of an ``img``."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _center(scan: sitk.Image, heat: sitk.Image | None, mask: sitk.Image | None) -> list[int]:
    """Where to cut: indices (RAS) on the upright grid of ``scan``."""
    index = [(n - 1) / 2 for n in scan.GetSize()]
    values = None if heat is None else sitk.GetArrayViewFromImage(heat)
    inside = None if mask is None else np.argwhere(sitk.GetArrayViewFromImage(mask))
    if values is not None and values.max() > 0:
        limit = np.partition(values.ravel(), -HOTTEST)[-HOTTEST] if values.size >= HOTTEST else 0.0
        hottest = np.argwhere(values >= limit if limit > 0 else values > 0)
        index = np.median(hottest, axis=0)[::-1].tolist()
    elif inside is not None and len(inside):
        index = inside.mean(axis=0)[::-1].tolist()
    corner, size = upright_grid(scan)
    point = np.array(scan.TransformContinuousIndexToPhysicalPoint(index))
    steps = np.clip(((point - corner) / DISPLAY_SPACING_MM).astype(int), 0, np.array(size) - 1)
    return [int(size[0] - 1 - steps[0]), int(size[1] - 1 - steps[1]), int(steps[2])]


def _with_heat(pane: np.ndarray, heat: np.ndarray) -> np.ndarray:
    """Dark red to yellow over gray, clear below ``HEAT_THRESHOLD`` of the maximum (1)."""
    strength = np.clip((heat - HEAT_THRESHOLD) / (1 - HEAT_THRESHOLD), 0, 1)[..., None]
    color = np.concatenate([120 + 135 * strength, 230 * strength**1.2, 40 * strength], axis=2)
    opacity = OPACITY * np.sqrt(strength)
    return pane * (1 - opacity) + color * opacity


def _with_outline(pane: np.ndarray, inside: np.ndarray) -> np.ndarray:
    padded = np.pad(inside, 1)
    eroded = padded[1:-1, 1:-1] & padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    return np.where((inside & ~eroded)[..., None], np.array(OUTLINE), pane)


def _fitted(pane: np.ndarray) -> np.ndarray:
    """Scaled into a square of ``PANE`` pixels on black, its proportions kept."""
    from PIL import Image

    rows, columns = pane.shape[:2]
    scale = PANE / max(rows, columns)
    size = max(1, round(columns * scale)), max(1, round(rows * scale))
    resized = np.asarray(Image.fromarray(pane.clip(0, 255).astype(np.uint8)).resize(size, Image.Resampling.BILINEAR))
    canvas = np.zeros((PANE, PANE, 3), np.uint8)
    top, left = (PANE - size[1]) // 2, (PANE - size[0]) // 2
    canvas[top : top + size[1], left : left + size[0]] = resized
    return canvas


def _jpeg(pixels: np.ndarray) -> bytes:
    from PIL import Image

    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "JPEG", quality=QUALITY, optimize=True)
    return stream.getvalue()
