"""Each transform of a view against scipy or MONAI, exact identities, parameters that can be replayed (P-10, D-16)."""

import numpy as np
import pytest
import torch

pytest.importorskip("pytorch_lightning", reason="needs the 'training' extra")

from scipy import ndimage

from Training.ssl.transforms import (
    Blur,
    Flip,
    Geometry,
    Intensity,
    Noise,
    add_noise,
    blur,
    change_intensity,
    flip,
    places_seen,
    resample,
    voxel_matrices,
)
from Training.ssl.views import ViewRanges, draw_view

SIZE = (12, 14, 10)
TOLERANCE = 2e-6  # float32 sums of numbers in 0..1


@pytest.fixture
def volumes():
    return torch.rand((3, 1, *SIZE), generator=torch.Generator().manual_seed(1))


def geometry(rotation=(0, 0, 0), zoom=(1, 1, 1), shift=(0, 0, 0), crop=1.0, centre=(0, 0, 0)):
    rows = [torch.tensor([values], dtype=torch.float32) for values in (rotation, zoom, shift)]
    return Geometry(*rows, torch.tensor([crop]), torch.tensor([centre], dtype=torch.float32))


def test_blur_is_scipys(volumes):
    """Zeros beyond the border, cut off at 4 standard deviations; each volume its own width, 0 exact."""
    sigma = torch.tensor([0.8, 0.0, 1.6])
    smooth = blur(volumes, Blur(sigma))
    for row, width in enumerate(sigma.tolist()):
        expected = ndimage.gaussian_filter(volumes[row, 0].double().numpy(), width, mode="constant")
        assert np.abs(smooth[row, 0].numpy() - expected).max() < TOLERANCE
    assert torch.equal(smooth[1], volumes[1])


@pytest.mark.parametrize(
    "parameters",
    [
        geometry(rotation=(10, -20, 35)),
        geometry(zoom=(1.3, 0.8, 1.1), shift=(0.1, 0, -0.05)),
        geometry(crop=0.6, centre=(0.4, -1, 1)),
        geometry(rotation=(5, 3, -8), zoom=(1.1, 1.1, 1.1), shift=(0.05, -0.05, 0), crop=0.7, centre=(-1, 0.2, 0.9)),
    ],
)
def test_resampling_is_scipys_affine_transform(volumes, parameters):
    matrix = voxel_matrices(parameters, SIZE)[0].numpy()
    middle = (np.array(SIZE) - 1) / 2
    offset = middle + matrix[:, 3] - matrix[:, :3] @ middle
    expected = ndimage.affine_transform(
        volumes[0, 0].double().numpy(), matrix[:, :3], offset, order=1, mode="grid-constant"
    )
    assert np.abs(resample(volumes[:1], parameters)[0, 0].numpy() - expected).max() < TOLERANCE


def test_a_crop_is_the_resized_box(volumes):
    """Half of the edge, at the corner of the first indices, blown up twice: torch's own interpolation of that box."""
    cropped = resample(volumes[:1], geometry(crop=0.5, centre=(-1, -1, -1)))
    box = volumes[:1, :, :6, :7, :5]
    expected = torch.nn.functional.interpolate(box, SIZE, mode="trilinear", align_corners=False)
    inner = (..., slice(1, 10), slice(1, 12), slice(1, 8))  # where the box' neighbors and the border play no part
    assert (cropped[inner] - expected[inner]).abs().max() < TOLERANCE


@pytest.mark.parametrize(("axis", "degrees"), [(0, 90), (1, 90), (2, 90)])
def test_rotation_turns_about_the_named_axis_only(axis, degrees):
    """A quarter turn is a transposition with a flip: from the first following axis to the second."""
    cube = torch.rand(1, 1, 8, 8, 8)
    turned = resample(cube, geometry(rotation=tuple(degrees if a == axis else 0 for a in range(3))))
    first, second = 2 + (axis + 1) % 3, 2 + (axis + 2) % 3
    assert (turned - cube.rot90(1, (first, second))).abs().max() < 1e-5


def test_affine_agrees_with_monai(volumes):
    from monai.transforms import Affine

    parameters = geometry(zoom=(1.25, 0.9, 1.1), shift=(0.1, -0.05, 0.2))
    scale = [1 / 1.25, 1 / 0.9, 1 / 1.1]  # MONAI's parameters map the output to the input
    move = [-s * f * n for s, f, n in zip(scale, (0.1, -0.05, 0.2), SIZE, strict=True)]
    matrix = np.eye(4)
    matrix[:3, :3], matrix[:3, 3] = np.diag(scale), move
    expected = Affine(affine=matrix, padding_mode="zeros", image_only=True)(volumes[0])
    assert (resample(volumes[:1], parameters)[0] - expected).abs().max() < 1e-5


