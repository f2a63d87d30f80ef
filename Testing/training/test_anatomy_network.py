"""The recipe of the anatomy network on a toy head: growth, shares, replay, loss, resuming and export."""

import dataclasses
import json

import numpy as np
import pytest
import torch

pytest.importorskip("scipy", reason="needs the 'training' extra")

from safetensors.torch import load_file
from scipy import ndimage

from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.structures import INDEX, STRUCTURES
from Training.starter.anatomy.export import export
from Training.starter.anatomy.growth import ventricle_displacement
from Training.starter.anatomy.heads import FINE, HeadStore, draw_head
from Training.starter.anatomy.labelled import STRIDE, StructuredLabelMap
from Training.starter.anatomy.reference import COLUMNS, structures_of
from Training.starter.anatomy.refinement import SMALL_REFINEMENT
from Training.starter.anatomy.rendering import render
from Training.starter.anatomy.training import SMALL, shares_loss, train
from Training.synthesis.anatomy import Pose, build_anatomy
from Training.synthesis.tissue_parameters import CLASS

SHELLS = (  # outer radius in mm, tissue, structure
    (80, "skin", "background"),
    (72, "cortical_bone", "background"),
    (66, "sulcal_csf", "sulcal_csf"),
    (62, "cortex", "cortex"),
    (56, "white_matter", "white_matter"),
    (14, "ventricular_csf", "lateral_ventricles"),
)


@pytest.fixture(scope="module")
def toy() -> StructuredLabelMap:
    """Concentric shells around the middle of the template's brain."""
    axis = np.arange(170) - 84.5
    radius = np.sqrt(axis[:, None, None] ** 2 + axis[:, None] ** 2 + axis**2)
    tissue, structure = (np.zeros(radius.shape, np.uint8) for _ in range(2))
    for outer, name, what in SHELLS:
        tissue[radius < outer], structure[radius < outer] = CLASS[name], INDEX[what]
    fluid = structure == INDEX["lateral_ventricles"]
    distance = ndimage.distance_transform_edt(~fluid) - ndimage.distance_transform_edt(fluid)
    matrix = np.eye(4)
    matrix[:3, 3] = 84.5 - np.array([0.0, -18.0, 18.0])
    return StructuredLabelMap(
        name="toy",
        sha256="0" * 64,
        tissue=tissue,
        hull=np.clip(np.rint(62 - radius), -127, 127).astype(np.int8),
        depth=np.where(radius < 80, np.clip(80 - radius, 0, 254), 255).astype(np.uint8),
        voxel_of_template=matrix,
        structure=structure,
        to_ventricles=distance[::STRIDE, ::STRIDE, ::STRIDE].astype(np.float16),
    )


class _Fixed:
    """A generator of numbers whose widening is as told: the field is uniform, so that its effect can be calculated."""

    def __init__(self, widening: float):
        self.widening = widening

    def random(self) -> float:
        return 0.0

    def normal(self, *_: float) -> float:
        return self.widening

    def uniform(self, *_: float) -> float:
        return 0.0


@pytest.mark.parametrize("widening", [-3.0, 4.0])
def test_the_wall_of_a_ventricle_moves_by_as_many_millimetres(toy, widening: float):
    generator = torch.Generator().manual_seed(0)
    displacement = ventricle_displacement(toy, FINE, Pose(), _Fixed(widening), generator)
    anatomy = build_anatomy(toy, FINE, Pose(), [], np.random.default_rng(0), generator, displacement)
    ml = float((anatomy.tissue == CLASS["ventricular_csf"]).sum() * np.prod(FINE.spacing)) / 1000
    radius = (3 * ml * 1000 / (4 * np.pi)) ** (1 / 3)
    # a point at distance d shows what lies at d - w exp(-d / 14), so the wall comes to rest where these are equal
    wall = 0.0
    for _ in range(50):
        wall = widening * np.exp(-max(wall, 0) / 14) * np.exp(min(wall, 0) / 3)
    assert radius - 14 == pytest.approx(wall, abs=0.7)


def test_the_same_seed_draws_the_same_head_and_its_shares_fill_every_voxel(toy):
    first, second = draw_head(3, 0, [toy]), draw_head(3, 0, [toy])
    assert torch.equal(first.tissue, second.tissue)
    assert torch.equal(first.shares, second.shares)
    assert (first.shares.sum(0) == 8).all()
    assert first.shares.shape == (len(STRUCTURES), *(n // 2 for n in first.tissue.shape))


def test_a_rendering_is_zero_outside_and_standardised_inside(toy):
    image = render(draw_head(3, 1, [toy]), np.random.default_rng(1), torch.Generator().manual_seed(1))
    inside = image[image != 0]
    assert 0.02 < len(inside) / image.numel() <= 1
    assert float(inside.mean()) == pytest.approx(0, abs=1e-3)
    assert float(inside.std()) == pytest.approx(1, abs=1e-2)


def test_the_loss_is_least_for_the_truth():
    generator = torch.Generator().manual_seed(0)
    truth = torch.rand(1, 5, 8, 8, 8, generator=generator).mul(4).softmax(1)
    right = float(shares_loss(truth.log(), truth))
    entropy = -float((truth * truth.log()).sum(1).mean())
    assert right == pytest.approx(entropy, abs=1e-5)  # the Dice term is 0 there
    assert float(shares_loss(truth.roll(1, 1).log(), truth)) > right + 0.05


def test_a_training_that_was_stopped_goes_on_as_if_it_had_not_been(toy, tmp_path, monkeypatch):
    recipe = dataclasses.replace(SMALL, steps=3, crop=(16, 16, 16), whole_every=100, heads=1, first_heads=1)
    heads = HeadStore(tmp_path / "heads", 1, [toy])
    whole = train(recipe, heads, tmp_path / "whole.pt").state_dict()
    drawn, calls = HeadStore.get, []

    def stops_at_the_third(self, number):
        calls.append(number)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return drawn(self, number)

    monkeypatch.setattr(HeadStore, "get", stops_at_the_third)
    monkeypatch.setattr("Training.starter.anatomy.training.STEPS_BETWEEN_CHECKPOINTS", 1)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, heads, tmp_path / "parts.pt")
    monkeypatch.setattr(HeadStore, "get", drawn)
    resumed = train(recipe, heads, tmp_path / "parts.pt").state_dict()
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_what_is_exported_loads_and_says_what_was_done(toy, tmp_path):
    from BrainIACLib.models.anatomy import EMBEDDING_NAMES, AnatomyEncoder

    net = AnatomyEncoder(SMALL.width)
    export(net, tmp_path / "model", SMALL, SMALL_REFINEMENT, {"label_maps": {"toy": toy.sha256}})
    contract = read_contract(tmp_path / "model")
    assert contract.encoder.embedding_size == len(EMBEDDING_NAMES)
    loaded = load_model(InstalledModel(tmp_path / "model", contract))
    kept = load_file(tmp_path / "model" / contract.encoder.weights)
    assert all(torch.equal(loaded.encoder.state_dict()[name], tensor.float()) for name, tensor in kept.items())
    assert json.loads((tmp_path / "model" / "training.json").read_text())["label_maps"] == {"toy": toy.sha256}


def test_dlmuse_labels_and_columns_name_structures_that_exist():
    assert structures_of(np.array([0, 47, 52, 120, 95])).tolist() == [
        "background",
        "hippocampus",
        "lateral_ventricles",
        "cortex",
        "white_matter",
    ]
    sums = {"intracranial", "gray matter", "white matter", "ventricles"}
    assert set(COLUMNS) - sums <= set(INDEX)
