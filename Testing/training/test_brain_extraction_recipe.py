"""The recipe of the bundled brain extraction on a toy head: borders, samples, loss, replay and export (issue 3)."""

import dataclasses
import hashlib

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from scipy import ndimage

from BrainIACLib.models.unet import UNet
from BrainIACLib.preprocessing.brain_extraction.bundled import read_brain_extraction_contract
from Training.starter.brain_extraction import border, scenes, surroundings, training
from Training.starter.brain_extraction.border import BorderedLabelMap
from Training.starter.brain_extraction.export import export
from Training.starter.brain_extraction.scenes import CLIP_MM, SIZE, draw_samples
from Training.starter.brain_extraction.training import (
    DICE_SOFTNESS_MM,
    MM_PER_OUTPUT,
    Recipe,
    border_loss,
    overlap,
    train,
)
from Training.starter.descent import Descent
from Training.synthesis.anatomy import Pose, build_anatomy
from Training.synthesis.random_contrast import draw_random_contrast
from Training.synthesis.sequences import Contrast
from Training.synthesis.tissue_parameters import BRAIN_TISSUES, CLASS, NAMES

RADIUS = 36  # of the toy brain, mm


def shells(size: int = 116) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the center in mm, and tissues: white matter, cortex, fluid, dura, bone, skin."""
    axis = np.arange(size) - (size - 1) / 2
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    tissue = np.zeros(radius.shape, np.uint8)
    for outer, name in (
        (56, "skin"),
        (50, "cortical_bone"),
        (43, "dura"),
        (42, "sulcal_csf"),
        (RADIUS, "cortex"),
        (31, "white_matter"),
    ):
        tissue[radius < outer] = CLASS[name]
    return radius, tissue


@pytest.fixture(scope="module")
def toy() -> BorderedLabelMap:
    radius, tissue = shells()
    to_voxel = np.eye(4)
    to_voxel[:3, 3] = (radius.shape[0] - 1) / 2 + np.array([0, 18, -18])
    return BorderedLabelMap(
        name="toy",
        sha256="0",
        tissue=tissue,
        hull=(RADIUS - radius).astype(np.float16),
        depth=np.where(radius < 56, np.clip(56 - radius, 1, 254), 255).astype(np.uint8),
        voxel_of_template=to_voxel,
        closed_hull=np.rint(RADIUS - radius).astype(np.int8),
    )


def test_the_border_lies_in_the_fluid_and_short_of_the_dura(toy):
    """A ball with a shell of fluid: the mask is the ball grown by REACH_MM, since the fluid reaches further."""
    radius, _ = shells()
    inside = border.brain_mask(toy)
    assert radius[inside].max() == pytest.approx(RADIUS + border.REACH_MM, abs=1.0)
    assert inside[radius < RADIUS + border.REACH_MM - 1.5].all()


def test_bone_next_to_the_brain_ends_the_mask(toy):
    radius, tissue = shells()
    tissue[(radius >= RADIUS + 1) & (radius < 50)] = CLASS["cortical_bone"]
    inside = border.brain_mask(dataclasses.replace(toy, tissue=tissue))
    assert not inside[tissue == CLASS["cortical_bone"]].any()


def test_the_same_seed_gives_the_same_samples(toy):
    first, again = (draw_samples(toy, 2, (1, 0)) for _ in range(2))
    for a, b in zip(first, again, strict=True):
        assert torch.equal(a.image, b.image)
        assert torch.equal(a.distance, b.distance)
    assert not torch.equal(first[0].image, first[1].image)


def test_a_sample_shows_its_own_truth(toy, monkeypatch):
    """Without masks, cuts, turns and other skulls: the distance to a ball of the drawn size, where it is seen."""
    for name in ("_stripped", "_cut"):
        monkeypatch.setattr(scenes, name, lambda image, distance, *_: (image, distance))
    monkeypatch.setattr(scenes, "_turned", lambda image, distance, rng: (image, distance))
    monkeypatch.setattr(scenes, "vary_surroundings", lambda anatomy, *_: anatomy)
    monkeypatch.setattr(scenes, "_draw_pose", lambda rng, child: scenes.Pose(scale=(0.9, 0.9, 0.9)))
    sample = next(s for s in draw_samples(toy, 2, (3, 1)) if s.distance.max() > 0)
    x, y, z = scenes.GRID.axes()
    radius = (x**2 + (y + 18) ** 2 + (z - 18) ** 2).sqrt()
    expected = (0.9 * RADIUS - radius).clamp(-CLIP_MM, CLIP_MM)
    seen = radius < 50  # the corners of the grid lie outside the toy's array
    assert (sample.distance.float() - expected)[seen].abs().max() < 1.5
    assert sample.image.shape == sample.distance.shape == SIZE


def test_nothing_of_the_brain_lies_beyond_a_cut_field_of_view():
    rng = np.random.default_rng(0)
    image, distance = torch.ones(SIZE), torch.full(SIZE, 5.0)
    cuts = 0
    for _ in range(20):
        seen, remaining = scenes._cut(image, distance, rng)
        assert ((remaining > 0) <= (seen > 0)).all()
        cuts += bool((seen == 0).any())
    assert 3 < cuts < 18


def test_a_few_samples_in_a_hundred_hold_no_brain():
    lucky = [seed for seed in range(1000) if np.random.default_rng(seed).random() < 0.03]
    assert 10 < len(lucky) < 60
    for seed in lucky[:3]:
        rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
        sample = scenes._draw_sample(None, None, 1.0, rng, generator)  # the head is not even looked at
        assert (sample.distance == -CLIP_MM).all()
        assert sample.image.shape == SIZE


def test_the_loss_is_the_written_formula():
    rng = np.random.default_rng(0)
    output, distance = rng.normal(0, 1, (1, 1, 4, 4, 4)), rng.normal(0, 8, (1, 1, 4, 4, 4))
    predicted = (output * MM_PER_OUTPUT).ravel()
    total = weights = overlap_sum = sizes = 0.0
    for p, d in zip(predicted, distance.ravel(), strict=True):
        weight = 1 + 6 * np.exp(-((d / 4) ** 2))
        error = abs(p - d)
        total += weight * (0.5 * error**2 if error < 1 else error - 0.5)
        weights += weight
        a, b = (1 / (1 + np.exp(-v / DICE_SOFTNESS_MM)) for v in (p, d))
        overlap_sum += a * b
        sizes += a + b
    expected = total / weights + 5 * (1 - (2 * overlap_sum + 100) / (sizes + 100))
    assert float(border_loss(torch.tensor(output), torch.tensor(distance))) == pytest.approx(expected, rel=1e-5)


def test_random_contrasts_differ_and_keep_air_mostly_dark():
    signals = [draw_random_contrast(np.random.default_rng(seed)).signal for seed in range(60)]
    air = np.array([signal[CLASS["air"]] for signal in signals])
    assert 0.7 < (air == 0).mean() < 0.95
    brighter = [s[CLASS["white_matter"]] > s[CLASS["cortex"]] for s in signals]
    assert 0.3 < np.mean(brighter) < 0.7


def posed(toy: BorderedLabelMap, seed: int = 0):
    """The toy head on the samples' fine grid, unturned and unscaled, without tumors; and its random streams."""
    rng, generator = np.random.default_rng(seed), torch.Generator().manual_seed(seed)
    return build_anatomy(toy, scenes.FINE, Pose(), [], rng, generator), rng, generator


