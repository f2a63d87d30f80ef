"""One picture to judge at a glance: three planes of scan, contours and heat map (the paper's Figure 6, P-43)."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.foreign_text import without_mathematics

DISPLAY_SPACING_MM = 1.0
CONTOUR_LEVELS = (0.5, 0.75)  # fractions of the map's maximum in the field of view
HEAD_THRESHOLD = 0.1  # fraction of the display window above which a voxel belongs to the head
HEAD_MARGIN = 4  # voxels around the head
HEAT_THRESHOLD = 0.25  # fraction of the maximum below which the heat map is transparent

# (name, axis cut, horizontal axis, vertical axis, labels left-right-top-bottom), radiological convention
PLANES = (
    ("axial", 2, 0, 1, "RLAP"),
    ("coronal", 1, 0, 2, "RLSI"),
    ("sagittal", 0, 1, 2, "APSI"),
)


DOUBTFUL = "#ffb703"
WIDTH, HEIGHT = 9.6, 10.4  # inches, without the lines of warnings
LINE, LETTERS, MOST_LINES = 0.17, 112, 8  # height of a line of warnings in inches, its letters; more are only counted


def save_overview(
    scan: sitk.Image,
    heat: sitk.Image,
    title: str,
    subtitle: str,
    path: Path,
    warnings: Sequence[str] = (),
    method: str = "",
) -> None:
    """Write a PNG with the planes through the center of the hottest voxels.

    Parameters
    ----------
    scan, heat : on the same native grid; both are resampled to an upright isotropic grid, for display only.
    title, subtitle : the answer in words, and where it comes from.
    warnings : what makes the answer doubtful; they stand below it, since a picture travels alone.
    method : how the map was made, such as "SmoothGrad".
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg  # no pyplot: no global state, no display needed
    from matplotlib.figure import Figure

    volume, heat_volume = (upright(image, scan) for image in (scan, heat))
    low, high = np.percentile(volume[volume > volume.min()], (1, 99.5))
    head = _bounding_box(volume > low + HEAD_THRESHOLD * (high - low))
    volume, heat_volume = volume[head], heat_volume[head]
    peak = float(heat_volume.max())
    centre = _centre_of_hottest(heat_volume)

    lines = warning_lines(warnings)
    height = HEIGHT + LINE * len(lines)

    def up(fraction: float) -> float:
        """A place in the picture without warnings, as a fraction from the bottom of this one."""
        return fraction * HEIGHT / height

    def down(fraction: float) -> float:
        """The same, for what stands above the warnings."""
        return 1 - (1 - fraction) * HEIGHT / height

    figure = Figure(figsize=(WIDTH, height), facecolor="black", dpi=110)
    FigureCanvasAgg(figure)
    edges = {"top": up(0.89), "bottom": up(0.075), "left": 0.01, "right": 0.99}
    axes = figure.subplots(3, 3, gridspec_kw={"hspace": 0.02, "wspace": 0.02, **edges})
    for row, (name, cut, horizontal, vertical, labels) in enumerate(PLANES):
        grey = plane_of(volume, cut, horizontal, vertical, centre[cut])
        hot = plane_of(heat_volume, cut, horizontal, vertical, centre[cut])
        for column, axis in enumerate(axes[row]):
            axis.imshow(grey, cmap="gray", vmin=low, vmax=high, interpolation="bilinear")
            if column == 1 and hot.max() > CONTOUR_LEVELS[0] * peak:
                axis.contour(
                    hot,
                    levels=[level * peak for level in CONTOUR_LEVELS],
                    colors=("#ffd166", "#ef476f"),
                    linewidths=1.2,
                )
            if column == 2:
                opacity = np.clip((hot / peak - HEAT_THRESHOLD) / (1 - HEAT_THRESHOLD), 0, 1) ** 0.5 * 0.85
                mappable = axis.imshow(
                    hot / peak, cmap="inferno", vmin=0, vmax=1, alpha=opacity, interpolation="bilinear"
                )
            axis.set_axis_off()
            if column == 0:
                for text, x, y in zip(labels, (0.03, 0.97, 0.5, 0.5), (0.5, 0.5, 0.96, 0.04), strict=True):
                    axis.text(
                        x, y, text, color="#9fb3c8", transform=axis.transAxes, ha="center", va="center", fontsize=9
                    )
                axis.text(0.03, 0.05, name, color="#9fb3c8", transform=axis.transAxes, fontsize=8)
            if row == 0:
                axis.set_title(("scan", "contours at 50 and 75 %", "heat map")[column], color="#d9e2ec", fontsize=10)
    fitting = min(15, 15 * 68 / max(len(title), 1))  # about 68 characters of size 15 fill the line
    shade = DOUBTFUL if lines else "white"  # a bold white value would look certain
    figure.text(
        0.02, down(0.965), without_mathematics(title), color=shade, fontsize=fitting, va="center", weight="bold"
    )
    figure.text(0.02, down(0.935), without_mathematics(subtitle), color="#9fb3c8", fontsize=9.5, va="center")
    for number, line in enumerate(lines):
        place = down(0.915) - (number + 0.5) * LINE / height
        figure.text(0.02, place, without_mathematics(line), color=DOUBTFUL, fontsize=8.5, va="center")
    made = f"Saliency: {method}. " if method else ""
    notice = f"{made}Research use only. Where the model looked is not why it is right."
    figure.text(0.02, up(0.03), without_mathematics(notice), color="#9fb3c8", fontsize=9 if not made else 7.5)
    legend_axes = figure.add_axes((0.72, up(0.042), 0.25, up(0.012)))
    legend = figure.colorbar(mappable, cax=legend_axes, orientation="horizontal")
    legend.set_label("saliency, fraction of its maximum", color="#9fb3c8", fontsize=8)
    legend.ax.tick_params(colors="#9fb3c8", labelsize=7)
    figure.savefig(path, facecolor=figure.get_facecolor(), format="png")


