"""Small pictures for the page: three planes of a scan, plain, with an outline or with a map over it, as JPEG bytes."""

from __future__ import annotations

import base64
import io

import numpy as np
import SimpleITK as sitk

from BrainIACLib.reports.overview_picture import PLANES, plane_of, upright

PANE = 220  # pixels
QUALITY = 82
OUTLINE = (255, 209, 102)
HEAT_THRESHOLD, OPACITY = 0.25, 0.75
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
    volume = upright(scan, scan)
    heats = None if heat is None else upright(heat, scan)
    inside = None if mask is None else upright(mask, scan) >= 0.5
    center = _center(volume, heats, inside)
    head = volume[volume > volume.min()]
    low, high = np.percentile(head, (1, 99.5)) if head.size else (0.0, 1.0)
    panes = []
    for _, cut, horizontal, vertical, _ in PLANES:
        gray = plane_of(volume, cut, horizontal, vertical, center[cut])
        pane = np.repeat(np.clip((gray - low) / max(high - low, 1e-6), 0, 1)[..., None], 3, axis=2) * 255
        if heats is not None:
            pane = _with_heat(pane, plane_of(heats, cut, horizontal, vertical, center[cut]))
        if inside is not None:
            pane = _with_outline(pane, plane_of(inside, cut, horizontal, vertical, center[cut]))
        panes.append(_fitted(pane))
    places = {
        name: f"slice {index + 1} of {size}"
        for (name, cut, *_), index, size in ((plane, center[plane[1]], volume.shape[plane[1]]) for plane in PLANES)
    }
    return _jpeg(np.hstack(panes)), places


def data_uri(jpeg: bytes) -> str:
    """The picture as the source of an ``img``."""
    return f"data:image/jpeg;base64,{base64.b64encode(jpeg).decode('ascii')}"


def _center(volume: np.ndarray, heat: np.ndarray | None, inside: np.ndarray | None) -> tuple[int, ...]:
    if heat is not None and heat.max() > 0:
        hottest = np.argwhere(heat >= np.partition(heat.ravel(), -200)[-200])
        return tuple(np.median(hottest, axis=0).astype(int))
    if inside is not None and inside.any():
        return tuple(np.argwhere(inside).mean(axis=0).astype(int))
    return tuple(n // 2 for n in volume.shape)


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
