"""Perturbations against MONAI, numpy and scipy (P-42, U-14, C-02, D-14)."""

import itertools

import numpy as np
import pytest
import torch
from monai.transforms import AdjustContrast, GibbsNoise, RandBiasField
from numpy.polynomial.legendre import leggrid3d
from scipy import ndimage

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.preprocessing.intensity import normalise
from Training.downstream import perturbations
from Training.downstream.perturbations import FEW_LEVELS, SWEEPS

SHAPE = (20, 25, 18)


@pytest.fixture(scope="module")
def volumes() -> torch.Tensor:
    generator = torch.Generator().manual_seed(0)
    brains = torch.rand((2, 1, *SHAPE), generator=generator) * 0.8
    brains[:, :, :4] = 0
    brains[1] *= 0.5
    return brains


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_level_without_effect_is_bit_exact_and_the_others_are_not(sweep, volumes):
    """D-14, test idea 2; every level gives the same twice, and no level changes its input."""
    before = volumes.clone()
    assert sweep.neutral in sweep.levels
    assert sweep.neutral in FEW_LEVELS[sweep.name]
    assert torch.equal(sweep.apply(volumes, sweep.neutral), volumes)
    for level in set(sweep.levels) - {sweep.neutral}:
        changed = sweep.apply(volumes, level)
        assert changed.shape == volumes.shape
        assert torch.isfinite(changed).all()
        assert not torch.equal(changed, volumes)
        assert torch.equal(changed, sweep.apply(volumes, level))
    assert torch.equal(volumes, before)


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_a_volume_does_not_depend_on_its_batch(sweep, volumes):
    level = sweep.levels[0] if sweep.levels[0] != sweep.neutral else sweep.levels[-1]
    torch.testing.assert_close(sweep.apply(volumes, level)[1:], sweep.apply(volumes[1:], level), rtol=1e-5, atol=1e-6)


def test_paper_ranges():
    """Fig 4: gamma 0.5-2.0, Gibbs and bias field 0-0.4."""
    ranges = {sweep.name: (sweep.levels[0], sweep.levels[-1]) for sweep in SWEEPS[:3]}
    assert ranges == {"contrast": (0.5, 2.0), "gibbs": (0.0, 0.4), "bias_field": (0.0, 0.4)}


@pytest.mark.parametrize("gamma", [0.5, 0.9, 1.5, 2.0])
def test_contrast_is_monai_s(gamma, volumes):
    expected = torch.stack([AdjustContrast(gamma)(volume) for volume in volumes])
    torch.testing.assert_close(perturbations.contrast(volumes, gamma), torch.as_tensor(expected), rtol=1e-5, atol=1e-6)


def test_negative_gamma_is_refused(volumes):
    """C-02: the paper's methods say -0.5."""
    with pytest.raises(ValueError, match="background infinite"):
        perturbations.contrast(volumes, -0.5)


@pytest.mark.parametrize("alpha", [0.1, 0.25, 0.4])
def test_gibbs_is_monai_s(alpha, volumes):
    expected = torch.stack([torch.as_tensor(GibbsNoise(alpha)(volume)) for volume in volumes])
    expected[volumes == 0] = 0  # what rings outside the brain would be removed by its extraction
    torch.testing.assert_close(perturbations.gibbs(volumes, alpha), expected, rtol=1e-4, atol=1e-5)


