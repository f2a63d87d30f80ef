"""N4 against SimpleITK's own, against full resolution, and against fields that were put in (P-05, U-08)."""

import numpy as np
import pytest
import SimpleITK as sitk

from BrainIACLib.errors import Cancelled, PreprocessingError
from BrainIACLib.preprocessing.bias_field import _evaluate, _fitter, correct_bias_field


def head(size=(44, 52, 48), spacing=(4.0, 4.0, 4.0), strength=0.25, seed=0) -> tuple[sitk.Image, np.ndarray]:
    """A noisy head of three tissues in noise, times a smooth field; and the log field (z, y, x)."""
    rng = np.random.default_rng(seed)
    z, y, x = np.meshgrid(*(np.linspace(-1, 1, n) for n in size[::-1]), indexing="ij")
    radius = np.sqrt((x / 0.8) ** 2 + (y / 0.85) ** 2 + (z / 0.8) ** 2)
    folds = np.sin(9 * x) * np.sin(8 * y) * np.sin(7 * z)
    tissue = np.where(radius < 1, np.where(folds + 0.6 - radius > 0, 100.0, 65.0), 6.0)
    tissue[(np.abs(x) < 0.12) & (np.abs(y) < 0.3) & (np.abs(z) < 0.2)] = 25.0
    field = strength * (0.6 * x - 0.4 * y * z + 0.5 * (z**2 - 0.3))
    voxels = np.abs(tissue * np.exp(field) + rng.normal(scale=2.5, size=tissue.shape)) + 0.5
    image = sitk.GetImageFromArray(voxels.astype(np.float32))
    image.SetSpacing(spacing)
    return image, field


def itk_log_field(image: sitk.Image, mask: sitk.Image | None = None) -> np.ndarray:
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetMaximumNumberOfIterations([50] * 4)
    _ = n4.Execute(image) if mask is None else n4.Execute(image, mask)
    return sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image))


def correlation(a: np.ndarray, b: np.ndarray, where=slice(None)) -> float:
    return float(np.corrcoef(a[where].ravel(), b[where].ravel())[0, 1])


@pytest.mark.parametrize("masked", [False, True])
def test_same_field_as_simpleitk(masked):
    """The matrix form is the algorithm of SimpleITK's N4, the paper's tool, on the same voxels."""
    image, _ = head(size=(22, 26, 24), spacing=(8.0, 8.0, 8.0))
    mask = sitk.Cast(image > 30, sitk.sitkUInt8) if masked else None
    found = correct_bias_field(image, mask, working_voxel_mm=0)
    assert found.parameters["shrink"] == [1, 1, 1]
    expected = itk_log_field(image, mask)
    assert expected.std() > 0.02
    np.testing.assert_allclose(sitk.GetArrayFromImage(found.log_field), expected, atol=1e-3)


def test_shrunken_estimate_agrees_with_full_resolution():
    """U-08: correlation at least .96 at the same mask setting."""
    image, _ = head(size=(88, 104, 96), spacing=(1.5, 1.5, 1.5))
    fast, slow = correct_bias_field(image), correct_bias_field(image, working_voxel_mm=0)
    assert fast.parameters["shrink"] == [2, 2, 2]
    fields = [sitk.GetArrayFromImage(result.log_field) for result in (fast, slow)]
    assert correlation(*fields, sitk.GetArrayFromImage(image) > 30) > 0.96


def test_a_field_that_was_put_in_is_found():
    image, field = head()
    result = correct_bias_field(image, sitk.Cast(image > 30, sitk.sitkUInt8))
    inside = sitk.GetArrayFromImage(image) > 30
    found = sitk.GetArrayFromImage(result.log_field)
    assert correlation(found, field, inside) > 0.95
    assert (found - field)[inside].std() < 0.4 * field[inside].std()


def test_applied_at_full_resolution_and_repeatable():
    image, _ = head(size=(80, 90, 30), spacing=(1.0, 1.0, 5.0))
    one, two = correct_bias_field(image), correct_bias_field(image)
    assert one.parameters["shrink"] == [3, 3, 1]  # thick slices are not thinned out
    assert one.image.GetSize() == image.GetSize()
    assert one.image.GetSpacing() == image.GetSpacing()
    arrays = [sitk.GetArrayFromImage(part) for part in (one.image, one.log_field, two.image, two.log_field, image)]
    assert np.array_equal(arrays[0], arrays[2])
    assert np.array_equal(arrays[1], arrays[3])
    np.testing.assert_allclose(arrays[0] * np.exp(arrays[1]), arrays[4], rtol=1e-4)


def test_intensities_at_or_below_zero_take_no_part():
    image, _ = head()
    voxels = sitk.GetArrayFromImage(image)
    outside = voxels < 30
    fields = []
    for filler in (0.0, -7.0, np.nan):
        other = sitk.GetImageFromArray(np.where(outside, filler, voxels).astype(np.float32))
        other.CopyInformation(image)
        fields.append(sitk.GetArrayFromImage(correct_bias_field(other).log_field))
    masked = correct_bias_field(image, sitk.GetImageFromArray((~outside).astype(np.uint8)))
    for field in fields:
        assert np.isfinite(field).all()
        assert np.array_equal(field, sitk.GetArrayFromImage(masked.log_field))


def test_odd_scans():
    constant = sitk.Image(20, 20, 20, sitk.sitkUInt8) + 9
    assert np.allclose(sitk.GetArrayFromImage(correct_bias_field(constant).image), 9)
    image, _ = head(size=(40, 40, 2), spacing=(4.0, 4.0, 5.0))
    assert np.isfinite(sitk.GetArrayFromImage(correct_bias_field(image).image)).all()
    with pytest.raises(PreprocessingError, match="no voxel above zero"):
        correct_bias_field(constant * 0)


def test_stops_when_asked():
    def report(fraction):
        if fraction > 0.3:
            raise Cancelled("stop")

    with pytest.raises(Cancelled):
        correct_bias_field(head(size=(22, 26, 24))[0], report=report)


def test_spline_fit_is_the_sum_over_points():
    """Lee, Wolberg and Shin 1997, equation (6), with plain loops over points and control points."""
    rng = np.random.default_rng(3)
    bases = [rng.random((n, c)).astype(np.float32) for n, c in ((4, 3), (5, 4), (3, 2))]
    used, data = rng.random((4, 5, 3)) > 0.3, rng.normal(size=(4, 5, 3)).astype(np.float32)
    above, below = np.zeros((3, 4, 2)), np.zeros((3, 4, 2))
    for point in np.argwhere(used):
        weights = np.einsum("a,b,c->abc", *(basis[i] for basis, i in zip(bases, point, strict=True)))
        asked = weights * data[tuple(point)] / (weights**2).sum()
        above += weights**2 * asked
        below += weights**2
    found = _fitter(used, bases)(np.where(used, data, 0).astype(np.float32))
    np.testing.assert_allclose(found, above / below, rtol=1e-4)
    lattice = rng.normal(size=(3, 4, 2)).astype(np.float32)
    np.testing.assert_allclose(
        _evaluate(lattice, bases), np.einsum("abc,ia,jb,kc->ijk", lattice, *bases), rtol=1e-3, atol=1e-4
    )