def test_the_voxels_of_an_anatomy_point_into_its_label_map(toy):
    anatomy, _, _ = posed(toy)
    hull = torch.from_numpy(toy.hull).reshape(-1)[anatomy.voxel.clamp_min(0)].float()
    seen = anatomy.voxel >= 0
    assert torch.equal(hull[seen], anatomy.hull[seen])
    assert (anatomy.hull[~seen] == -100).all()


@pytest.mark.parametrize("child", [False, True])
def test_a_skull_that_moves_inwards_takes_the_fluid_and_never_the_brain(toy, child):
    """The toy's fluid reaches 6 mm out of its hull: bone fills it down to the new border, 3 mm off at most."""
    toy = dataclasses.replace(toy, hull=toy.hull + np.float16(border.REACH_MM))  # the distance to its true border
    anatomy, rng, generator = posed(toy)
    before = anatomy.tissue.clone()
    new = surroundings._move_skull_inwards(anatomy, toy, child, rng, generator)
    brain = (before == CLASS["cortex"]) | (before == CLASS["white_matter"])
    assert torch.equal(anatomy.tissue[brain], before[brain])
    assert (new[brain] >= 0).all()
    assert (new <= anatomy.hull).all()
    fluid = anatomy.tissue == CLASS["sulcal_csf"]
    assert (before == CLASS["sulcal_csf"]).sum() > 2 * fluid.sum()
    assert (new[fluid] > 0).all()
    x, y, z = scenes.FINE.axes()
    radius = (x**2 + (y + 18) ** 2 + (z - 18) ** 2).sqrt()
    assert radius[new > 0].max() < RADIUS + (1.8 if child else 3.0) + 1.0


def test_marrow_stays_a_voxel_away_from_the_surfaces_of_the_skull(toy):
    anatomy, rng, generator = posed(toy)
    bone = surroundings._is(anatomy.tissue, ("cortical_bone", "marrow")).numpy()
    surroundings._fill_skull_with_marrow(anatomy.tissue, anatomy.grid, rng, generator)
    marrow = (anatomy.tissue == CLASS["marrow"]).numpy()
    assert marrow.sum() > 0.1 * bone.sum()
    assert not (marrow & ~ndimage.binary_erosion(bone)).any()


def test_faces_differ_and_the_brain_does_not(toy):
    tissues = []
    for seed in (1, 2):
        anatomy, rng, generator = posed(toy)
        rng = np.random.default_rng(seed)
        inside = anatomy.hull > -4
        before = anatomy.tissue.clone()
        surroundings._divide_face(anatomy.tissue, ~inside, anatomy.grid, rng, generator)
        assert torch.equal(anatomy.tissue[inside], before[inside])
        tissues.append(anatomy.tissue)
    assert not torch.equal(*tissues)


