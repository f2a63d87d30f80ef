"""Simulated heads: brain volume, tumor, pose, masks, and the same bytes for the same seed."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

pytest.importorskip("scipy", reason="needs the 'training' extra")

from Training.starter.anatomy.hd_bet_masks import dice_of
from Training.starter.export import encoder_contract
from Training.starter.image_formation import FINE_GRID, INPUT_SIZE
from Training.starter.samples import LABELS, decode, draw_samples, encode
from Training.synthesis.anatomy import Pose, build_anatomy
from Training.synthesis.brain_masks import draw_brain_mask
from Training.synthesis.tissue_parameters import CLASS

VOXEL_ML = float(np.prod(FINE_GRID.spacing)) / 1000


def test_brain_lies_where_the_template_has_it(head):
    assert 1100 < float(head.brain_mask.sum()) * VOXEL_ML < 1900  # an adult intracranial volume
    where = head.brain_mask.nonzero().float().mean(0).numpy() * FINE_GRID.spacing + np.array(FINE_GRID.origin)
    assert where == pytest.approx((0, -20, 8), abs=10)  # the ICBM152 brain's center of mass


def test_tumour_has_the_size_asked_for(head):
    volume = float(head.tumour_voxels.sum()) * VOXEL_ML
    assert 0.4 < volume / (4 / 3 * np.pi * 1.8**3) < 1.8  # radius 18 mm, stretched and rough
    assert (head.tissue == CLASS["tumour_rim"]).sum() > 0.3 * head.tumour_voxels.sum()


def test_shift_moves_the_brain_by_as_many_millimetres(label_map):
    def centre(pose: Pose) -> np.ndarray:
        rng, generator = np.random.default_rng(0), torch.Generator().manual_seed(0)
        anatomy = build_anatomy(label_map, FINE_GRID, pose, [], rng, generator)
        return anatomy.brain_mask.nonzero().float().mean(0).numpy() * FINE_GRID.spacing

    moved = centre(Pose(shift=(6.0, -9.0, 4.5))) - centre(Pose())
    assert moved == pytest.approx((6.0, -9.0, 4.5), abs=0.5)


def test_masks_differ_in_kind_and_cover_what_they_say(head):
    kinds = {}
    for seed in range(40):
        kind, mask = draw_brain_mask(head, np.random.default_rng(seed), torch.Generator().manual_seed(seed))
        kinds.setdefault(kind, float((mask & head.brain_mask).sum() / head.brain_mask.sum()))
    assert kinds["whole head"] == 1.0
    assert kinds["tight"] > 0.8
    assert kinds["loose"] > 0.95


def test_encoding_keeps_zero_and_rounds_finely():
    values = torch.tensor([0.0, -3.2, 0.004, 2.5])
    decoded = decode(encode(values))
    assert decoded[0] == 0
    assert torch.allclose(decoded, values, atol=12 / 254 / 2 + 1e-6)


@pytest.mark.parametrize("index", [3, 7])  # a head; a place away from the brain
def test_samples_repeat_byte_for_byte(label_map, index: int):
    contract = encoder_contract(0.25)
    first, second = (draw_samples(11, index, [label_map], contract) for _ in range(2))
    assert [sample.label for sample in first] == [sample.label for sample in second]
    assert all(torch.equal(a.volume, b.volume) for a, b in zip(first, second, strict=True))
    assert {sample.label for sample in first} <= set(LABELS)
    assert all(tuple(sample.volume.shape) == INPUT_SIZE for sample in first)
    other = draw_samples(12, index, [label_map], contract)
    assert not torch.equal(first[0].volume, other[0].volume)


def test_rounding_of_an_origin_costs_no_voxel_of_a_mask():
    mask = np.zeros((12, 20, 20), np.uint8)
    mask[2:10, 4:16, 4:16] = 1
    first, second = sitk.GetImageFromArray(mask), sitk.GetImageFromArray(mask)
    second.SetOrigin((1e-6, -1e-6, 1e-6))
    assert dice_of(first > 0, second) == 1
