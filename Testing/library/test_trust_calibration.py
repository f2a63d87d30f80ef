"""Temperature, conformal coverage, novelty, perturbations: against slow references and the promise that each makes."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import minimize_scalar
from sklearn.covariance import LedoitWolf

from BrainIACLib.errors import ModelError
from BrainIACLib.trust import perturbations
from BrainIACLib.trust.conformal import conformal_of
from BrainIACLib.trust.novelty import novelty_of, read_novelty, write_novelty
from BrainIACLib.trust.temperature import fit_temperature, unseen_temperatures


@pytest.mark.parametrize("classes", [2, 4])
def test_the_temperature_undoes_overconfidence(classes):
    """Logits that are three times too sure: the fitted temperature is about 3, and minimizes the log loss."""
    rng = np.random.default_rng(0)
    logits = rng.standard_normal((4000, 1 if classes == 2 else classes))
    both = np.hstack([np.zeros((4000, 1)), logits]) if classes == 2 else logits
    truth = (both + rng.gumbel(size=both.shape)).argmax(axis=1)
    found = fit_temperature(3 * logits, truth)
    assert found == pytest.approx(3, rel=0.1)

    def loss(temperature):
        shares = np.exp(3 * both / temperature)
        return -np.log(shares[np.arange(4000), truth] / shares.sum(axis=1)).mean()

    assert found == pytest.approx(minimize_scalar(loss, bounds=(0.5, 10), method="bounded").x, rel=1e-3)


def test_intervals_cover_new_cases_as_often_as_promised():
    """Over 200 cohorts of 100 cases, the mean coverage of a fresh case lies within 3 points of 90 %."""
    rng, covered, measured = np.random.default_rng(1), [], []
    for _ in range(200):
        scores = np.abs(rng.standard_t(4, 100))
        found = conformal_of(scores, np.arange(100) % 5, 0.9)
        covered.append(np.mean(np.abs(rng.standard_t(4, 200)) <= found.quantile))
        measured.append(found.measured)
    assert np.mean(covered) == pytest.approx(0.9, abs=0.03)
    assert np.mean(measured) == pytest.approx(0.9, abs=0.03)
    assert conformal_of(np.arange(5.0), np.arange(5), 0.9) is None  # too few to exclude anything
    assert conformal_of(np.arange(10.0), np.arange(10) % 5, 0.9) is None  # enough for a quantile, not to measure it


def test_what_judges_a_calibration_was_not_used_for_it():
    """A case's own temperature and measured coverage do not change with its label."""
    rng, fold = np.random.default_rng(2), np.arange(60) % 5
    logits, classes = rng.standard_normal((60, 3)), rng.integers(0, 3, 60)
    other = np.where(fold == 0, (classes + 1) % 3, classes)
    first, second = (unseen_temperatures(logits, truth, fold)[:, 0] for truth in (classes, other))
    assert np.array_equal(first[fold == 0], second[fold == 0])
    assert first[0] == pytest.approx(fit_temperature(logits[fold != 0], classes[fold != 0]))
    known = []
    conformal_of(rng.random(60), fold, 0.8, lambda seen: known.append(seen) or rng.random(60))
    assert all(np.array_equal(seen, fold != number) for number, seen in enumerate(known))


@pytest.mark.parametrize(("cases", "size"), [(40, 100), (300, 20)])
def test_distances_are_mahalanobis_with_ledoit_and_wolfs_covariance(cases, size):
    rng = np.random.default_rng(2)
    values = rng.standard_normal((cases, size)) @ rng.standard_normal((size, size))
    standardised = (values - values.mean(axis=0)) / values.std(axis=0)
    reference = LedoitWolf(assume_centered=True).fit(standardised)
    novelty = novelty_of(values, np.arange(cases))
    new = rng.standard_normal((10, size)) * 20
    expected = np.sqrt(reference.mahalanobis((new - values.mean(axis=0)) / values.std(axis=0)) / size)
    assert np.allclose(novelty.distances(new), expected, rtol=1e-6)