def test_dura_is_mostly_dark_where_it_does_not_enhance():
    def dura(sequence: str) -> np.ndarray:
        contrast = Contrast(sequence, {}, np.ones(len(NAMES), np.float32))
        return np.array(
            [surroundings.vary_contrast(contrast, np.random.default_rng(i)).signal[CLASS["dura"]] for i in range(80)]
        )

    assert np.median(dura("T1")) < 0.6
    enhanced = dura("T1CE")
    assert 0.3 < (enhanced >= 0.8).mean() < 0.8  # in some heads only
    assert np.median(enhanced[enhanced < 0.8]) < 0.6
    contrast = Contrast("T1", {}, np.ones(len(NAMES), np.float32))
    changed = surroundings.vary_contrast(contrast, np.random.default_rng(0)).signal
    assert (changed[list(BRAIN_TISSUES)] == 1).all()


def test_training_goes_on_from_given_weights(tmp_path, monkeypatch):
    monkeypatch.setattr(training, "draw_samples", bright_ball)
    recipe = Recipe(
        iterations=2,
        learning_rate=1e-9,
        weight_decay=0,
        widths=(8, 8),
        renderings=4,
        uses=2,
        pool_heads=2,
        crop=(16, 16, 8),
    )
    torch.manual_seed(77)
    start = UNet(recipe.widths).state_dict()
    net = train(recipe, [None], bright_ball(None, 1, (5, 0)), tmp_path / "last.pt", start)
    for name, tensor in net.state_dict().items():
        torch.testing.assert_close(tensor, start[name], atol=1e-6, rtol=1e-5)


def bright_ball(_map: None, count: int, seed: tuple[int, ...]) -> list[scenes.Sample]:
    """A bright ball of random size and its distance on a small grid: quick to draw, quick to learn."""
    rng = np.random.default_rng(seed)
    axis = torch.arange(16) - 7.5
    radius = (axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2).sqrt()
    distances = [2.5 * (rng.uniform(3, 7) - radius) for _ in range(count)]
    return [scenes.Sample((d > 0).half(), d.clamp(-CLIP_MM, CLIP_MM).half(), "ball") for d in distances]


class Cut(Exception):
    """The power."""


def until(step: int, follow):
    """``follow`` of a descent whose power is cut at ``step``."""

    def followed(descent: Descent, loss: torch.Tensor) -> float:
        if descent.done == step:
            raise Cut
        return follow(descent, loss)

    return followed


def test_training_learns_replays_and_exports(tmp_path, monkeypatch):
    """A few steps on balls: lower loss than at the start, the same weights twice, once from a checkpoint halfway, and a
    readable folder."""
    monkeypatch.setattr(training, "draw_samples", bright_ball)
    recipe = Recipe(
        iterations=30,
        learning_rate=2e-3,  # from nothing
        widths=(8, 8),
        averaging=0.5,
        renderings=4,
        uses=2,
        pool_heads=2,
        crop=(16, 16, 8),
    )
    samples = bright_ball(None, 2, (5, 0))
    nets = [train(recipe, [None], samples, tmp_path / "whole.pt")]
    monkeypatch.setattr(training, "STEPS_BETWEEN_CHECKPOINTS", 20)
    follow = Descent.follow
    monkeypatch.setattr(Descent, "follow", until(25, follow))
    with pytest.raises(Cut):
        train(recipe, [None], samples, tmp_path / "parts.pt")
    assert torch.load(tmp_path / "parts.pt", weights_only=True)["step"] == 20
    monkeypatch.setattr(Descent, "follow", follow)
    nets.append(train(recipe, [None], samples, tmp_path / "parts.pt"))
    for a, b in zip(nets[0].parameters(), nets[1].parameters(), strict=True):
        assert torch.equal(a, b)
    torch.manual_seed(recipe.seed)
    fresh = UNet(recipe.widths)

    image, distance = (x.float()[None, None] for x in (samples[0].image, samples[0].distance))

    def loss(net: UNet) -> float:
        with torch.no_grad():
            return float(border_loss(net(image), distance))

    assert loss(nets[0]) < 0.7 * loss(fresh)
    export(nets[0], tmp_path / "out", recipe, {"note": "balls"})
    contract = read_brain_extraction_contract(tmp_path / "out")
    weights = tmp_path / "out" / contract.weights
    assert hashlib.sha256(weights.read_bytes()).hexdigest() == contract.sha256
    stored = load_file(weights)
    assert set(stored) == set(fresh.state_dict())
    assert all(tensor.dtype == torch.float16 for tensor in stored.values())


def test_overlap_is_dice():
    class Echo(torch.nn.Module):
        def forward(self, scan):
            return scan - 1

    image = torch.zeros(4, 4, 4)
    image[:2] = 2
    distance = torch.full((4, 4, 4), -1.0)
    distance[1:3] = 1
    sample = scenes.Sample(image.half(), distance.half(), "toy")
    assert overlap(Echo(), sample) == pytest.approx(0.5)
    nothing = scenes.Sample(torch.zeros(4, 4, 4).half(), torch.full((4, 4, 4), -1.0).half(), "toy")
    assert overlap(Echo(), nothing) == 1.0
