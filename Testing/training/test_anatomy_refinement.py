"""The second stage of the anatomy network: looks at one head, what they are held against, and resuming."""

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("scipy", reason="needs the 'training' extra")

from BrainIACLib.models.anatomy import VOXEL_ML, AnatomyEncoder
from BrainIACLib.structures import INDEX, STRUCTURES
from Training.starter.anatomy import refinement
from Training.starter.anatomy.heads import SIZE, Head
from Training.starter.anatomy.real_scans import LEAST_ML, MeasuredScan
from Training.starter.anatomy.refinement import (
    SMALL_REFINEMENT,
    Projection,
    Scans,
    nt_xent,
    ratio_loss,
    settle_lesions,
    shares_loss,
    train_refinement,
)
from Training.starter.anatomy.views import PairedScans, recolored, renormalised, resized
from Training.synthesis.tissue_parameters import CLASS


def ball(radius: float, size: tuple[int, int, int] = SIZE) -> torch.Tensor:
    """Bool, in the middle of the grid."""
    axes = torch.meshgrid(*(torch.arange(n) - (n - 1) / 2 for n in size), indexing="ij")
    return sum(axis**2 for axis in axes).sqrt() < radius


def test_a_resized_head_grows_by_the_factor_that_is_told():
    image = ball(25).float() * 3 + ball(12).float()
    for seed in range(4):
        moved, change = resized(image, np.random.default_rng(seed))
        assert float((moved != 0).sum() / (image != 0).sum()) == pytest.approx(change, rel=0.02)
        assert float((moved > 3.5).sum() / (image > 3.5).sum()) == pytest.approx(change, rel=0.08)
        assert float(moved.max()) <= 4.0001


def test_another_contrast_keeps_the_outside_and_reverses_fluid_and_white_matter_as_t2_does():
    fluid, white = 0.18, 0.8  # of the range of a T1 scan
    image = torch.zeros(40, 40, 40)
    image[5:35, 5:35, 5:35] = torch.linspace(0.01, 1.0, 27000).reshape(30, 30, 30)
    order = set()
    for seed in range(12):
        look = recolored(image, np.random.default_rng(seed))
        assert ((look != 0) == (image != 0)).all()
        places = [(image - level).abs().argmin() for level in (fluid, white)]
        dark, bright = (float(look.flatten()[place]) for place in places)
        order.add(dark > bright)
    assert order == {True, False}
    inside = renormalised(recolored(image, np.random.default_rng(0)))[image != 0]
    assert float(inside.mean()) == pytest.approx(0, abs=1e-3)


def test_nt_xent_is_the_cross_entropy_of_finding_the_other_view():
    generator = torch.Generator().manual_seed(0)
    points = torch.nn.functional.normalize(torch.randn(2, 5, generator=generator), dim=1)
    others = torch.nn.functional.normalize(torch.randn(7, 5, generator=generator), dim=1)
    expected = 0.0
    for anchor in points:
        near = np.exp(float(points[0] @ points[1]) / 0.2)
        far = sum(np.exp(float(anchor @ other) / 0.2) for other in others)
        expected -= np.log(near / (near + far)) / 2
    assert float(nt_xent(points, others, 0.2)) == pytest.approx(expected, rel=1e-5)


def test_the_queue_forgets_the_oldest_and_knows_whose_points_they_are():
    projection = Projection(8, 4)
    for owner in range(3):
        projection.remember(torch.full((2, refinement.FEATURES), float(owner)), owner)
    assert projection.owner.tolist() == [2, 2, 1, 1]
    assert projection.queue[:, 0].tolist() == [2, 2, 1, 1]


def test_volumes_weigh_nuclei_threefold_and_ignore_what_is_not_there():
    shares = torch.zeros(1, len(STRUCTURES), 16, 16, 16)
    shares[0, 0] = 1
    for name, part in (("hippocampus", slice(0, 4)), ("cortex", slice(4, 12))):
        shares[0, 0, part], shares[0, INDEX[name], part] = 0, 1
    assert float(ratio_loss(shares, shares)) == 0
    halved = shares.clone()
    halved[0, INDEX["hippocampus"]] /= 2
    ml = 4 * 16 * 16 * VOXEL_ML
    expected = 3 * np.log((ml + LEAST_ML) / (ml / 2 + LEAST_ML)) / 4
    assert float(ratio_loss(halved, shares)) == pytest.approx(expected, rel=1e-4)


