"""Rigid motions in LPS millimeters."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk


@dataclass(frozen=True)
class Motion:
    """A rigid motion: point -> matrix @ point + shift."""

    matrix: np.ndarray  # (3, 3)
    shift: np.ndarray  # (3,)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) in mm."""
        return points @ self.matrix.T + self.shift

    def after(self, first: Motion) -> Motion:
        """This motion following another."""
        return Motion(self.matrix @ first.matrix, self(first.shift))

    def inverse(self) -> Motion:
        """The way back."""
        return Motion(self.matrix.T, -self.matrix.T @ self.shift)

    def moved(self, image: sitk.Image) -> sitk.Image:
        """The same voxels at the place the motion takes them to: exact, only the geometry changes."""
        image = sitk.Image(image)
        image.SetOrigin(self(np.array(image.GetOrigin())).tolist())
        image.SetDirection((self.matrix @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
        return image

    @classmethod
    def of(cls, transform: sitk.Euler3DTransform) -> Motion:
        """The motion of SimpleITK's transform."""
        matrix, centre = np.reshape(transform.GetMatrix(), (3, 3)), np.array(transform.GetCenter())
        return cls(matrix, centre + transform.GetTranslation() - matrix @ centre)

    def transform(self, centre: np.ndarray) -> sitk.Euler3DTransform:
        """As SimpleITK's transform, turning about ``centre``."""
        left, _, right = np.linalg.svd(self.matrix)  # rounding errors of products must not look like a shear
        transform = sitk.Euler3DTransform()
        transform.SetCenter(centre.tolist())
        transform.SetMatrix((left @ right).ravel().tolist())
        transform.SetTranslation((self(centre) - centre).tolist())
        return transform


def turn_about(vector: np.ndarray) -> np.ndarray:
    """The rotation about ``vector`` by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def degrees_of(matrix: np.ndarray) -> float:
    """The angle of a rotation matrix."""
    return float(np.degrees(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1))))


def _axis_turns() -> list[np.ndarray]:
    """The 24 rotations that relabel the axes, the identity first."""
    signed = (
        np.diag(signs)[:, list(order)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    )
    return [matrix for matrix in signed if np.linalg.det(matrix) > 0]


AXIS_TURNS = _axis_turns()
