"""The voxel grid of a scan: from a stored matrix to an origin, a spacing and orthonormal directions.

ITK images have orthogonal axes. A stored matrix may have others: rounding in DICOM positions, a gantry tilt, a shear
from an affine registration that was written into the header.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import SimpleITK as sitk

from BrainIACLib.scans.scan import Refused

LARGEST_SHIFT_MM = 1.0  # of any voxel, between the stored matrix and the orthogonal grid
MENTIONED_SHIFT_MM = 0.1


@dataclass(frozen=True)
class Grid:
    """``size`` voxels (x, y, z) at ``spacing`` mm along the columns of ``direction`` from ``origin`` (LPS mm)."""

    size: tuple[int, int, int]
    origin: tuple[float, ...]
    spacing: tuple[float, ...]
    direction: tuple[float, ...]
    warnings: tuple[str, ...]

    def put_on(self, image: sitk.Image) -> None:
        """Give ``image`` this geometry."""
        image.SetOrigin(self.origin)
        image.SetSpacing(self.spacing)
        image.SetDirection(self.direction)


@np.errstate(over="ignore", invalid="ignore")  # a grid of such numbers is refused
def fit_grid(matrix: np.ndarray, size: tuple[int, int, int]) -> Grid:
    """The orthogonal grid nearest to ``matrix`` (4x4, voxel index -> LPS mm), with the same center and spacing.

    Raises
    ------
    Refused : a spacing of zero, something that is no number, or axes so far from right angles that a voxel would
        move by more than 1 mm.
    """
    axes = matrix[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    check_spacing(spacing)
    if not np.isfinite(matrix).all():
        raise Refused("has an impossible position in space; correct its header or export it again.")
    u, _, vt = np.linalg.svd(axes / spacing)  # u @ vt is the nearest orthonormal matrix (polar decomposition)
    direction = u @ vt
    centre = (np.array(size) - 1) / 2
    origin = matrix[:3, 3] + axes @ centre - direction * spacing @ centre
    fitted = np.column_stack([direction * spacing, origin])
    shift = largest_distance(matrix, np.vstack([fitted, [0, 0, 0, 1]]), size)
    if shift > LARGEST_SHIFT_MM:
        raise Refused(
            f"has sheared axes (a gantry tilt or an affine registration; up to {shift:.1f} mm from a right-angled "
            "grid); resample it to a right-angled grid first."
        )
    mentioned = shift > MENTIONED_SHIFT_MM
    warning = f"The stored axes are not quite at right angles; voxels were moved by up to {shift:.1f} mm."
    return Grid(size, tuple(origin), tuple(spacing), tuple(direction.ravel()), (warning,) if mentioned else ())


def largest_distance(a: np.ndarray, b: np.ndarray, size: tuple[int, int, int]) -> float:
    """How far apart (mm) two 4x4 matrices put the same voxel of a volume at most: the farthest is a corner."""
    corners = np.array([(*corner, 1) for corner in itertools.product(*[(0, n - 1) for n in size])])
    return float(np.linalg.norm((corners @ (a - b).T)[:, :3], axis=1).max())


class HasGrid(Protocol):
    """An image, or the reader of one that has read its header."""

    def GetDimension(self) -> int: ...
    def GetOrigin(self) -> tuple[float, ...]: ...
    def GetSpacing(self) -> tuple[float, ...]: ...
    def GetDirection(self) -> tuple[float, ...]: ...


def grid_matrix(image: HasGrid) -> np.ndarray:
    """The 4x4 matrix (voxel index -> LPS mm) of the first three axes of ``image``."""
    n = image.GetDimension()
    matrix = np.eye(4)
    matrix[:3, :3] = (np.array(image.GetDirection()).reshape(n, n) * image.GetSpacing())[:3, :3]
    matrix[:3, 3] = image.GetOrigin()[:3]
    return matrix


def corners_of(image: sitk.Image) -> np.ndarray:
    """The centers of the eight corner voxels (LPS mm), shape (8, 3)."""
    indices = itertools.product(*[(0, n - 1) for n in image.GetSize()])
    return np.array([image.TransformIndexToPhysicalPoint(list(index)) for index in indices])


def check_spacing(spacing: np.ndarray) -> None:
    """Every distance between voxels (mm) finite and above zero, or ``Refused``."""
    if not np.isfinite(spacing).all() or (spacing <= 0).any():
        voxel = " x ".join(f"{mm:g}" for mm in spacing)
        raise Refused(f"has the impossible voxel size {voxel} mm; correct its header or export it again.")