def test_bias_field_is_numpy_s_and_monai_s_polynomial(volumes):
    """The coefficients are drawn once (U-14); the field is the product of Legendre polynomials that MONAI uses."""
    drawn = np.random.default_rng(0).uniform(-1, 1, (4, 4, 4))
    powers = [power for power in itertools.product(range(4), repeat=3) if sum(power) <= 3]
    coefficients = np.zeros((4, 4, 4))
    for power in powers:
        coefficients[power] = drawn[power]
    field = leggrid3d(*(np.linspace(-1, 1, n) for n in SHAPE), coefficients)
    monai = RandBiasField(prob=1.0)._generate_random_field(SHAPE, 3, [drawn[power] for power in powers])
    np.testing.assert_allclose(field, monai, rtol=1e-4, atol=1e-5)
    expected = volumes.numpy() * np.exp(0.3 * field)
    np.testing.assert_allclose(perturbations.bias_field(volumes, 0.3).numpy(), expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("sweep", SWEEPS, ids=lambda sweep: sweep.name)
def test_nothing_appears_outside_the_brain(sweep, volumes):
    """The same for all of them, in the library and here."""
    changed = sweep.at(sweep.levels[-1])(volumes)
    assert (changed[volumes == 0] == 0).all()


def test_whole_motion_is_a_shift_of_the_image(volumes):
    """With all lines from the moved head the image is the moved head: scipy's Fourier shift, and a plain roll."""
    moved = perturbations.motion(volumes, 1.0)
    torch.testing.assert_close(moved, volumes.roll(1, dims=3), rtol=1e-4, atol=1e-5)
    spectrum = ndimage.fourier_shift(np.fft.fftn(volumes[0, 0].numpy()), (0, 1, 0))
    np.testing.assert_allclose(moved[0, 0].numpy(), np.fft.ifftn(spectrum).real, atol=1e-4)


def test_motion_replaces_the_late_lines_of_k_space(volumes):
    """A plain loop over the lines, in the order of their measurement."""
    lines, level = SHAPE[1], 0.4
    still = np.fft.fftshift(np.fft.fft(volumes[0, 0].numpy(), axis=1), axes=1)
    moved = np.fft.fftshift(np.fft.fft(np.roll(volumes[0, 0].numpy(), 1, axis=1), axis=1), axes=1)
    for line in range(lines - round(level * lines), lines):
        still[:, line] = moved[:, line]
    expected = np.abs(np.fft.ifft(np.fft.ifftshift(still, axes=1), axis=1))
    np.testing.assert_allclose(perturbations.motion(volumes, level)[0, 0].numpy(), expected, atol=1e-5)


def test_noise_is_rician_inside_the_brain_alone(volumes):
    """Far above the noise its spread is sigma times the maximum (Gudbjartsson and Patz 1995); outside stays 0."""
    noisy = perturbations.noise(volumes, 0.02)
    assert (noisy[volumes == 0] == 0).all()
    bright = volumes > 0.3
    for volume, changed, mask in zip(volumes, noisy, bright, strict=True):
        spread = float((changed - volume)[mask].std())
        assert spread == pytest.approx(0.02 * float(volume.max()), rel=0.1)
    assert (noisy >= 0).all()


def test_resolution_averages_whole_slices(volumes):
    """Each thick slice is the mean of its thin ones; a scan that is linear along the axis keeps its inner slices."""
    ramp = torch.arange(18.0).expand(1, 1, *SHAPE)
    torch.testing.assert_close(perturbations.resolution(ramp, 2)[..., 1:-1], ramp[..., 1:-1])
    pairs = volumes[0, 0].numpy().reshape(20, 25, 9, 2).mean(-1)
    positions = (np.arange(18) + 0.5) / 2 - 0.5
    grid = np.meshgrid(np.arange(20), np.arange(25), positions, indexing="ij")
    expected = ndimage.map_coordinates(pairs, grid, order=1, mode="nearest")
    np.testing.assert_allclose(perturbations.resolution(volumes, 2)[0, 0].numpy(), expected, atol=1e-5)


def test_background_stays_zero_after_normalisation(volumes):
    """U-14: perturbing after a z-score moves the background; before it, contrast leaves it where it was."""
    contract = EncoderContract(
        architecture="resnet10",
        width=0.25,
        embedding="gap",
        embedding_size=128,
        input_size=(16, 16, 16),
        resize_mode="area",
        normalisation="nonzero-zscore",
        clip_percentiles=None,
        template="none",
        skull_stripped="required",
        weights="encoder.safetensors",
        sha256="0" * 64,
    )
    after = normalise(perturbations.contrast(volumes, 2.0), contract)
    assert (after[volumes == 0] == 0).all()