def test_gamma_and_gain_agree_with_monai(volumes):
    from monai.transforms import AdjustContrast, ScaleIntensity

    whole = ScaleIntensity(0, 1)(volumes[0])[None]
    changed = change_intensity(whole, Intensity(torch.tensor([1.7]), torch.tensor([0.8]), torch.tensor([False])))
    assert (changed[0] - 0.8 * AdjustContrast(1.7)(whole[0])).abs().max() < 1e-5


def test_inversion_spares_the_background(volumes):
    volumes[0, 0, :3] = 0
    parameters = Intensity(torch.ones(1), torch.ones(1), torch.tensor([True]))
    inverted = change_intensity(volumes[:1], parameters)
    assert (inverted[0, 0, :3] == 0).all()
    assert torch.equal(inverted[0, 0, 3:], 1 - volumes[0, 0, 3:])


def test_a_flip_exchanges_right_and_left_and_does_fire(volumes):
    """D-16."""
    flipped = flip(volumes, Flip(torch.tensor([True, False, True])))
    assert torch.equal(flipped[0], volumes[0].flip(1))
    assert not torch.equal(flipped[0], volumes[0])
    assert torch.equal(flipped[1], volumes[1])


def test_noise_has_its_deviation_and_its_own_field(volumes):
    parameters = Noise(torch.tensor([0.1, 0.0, 0.1]), torch.tensor([5, 5, 6]))
    noise = add_noise(torch.zeros(3, 1, 24, 24, 24), parameters)
    assert noise[0].std().item() == pytest.approx(0.1, rel=0.03)
    assert abs(noise[0].mean().item()) < 0.004
    assert (noise[1] == 0).all()
    assert abs(torch.corrcoef(noise[[0, 2]].flatten(1))[0, 1].item()) < 0.05
    alone = add_noise(torch.zeros(1, 1, 24, 24, 24), Noise(torch.tensor([0.1]), torch.tensor([6])))
    assert torch.equal(alone[0], noise[2])


def test_identity_parameters_give_the_input_back(volumes):
    off = {name: 0.0 for name in vars(ViewRanges()) if name.endswith("probability")}
    view = draw_view(3, ViewRanges(**off), 0, 0, 0).apply(volumes)
    assert torch.equal(view, volumes)
    assert view.data_ptr() == volumes.data_ptr()  # not even copied


def test_views_are_replayed_and_differ(volumes):
    ranges = ViewRanges(invert_probability=0.5)
    first = draw_view(3, ranges, seed=1, step=2, view=0).apply(volumes)
    assert torch.equal(first, draw_view(3, ranges, seed=1, step=2, view=0).apply(volumes))
    for other in ((1, 2, 1), (1, 3, 0), (2, 2, 0)):
        assert not torch.equal(first, draw_view(3, ranges, *other).apply(volumes))


def test_each_transform_has_a_stream_of_its_own():
    """Switching one transform off leaves the parameters of all others as they were."""
    with_blur = draw_view(16, ViewRanges(), 3, 4, 0)
    without = draw_view(16, ViewRanges(blur_probability=0.0), 3, 4, 0)
    assert (without.blur.sigma == 0).all()
    for part in ("flip", "geometry", "intensity", "noise"):
        for name, values in vars(getattr(with_blur, part)).items():
            assert torch.equal(values, getattr(getattr(without, part), name))


def test_a_part_of_the_batch_gets_its_own_views():
    """What a rank computes is what one process would have computed for those volumes."""
    volumes = torch.rand(8, 1, *SIZE)
    view = draw_view(8, ViewRanges(), 1, 2, 0)
    assert (view.apply(volumes)[2:5] - view.cut(2, 5).apply(volumes[2:5])).abs().max() < TOLERANCE


def test_parameters_lie_in_their_ranges():
    ranges = ViewRanges()
    view = draw_view(500, ranges, 0, 0, 0)
    assert view.geometry.rotation.abs().max() <= ranges.rotation_degrees
    assert ranges.crop[0] <= view.geometry.crop.min() < 0.65
    assert ranges.gamma[0] <= view.intensity.gamma.min() < 0.55
    assert 1.8 < view.intensity.gamma.max() <= ranges.gamma[1]
    assert view.flip.mirrored.float().mean().item() == pytest.approx(0.5, abs=0.08)
    assert (view.blur.sigma == 0).float().mean().item() == pytest.approx(0.5, abs=0.08)


def test_the_places_that_a_view_shows_are_those_of_torchs_affine_grid():
    theta = torch.randn(5, 3, 4, generator=torch.Generator().manual_seed(0))
    expected = torch.nn.functional.affine_grid(theta, [5, 1, *SIZE], align_corners=False)
    torch.testing.assert_close(places_seen(theta, SIZE), expected, rtol=0, atol=1e-6)