def test_new_cases_of_the_same_kind_rarely_warn_and_others_do(tmp_path):
    rng = np.random.default_rng(3)
    mixing = rng.standard_normal((64, 64))
    train, same = (rng.standard_normal((cases, 64)) @ mixing for cases in (200, 400))
    other = 2 * rng.standard_normal((400, 64)) @ rng.standard_normal((64, 64))
    novelty = novelty_of(train, np.arange(200))
    assert np.mean(novelty.scores(same) > 1) == pytest.approx(0.05, abs=0.04)
    assert np.mean(novelty.scores(same) > novelty.warn_above) < 0.05
    assert np.mean(novelty.scores(other) > novelty.warn_above) > 0.95
    path = tmp_path / "ood.safetensors"
    sha256 = write_novelty(novelty, path)
    assert np.allclose(read_novelty(path, sha256, 64).scores(other), novelty.scores(other), rtol=1e-4)
    with pytest.raises(ModelError, match="does not fit"):
        read_novelty(path, sha256, 65)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(ModelError, match="sha256 differs"):
        read_novelty(path, sha256, 64)


def test_one_odd_unit_does_not_outweigh_the_others():
    """A number that is zero but for one case must not make the next such case infinitely far."""
    rng = np.random.default_rng(4)
    values = rng.standard_normal((60, 30))
    values[:, 0] = 0
    values[7, 0] = 1e-3
    novelty = novelty_of(values, np.arange(60))
    new = rng.standard_normal((1, 30))
    new[0, 0] = 1e-3
    assert novelty.scores(new)[0] < 1.5


@pytest.fixture
def volume():
    values = np.zeros((20, 24, 18), np.float32)
    values[4:16, 5:19, 3:15] = np.random.default_rng(5).uniform(20, 200, (12, 14, 12))
    return values


@pytest.mark.parametrize(("name", "level"), [("contrast", 1.0), ("gibbs", 0.0), ("bias field", 0.0)])
def test_the_level_of_no_change_gives_back_the_very_array(name, level, volume):
    """U-14: the identity level is bit-exact."""
    change, levels = perturbations.SWEEPS[name]
    assert level in levels
    assert change(volume, level) is volume


@pytest.mark.parametrize("name", list(perturbations.SWEEPS))
def test_a_change_leaves_the_outside_at_zero_and_grows_with_its_level(name, volume):
    change, levels = perturbations.SWEEPS[name]
    differences = [np.abs(change(volume, level) - volume).mean() for level in levels]
    place = differences.index(0.0)
    assert differences[place:] == sorted(differences[place:])
    for level in levels:
        assert np.all(change(volume, level)[volume == 0] == 0)
        assert np.isfinite(change(volume, level)).all()


def test_contrast_and_gibbs_are_those_of_monai(volume):
    """P-42: before normalization; our outside stays 0, so they are compared inside."""
    import torch
    from monai.transforms import AdjustContrast, GibbsNoise

    inside = volume != 0
    for gamma in (0.5, 1.4):
        reference = AdjustContrast(gamma)(torch.from_numpy(volume)[None])[0].numpy()
        assert np.allclose(perturbations.contrast(volume, gamma)[inside], reference[inside], rtol=1e-4)
    reference = GibbsNoise(0.4)(torch.from_numpy(volume)[None])[0].numpy()
    assert np.allclose(perturbations.gibbs(volume, 0.4)[inside], reference[inside], atol=0.02 * volume.max())


def test_the_bias_field_is_one_field_scaled(volume):
    inside = volume != 0
    logs = [np.log(perturbations.bias_field(volume, level)[inside] / volume[inside]) for level in (0.1, 0.4)]
    assert np.allclose(4 * logs[0], logs[1], atol=1e-4)
    assert logs[1].std() > 0.05
