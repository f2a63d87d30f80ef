"""Resizing and normalizing against MONAI and plain loops, and the geometry of maps on the model grid (U-10, U-11)."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.preprocessing.intensity import image_on_model_grid, model_input, normalise, ras_array, resize
from BrainIACLib.preprocessing.orientation import image_as_stored, oriented_axes, oriented_view


def contract(**changes) -> EncoderContract:
    fields = {
        "architecture": "resnet18",
        "width": 0.25,
        "embedding": "gap",
        "embedding_size": 128,
        "input_size": (16, 16, 16),
        "resize_mode": "area",
        "normalisation": "minmax",
        "clip_percentiles": None,
        "template": "any",
        "skull_stripped": "preferred",
        "weights": "encoder.safetensors",
        "sha256": "0" * 64,
    }
    return EncoderContract(**{**fields, **changes})


@pytest.fixture
def volume() -> torch.Tensor:
    return torch.from_numpy(np.random.default_rng(0).normal(size=(1, 1, 27, 33, 21)).astype(np.float32))


@pytest.mark.parametrize("mode", ["area", "trilinear"])
@pytest.mark.parametrize("size", [(16, 16, 16), (30, 12, 24)])
def test_resize_is_monai_resized(volume, mode, size):
    """The released code resizes with MONAI's ``Resized`` (U-10)."""
    from monai.transforms import Resized

    expected = Resized(keys="image", spatial_size=size, mode=mode)({"image": volume[0]})["image"]
    torch.testing.assert_close(resize(volume, size, mode)[0], torch.as_tensor(expected), rtol=1e-5, atol=1e-6)


def test_area_is_adaptive_average_pooling_by_hand(volume):
    pooled = resize(volume, (10, 10, 10), "area")[0, 0].numpy()
    for cell in [(0, 0, 0), (4, 7, 2), (9, 9, 9)]:
        edges = [
            slice(int(np.floor(i * n / 10)), int(np.ceil((i + 1) * n / 10)))
            for i, n in zip(cell, volume.shape[2:], strict=True)
        ]
        assert pooled[cell] == pytest.approx(float(volume[0, 0][tuple(edges)].mean()), abs=1e-5)


def test_area_inside_averages_the_voxels_inside_and_needs_half_of_them(volume):
    """A brain of one brightness stays of one brightness up to its rim; numpy's masked mean is the reference."""
    volume[torch.rand(volume.shape, generator=torch.Generator().manual_seed(1)) < 0.5] = 0
    shrunk = resize(volume, (9, 11, 7), "area-inside")[0, 0].numpy()
    blocks = volume[0, 0].numpy().reshape(9, 3, 11, 3, 7, 3).transpose(0, 2, 4, 1, 3, 5).reshape(9, 11, 7, 27)
    means = np.ma.masked_equal(blocks, 0).mean(axis=3).filled(0)
    filled = (blocks != 0).mean(axis=3) >= 0.5
    assert 0.3 < filled.mean() < 0.7
    np.testing.assert_allclose(shrunk, np.where(filled, means, 0), atol=1e-6)

    even = torch.zeros(1, 1, 12, 12, 12)
    even[..., 2:9, 3:11, 1:7] = 5.0
    values = resize(even, (4, 4, 4), "area-inside").unique().numpy()
    np.testing.assert_allclose(np.unique(values.round(5)), [0, 5])


def test_trilinear_neither_aligns_corners_nor_smooths():
    ramp = torch.arange(8.0).reshape(1, 1, 8, 1, 1).expand(1, 1, 8, 8, 8)
    # output centers lie at 0.5, 2.5, 4.5, 6.5 in input voxels: plain means of two neighbors
    assert resize(ramp, (4, 4, 4), "trilinear")[0, 0, :, 0, 0].tolist() == [0.5, 2.5, 4.5, 6.5]


def test_zscore_of_non_zero_voxels_is_monai(volume):
    from monai.transforms import NormalizeIntensity

    volume[..., :5] = 0
    expected = NormalizeIntensity(nonzero=True, channel_wise=True)(volume[0])
    found = normalise(volume, contract(normalisation="nonzero-zscore"))[0]
    torch.testing.assert_close(found, torch.as_tensor(expected), rtol=1e-4, atol=1e-5)
    assert (found[..., :5] == 0).all()


def test_minmax_and_constants(volume):
    scaled = normalise(volume, contract())
    assert scaled.min() == 0
    assert scaled.max() == 1
    for normalisation in ("minmax", "nonzero-zscore"):
        for value in (0.0, 7.0):
            flat = normalise(torch.full((1, 1, 4, 4, 4), value), contract(normalisation=normalisation))
            assert (flat == 0).all()


