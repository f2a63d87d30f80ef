"""Noise floor, slice profile and geometry of simulated images."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

pytest.importorskip("scipy", reason="needs the 'training' extra")

from Training.synthesis.acquisition import ScannerGrid, acquire, rician_noise, thick_slices
from Training.synthesis.anatomy import Grid, smooth_noise


def test_rician_noise_has_rayleigh_floor_and_keeps_bright_signal():
    generator = torch.Generator().manual_seed(1)
    air = rician_noise(torch.zeros(40, 40, 40), 0.1, generator)
    assert float(air.mean()) == pytest.approx(0.1 * np.sqrt(np.pi / 2), rel=0.01)  # Gudbjartsson and Patz 1995
    tissue = rician_noise(torch.full((40, 40, 40), 10.0), 0.1, generator)
    assert float(tissue.mean()) == pytest.approx(10.0, abs=0.005)
    assert float(tissue.std()) == pytest.approx(0.1, rel=0.02)


def test_thick_slices_keep_the_mean_and_smooth_one_axis_only():
    image = torch.zeros(12, 12, 12)
    image[:, :, ::2] = 1
    assert thick_slices(image, 2, 4).std() < 1e-6  # stripes narrower than the slice vanish
    assert torch.allclose(thick_slices(image, 0, 4), image, atol=1e-6)


def test_smooth_noise_is_seeded_and_passes_through_its_lattice():
    grid = Grid((31, 41, 21), (1.0, 1.0, 1.0), (0.0, 0.0, 0.0))
    first, second = (smooth_noise(grid, 10, torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(first, second)
    lattice = torch.randn((4, 5, 3), generator=torch.Generator().manual_seed(3))
    assert torch.allclose(first[::10, ::10, ::10], lattice, atol=1e-5)


def test_acquired_image_shows_points_where_they_are():
    """A ball in template space is found at its physical position on an oblique, anisotropic grid."""
    grid = Grid((80, 90, 70), (1.0, 1.0, 1.0), (-40.0, -45.0, -35.0))
    centre = (9.0, -12.0, 6.0)  # RAS mm
    x, y, z = grid.axes()
    ball = ((x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < 36).float()
    angle = np.deg2rad(17)
    axes = np.array([[np.cos(angle), 0, np.sin(angle)], [0, 1, 0], [-np.sin(angle), 0, np.cos(angle)]])
    scanner = ScannerGrid((70, 80, 14), (1.0, 0.9, 4.0), tuple(map(tuple, axes)), (2.0, 1.0, 3.0))
    image = acquire(ball, grid, scanner)
    assert image.GetSize() == scanner.size
    assert image.GetSpacing() == pytest.approx(scanner.spacing)
    weights = sitk.GetArrayFromImage(image)
    indices = np.argwhere(weights > 0.01)[:, ::-1]
    points = np.array(
        [image.TransformContinuousIndexToPhysicalPoint(index.astype(float).tolist()) for index in indices]
    )
    found = np.average(points, axis=0, weights=weights[weights > 0.01]) * (-1, -1, 1)  # LPS -> RAS
    assert found == pytest.approx(np.array(centre), abs=0.3)
