"""The grid of the bundled template at any number of voxels, on which simulated heads are drawn."""

from __future__ import annotations

from Training.synthesis.anatomy import Grid

TEMPLATE_SIZE, TEMPLATE_FIRST_VOXEL = (197, 233, 189), (-98.0, -134.0, -72.0)  # ICBM152 2009a: 1 mm, RAS mm


def template_grid(size: tuple[int, int, int]) -> Grid:
    """The whole ICBM152 template grid cut into ``size`` voxels."""
    spacing = tuple(n / m for n, m in zip(TEMPLATE_SIZE, size, strict=True))
    origin = tuple(first - 0.5 + step / 2 for first, step in zip(TEMPLATE_FIRST_VOXEL, spacing, strict=True))
    return Grid(size, spacing, origin)
