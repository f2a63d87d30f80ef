"""The small pictures: fast planes against the slow upright volume, and where they are cut."""

from __future__ import annotations

import io

import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

from BrainIACLib.reports.overview_picture import PLANES, upright, upright_plane
from BrainIACLib.studies.report.pictures import PANE, planes_picture


def oblique() -> sitk.Image:
    """A smooth oblique volume."""
    z, y, x = np.meshgrid(*[np.linspace(-1, 1, n) for n in (12, 30, 26)], indexing="ij")
    image = sitk.GetImageFromArray((1000 * np.exp(-((x - 0.4) ** 2) - (y + 0.2) ** 2 - 2 * z**2)).astype(np.float32))
    image.SetSpacing((1.5, 2.0, 4.0))
    image.SetDirection((0.36, -0.8, 0.48, 0.48, 0.6, 0.64, -0.8, 0.0, 0.6))
    image.SetOrigin((11.0, -7.5, 3.2))
    return image


@pytest.mark.parametrize("cut", [0, 1, 2])
def test_a_plane_is_the_same_as_in_the_whole_upright_volume(cut):
    image = oblique()
    whole = upright(image, image)
    for index in (0, 7, whole.shape[cut] - 1):
        np.testing.assert_allclose(
            upright_plane(image, image, cut, index).squeeze(cut), np.take(whole, index, cut), atol=1e-2
        )


def test_the_planes_go_through_the_hottest_place():
    image = oblique()
    heat = sitk.Image(image) * 0
    heat[5:9, 20:24, 3:6] = 1.0
    whole = upright(heat, image)
    _, places = planes_picture(image, heat=heat)
    for name, cut, *_ in PLANES:
        index = int(places[name].split()[1]) - 1
        assert np.take(whole, index, cut).max() > 0.5


def test_a_picture_is_three_square_panes_and_a_flat_scan_breaks_nothing():
    jpeg, _ = planes_picture(oblique(), mask=sitk.Cast(oblique() > 500, sitk.sitkUInt8))
    assert Image.open(io.BytesIO(jpeg)).size == (3 * PANE, PANE)
    planes_picture(oblique() * 0)