def test_the_loss_of_shares_is_least_for_the_truth():
    truth = torch.rand(1, len(STRUCTURES), 8, 8, 8, generator=torch.Generator().manual_seed(0)).mul(4).softmax(1)
    entropy = -float((truth * truth.log()).sum(1).mean())
    assert float(shares_loss(truth.log(), truth)) == pytest.approx(entropy, abs=1e-5)
    assert float(shares_loss(truth.roll(1, 1).log(), truth)) > entropy + 0.05


class Balls:
    """Stands in for the store of drawn heads: a ball of cortex with a ventricle, in another size for each number."""

    def get(self, number: int) -> Head:
        outer, inner = ball(24 + number), ball(8 + number)
        fine = ball(2 * (24 + number), tuple(2 * n for n in SIZE)), ball(2 * (8 + number), tuple(2 * n for n in SIZE))
        tissue = torch.zeros(tuple(2 * n for n in SIZE), dtype=torch.uint8)
        tissue[fine[0]], tissue[fine[1]] = CLASS["cortex"], CLASS["ventricular_csf"]
        shares = torch.zeros(len(STRUCTURES), *SIZE, dtype=torch.uint8)
        shares[0] = 8
        for name, where in (("cortex", outer), ("lateral_ventricles", inner)):
            shares[:, where] = 0
            shares[INDEX[name], where] = 8
        return Head(tissue, shares, torch.where(outer, 20, -20).to(torch.int8), 1.0)


def toy_scans() -> Scans:
    image = renormalised(ball(28).float() * (1 + torch.rand(SIZE, generator=torch.Generator().manual_seed(1))))
    unknown = torch.full((len(STRUCTURES),), float("nan"))
    ml, sides = unknown.clone(), unknown.repeat(2, 1)
    ml[INDEX["hippocampus"]], sides[:, INDEX["hippocampus"]] = 7.0, torch.tensor([3.4, 3.6])
    shares = torch.zeros(len(STRUCTURES), *SIZE, dtype=torch.uint8)
    shares[0] = 255
    shares[:, ball(28)] = 0
    shares[INDEX["cortex"], ball(28)] = 255
    return Scans(
        [MeasuredScan("one", image.half(), ml, sides)],
        [],
        [PairedScans("two", dict.fromkeys(("T1", "T2"), image.half()), shares)],
        {"one": shares},
    )


def test_a_refinement_that_was_stopped_goes_on_as_if_it_had_not_been(tmp_path, monkeypatch):
    recipe = dataclasses.replace(SMALL_REFINEMENT, steps=4, crop=(16, 80, 16), nuclei_crop=(16, 16, 16))
    monkeypatch.setattr(refinement, "KINDS", ("nuclei", "volumes", "sequences", "labels"))
    monkeypatch.setattr(refinement, "STEPS_BETWEEN_CHECKPOINTS", 1)
    torch.manual_seed(0)
    start = AnatomyEncoder(1 / 3)
    scans, answers = toy_scans(), refinement._answers
    whole = train_refinement(recipe, start, Balls(), tmp_path / "whole.pt", scans).state_dict()
    assert not all(torch.equal(whole[name], value) for name, value in start.state_dict().items())
    calls = []

    def stops_at_the_fourth(net, image):
        calls.append(image)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return answers(net, image)

    monkeypatch.setattr(refinement, "_answers", stops_at_the_fourth)
    with pytest.raises(KeyboardInterrupt):
        train_refinement(recipe, start, Balls(), tmp_path / "parts.pt", scans)
    monkeypatch.setattr(refinement, "_answers", answers)
    resumed = train_refinement(recipe, start, Balls(), tmp_path / "parts.pt", scans).state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_lesions_that_everybody_has_are_taken_from_all_structures_alike_and_clear_ones_stay():
    torch.manual_seed(0)
    net = AnatomyEncoder(0.25).eval()
    lesion = INDEX["lesion"]
    with torch.no_grad():
        net.unet.distance.bias[8 * lesion : 8 * lesion + 8] += 1.0
    image = torch.randn(16, 16, 16)
    before = net.shares(image[None, None])[0]
    few = torch.zeros(before.shape, dtype=torch.uint8)
    few[lesion, 0, 0] = 51  # 16 voxels of a fifth: 3.2
    nothing = torch.full((len(STRUCTURES),), float("nan"))
    scan = MeasuredScan("p", image, nothing, nothing.expand(2, -1))
    lowered = settle_lesions(net, Scans([scan], [], [], {"p": few}))
    after = net.shares(image[None, None])[0]
    assert lowered > 0
    assert after[lesion].sum().item() == pytest.approx(3.2, rel=1e-3)
    others = [i for i in range(len(STRUCTURES)) if i != lesion]
    assert torch.allclose(after[others] / after[others].sum(0), before[others] / before[others].sum(0), atol=1e-4)
