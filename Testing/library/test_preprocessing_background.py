"""A constant background in the middle of a scan's range is set to its lowest value, and nothing else is touched."""

import numpy as np
import pytest
import SimpleITK as sitk

from BrainIACLib.preprocessing.background import commonest_on_faces, darkened_background
from BrainIACLib.preprocessing.pipeline import PreprocessingOptions, standardise


def ball(background: float) -> np.ndarray:
    """Tissue of mean 0 and deviation 1 in a constant."""
    z, y, x = np.mgrid[-1.2:1.2:40j, -1.2:1.2:44j, -1.2:1.2:36j]
    noise = np.random.default_rng(0).normal(size=z.shape)
    return np.where(x**2 + y**2 + z**2 < 1, noise, background).astype(np.float32)


@pytest.mark.parametrize("background", [0.0, 1.5, 9.0])
def test_a_background_within_or_above_becomes_the_lowest(background):
    values = ball(background)
    values[20, 22, 18] = background  # a voxel of tissue, not connected to the outside
    found, replaced = darkened_background(values)
    inside = ball(np.nan)
    expected = np.where(np.isnan(inside), values.min(), inside)
    expected[20, 22, 18] = background
    assert replaced == pytest.approx(background)
    np.testing.assert_array_equal(found, expected.astype(np.float32))


@pytest.mark.parametrize("background", [-3.0, -7.0, -1e4])
def test_a_background_that_is_dark_stays(background):
    values = np.maximum(ball(background), -3) if background == -3 else ball(background)
    found, replaced = darkened_background(values)
    assert replaced is None
    assert found is values


def test_the_noise_of_air_is_no_background():
    """Most voxels of the air may have one value where a scan has few gray levels."""
    head = np.where(np.isnan(ball(np.nan)), 4.0, 200 + 20 * ball(0))
    head += 4 * np.random.default_rng(1).integers(-1, 2, head.shape)
    assert darkened_background(head.astype(np.float32))[1] is None
    assert commonest_on_faces(np.zeros((3, 4, 5)))[1] == 1


@pytest.mark.parametrize("scan", ["age/ds002748_sub-04_T1w", "scans/IXI012-HH-1211_T1w_2mm"])
def test_a_scan_scaled_to_mean_zero_is_standardised_as_the_plain_one(shared_data, scan):
    """A stripped brain and a whole head; their surroundings masked to zero before and after."""
    image = sitk.ReadImage(str(shared_data / f"{scan}.nii.gz"), sitk.sitkFloat32)
    voxels = sitk.GetArrayFromImage(image)
    head = voxels > (0 if scan.startswith("age") else 15)
    head = sitk.GetArrayFromImage(sitk.BinaryFillhole(sitk.GetImageFromArray(head.astype(np.uint8)))) > 0
    plain = np.where(head, voxels, 0)
    scaled = np.where(head, (voxels - voxels[head].mean()) / voxels[head].std(), 0)
    brains = []
    for array in (plain, scaled):
        changed = sitk.GetImageFromArray(array.astype(np.float32))
        changed.CopyInformation(image)
        brains.append(standardise(changed, PreprocessingOptions(bias_field=False)))
    one, other = (sitk.GetArrayFromImage(brain.mask) > 0 for brain in brains)
    assert 2 * (one & other).sum() / (one.sum() + other.sum()) > 0.98
    both = one & other
    one, other = (sitk.GetArrayFromImage(brain.image)[both] for brain in brains)
    assert np.corrcoef(one, other)[0, 1] > 0.98