def warning_lines(warnings: Sequence[str]) -> list[str]:
    """At most ``MOST_LINES``, each short enough for the picture; what does not fit is counted in the last one."""
    lines: list[str] = []
    for number, warning in enumerate(warnings):
        wrapped = textwrap.wrap(f"! {warning}", LETTERS, subsequent_indent="   ", max_lines=3, placeholder=" ...")
        left = len(warnings) - number
        if len(lines) + len(wrapped) > MOST_LINES - (left > 1):
            lines.append(f"! {left} more warning{'s' * (left > 1)} in the result's document")
            break
        lines += wrapped
    return lines


def upright(image: sitk.Image, reference: sitk.Image) -> np.ndarray:
    """(X, Y, Z) in RAS order on an isotropic axis-aligned grid around ``reference``; outside the scan: its minimum."""
    corner, size = upright_grid(reference)
    return _resampled(image, corner, size)


def upright_grid(reference: sitk.Image) -> tuple[np.ndarray, list[int]]:
    """Lowest corner (LPS mm) and size of the axis-aligned grid of ``DISPLAY_SPACING_MM`` around ``reference``."""
    size = np.array(reference.GetSize())
    corners = np.array(
        [
            reference.TransformContinuousIndexToPhysicalPoint((np.array(index) * size - 0.5).tolist())
            for index in np.ndindex(2, 2, 2)
        ]
    )
    low, high = corners.min(0), corners.max(0)
    return low, np.maximum(np.ceil((high - low) / DISPLAY_SPACING_MM), 1).astype(int).tolist()


def upright_plane(image: sitk.Image, reference: sitk.Image, cut: int, index: int) -> np.ndarray:
    """``upright`` at one ``index`` (RAS) of the axis ``cut`` alone, which stays as an axis of length 1; much faster."""
    corner, size = upright_grid(reference)
    from_low = index if cut == 2 else size[cut] - 1 - index  # LPS grows to the other side
    corner = corner + np.eye(3)[cut] * from_low * DISPLAY_SPACING_MM
    return _resampled(image, corner, [1 if axis == cut else n for axis, n in enumerate(size)])


def _resampled(image: sitk.Image, corner: np.ndarray, size: list[int]) -> np.ndarray:
    minimum = float(sitk.GetArrayViewFromImage(image).min())
    moved = sitk.Resample(
        sitk.Cast(image, sitk.sitkFloat32), size, sitk.Transform(), sitk.sitkLinear,
        (corner + DISPLAY_SPACING_MM / 2).tolist(), [DISPLAY_SPACING_MM] * 3, np.eye(3).ravel().tolist(), minimum,
    )  # fmt: skip
    return sitk.GetArrayFromImage(moved).transpose(2, 1, 0)[::-1, ::-1]  # LPS -> RAS


def _bounding_box(inside: np.ndarray) -> tuple[slice, ...]:
    occupied = [np.flatnonzero(inside.any(tuple(other for other in range(3) if other != axis))) for axis in range(3)]
    return tuple(slice(max(0, found[0] - HEAD_MARGIN), found[-1] + HEAD_MARGIN + 1) for found in occupied)


def _centre_of_hottest(heat: np.ndarray) -> tuple[int, int, int]:
    hottest = np.argwhere(heat >= np.partition(heat.ravel(), -200)[-200])
    return tuple(np.median(hottest, axis=0).astype(int))


def plane_of(volume: np.ndarray, cut: int, horizontal: int, vertical: int, index: int) -> np.ndarray:
    """A plane as rows from top to bottom: superior or anterior up; right on the left, anterior on the left."""
    plane = np.take(volume, index, axis=cut)
    if horizontal > vertical:
        plane = plane.T
    return plane[::-1, ::-1].T