def test_clipping_uses_the_percentiles_of_the_non_zero_voxels():
    volume = torch.zeros(1, 1, 10, 10, 10)
    volume.view(-1)[500:] = torch.arange(1.0, 501.0)
    clipped = normalise(volume, contract(clip_percentiles=(1, 99)))
    inside = volume.view(-1)[500:].numpy()
    low, high = np.percentile(inside, (1, 99), method="nearest")
    expected = np.concatenate([np.zeros(500), np.clip(inside, low, high)]) / high
    np.testing.assert_allclose(clipped.numpy().ravel(), expected, atol=1e-6)


@pytest.mark.parametrize("code", ["RAS", "LPS", "AIL", "PSR", "SRP"])
def test_array_order_does_not_depend_on_how_the_scan_is_stored(code):
    rng = np.random.default_rng(1)
    image = sitk.GetImageFromArray(rng.normal(size=(5, 6, 7)).astype(np.float32))
    image.SetSpacing((1, 2, 3))
    assert np.array_equal(ras_array(sitk.DICOMOrient(image, code)), ras_array(image))
    stored = sitk.DICOMOrient(image, code)
    by_hand = np.zeros_like(ras_array(image))
    ras = sitk.DICOMOrient(image, "RAS")
    for index in np.ndindex(by_hand.shape):
        point = ras.TransformIndexToPhysicalPoint([int(i) for i in index])
        by_hand[index] = stored.GetPixel(stored.TransformPhysicalPointToIndex(point))
    assert np.array_equal(ras_array(stored), by_hand)


@pytest.mark.parametrize("code", ["RAS", "LPS", "AIL", "PSR", "SRP"])
@pytest.mark.parametrize("wanted", ["RAS", "LAS", "ILP"])
def test_a_view_in_another_order_is_what_simpleitk_copies_and_goes_back_exactly(code, wanted):
    image = sitk.GetImageFromArray(np.random.default_rng(2).normal(size=(5, 6, 7)).astype(np.float32))
    image.SetSpacing((1, 2, 3))
    turn = sitk.Euler3DTransform()
    turn.SetRotation(0.2, -0.1, 0.15)  # oblique: the closest direction is taken
    image.SetDirection(turn.GetMatrix())
    image = sitk.DICOMOrient(image, code)
    expected = sitk.DICOMOrient(image, wanted)
    view = oriented_view(image, wanted)
    np.testing.assert_array_equal(view, sitk.GetArrayFromImage(expected).transpose(2, 1, 0))
    assert [image.GetSpacing()[axis] for axis in oriented_axes(image, wanted)] == pytest.approx(expected.GetSpacing())
    back = image_as_stored(view, image, wanted)
    assert (back.GetOrigin(), back.GetDirection()) == (image.GetOrigin(), image.GetDirection())
    np.testing.assert_array_equal(sitk.GetArrayViewFromImage(back), sitk.GetArrayViewFromImage(image))


@pytest.mark.parametrize("size", [(16, 16, 16), (40, 20, 10)])
def test_a_map_on_the_model_grid_lies_where_the_resized_image_lies(size):
    """Resizing coordinates by ``area`` and placing them must give each model voxel the center of what it pooled."""
    reference = sitk.Image(40, 20, 30, sitk.sitkFloat32)
    reference.SetOrigin((-17.0, 33.0, 5.0))
    reference.SetSpacing((1.0, 1.5, 2.0))
    reference.SetDirection(np.diag([-1.0, -1.0, 1.0]).ravel().tolist())  # RAS
    points = np.zeros((3, 40, 20, 30), np.float32)
    for index in np.ndindex(40, 20, 30):
        points[(slice(None), *index)] = reference.TransformIndexToPhysicalPoint([int(i) for i in index])
    pooled = torch.cat([resize(torch.from_numpy(one)[None, None], size, "area") for one in points])[:, 0].numpy()
    placed = image_on_model_grid(pooled[0], reference)
    for index in [(0, 0, 0), (3, 5, 7), tuple(n - 1 for n in size)]:
        found = placed.TransformIndexToPhysicalPoint([int(i) for i in index])
        if all(n % m == 0 for n, m in zip(reference.GetSize(), size, strict=True)):
            np.testing.assert_allclose(found, pooled[(slice(None), *index)], atol=1e-4)
        else:  # pooled cells overlap where sizes do not divide: their centers are off by less than half a voxel
            np.testing.assert_allclose(found, pooled[(slice(None), *index)], atol=1.0)
    corner = [
        placed.TransformContinuousIndexToPhysicalPoint([-0.5] * 3),
        reference.TransformContinuousIndexToPhysicalPoint([-0.5] * 3),
    ]
    np.testing.assert_allclose(*corner, atol=1e-4)


def test_model_input_is_resize_then_normalise():
    image = sitk.GetImageFromArray(np.random.default_rng(2).normal(size=(20, 24, 28)).astype(np.float32))
    settings = contract(resize_mode="trilinear", normalisation="nonzero-zscore")
    by_hand = normalise(resize(torch.from_numpy(ras_array(image))[None, None], (16, 16, 16), "trilinear"), settings)
    assert torch.equal(model_input(image, settings), by_hand)
