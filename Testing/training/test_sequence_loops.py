"""The two loops of the sequence recipes on volumes that anybody can tell apart: they learn, and go on after a stop."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from Training.starter import training
from Training.starter.kinds import training as kinds
from Training.starter.kinds.samples import UNNAMED
from Training.starter.samples import Sample, decode, encode
from Training.starter.shards import ShardReader, write_shards

SIZE = 32  # of 16 the last maps are single voxels, for which gradients in bfloat16 are not finite on some CPUs
SMALL = 0.125  # of the widths of ResNet18


def volume(label: int, rng: np.random.Generator) -> torch.Tensor:
    """A slope along the last axis, or waves along it."""
    z = torch.linspace(-1, 1, SIZE).expand(SIZE, SIZE, SIZE)
    look = (1.6 * z if label == 0 else torch.sin(12 * z) * 1.4) + 0.2 * torch.from_numpy(rng.normal(size=[SIZE] * 3))
    return encode(look.float())


class Cut(Exception):
    """The power."""


class Failing:
    """A reader whose power is cut after some batches."""

    def __init__(self, reader: ShardReader, batches: int):
        self.grow, self._draw, self._left = reader.grow, reader.draw, batches

    def draw(self, *arguments):
        """What the reader draws."""
        self._left -= 1
        if self._left < 0:
            raise Cut
        return self._draw(*arguments)


@pytest.fixture
def reader_of(tmp_path):
    """A reader of one shard with both kinds of volume, whose names are the first two."""

    def made(names: tuple[str, ...]) -> ShardReader:
        def draw(index: int) -> list[Sample]:
            rng = np.random.default_rng(index)
            return [Sample(volume(label, rng), names[label], "shape", 1.0) for label in (0, 1)]

        write_shards(tmp_path / "shards", 1, range(1), 12, draw, names)
        return ShardReader(tmp_path / "shards", 1, names, check=lambda: pytest.fail("nobody writes"))

    return made


def test_a_cycle_of_the_first_recipe_learns_and_goes_on_to_the_same_weights(reader_of, tmp_path, capsys):
    shares = (0.5, 0.5, 0.0, 0.0, 0.0)
    recipe = training.Recipe(
        shards=1, cycles=((120, 3e-3),), batch_size=8, averaging=0.9, width=SMALL, class_shares=shares
    )
    reader = reader_of(training.LABELS)

    def go(name: str, reader) -> dict[str, torch.Tensor]:
        training.train(training.new_net(recipe), recipe, 0, reader, tmp_path / name, 1)
        return torch.load(tmp_path / name, weights_only=True)["average"]

    whole = go("cycle.pt", reader)
    assert "step 100: loss" in capsys.readouterr().out
    with pytest.raises(Cut):
        go("parts.pt", Failing(reader, 110))
    assert torch.load(tmp_path / "parts.pt", weights_only=True)["step"] == 100
    for name, value in go("parts.pt", reader).items():
        assert torch.equal(value, whole[name]), name
    average = training.new_net(recipe)
    average.load_state_dict(whole)
    volumes, labels, _, _ = reader.all()
    answers = training.logits_of(average.eval(), volumes).argmax(1)
    assert (answers == labels).float().mean() >= 0.9
    blank = training.new_net(recipe).eval()
    assert (blank(decode(volumes)).argmax(1) == labels).float().mean() <= 0.6  # what no training gives


def test_a_stage_that_is_cut_short_ends_with_the_weights_of_a_whole_one(reader_of, tmp_path):
    recipe = dataclasses.replace(kinds.Recipe(), batch_size=4, averaging=0.9, width=SMALL)
    there = [1.0 if label < 2 else 0.0 for label in range(len(kinds.LABELS) + 1)]
    stage = kinds.Stage(100, 1e-3, 0.0, tuple(there))
    reader = reader_of((*kinds.LABELS, UNNAMED))

    def go(name: str, shards_at=lambda share: 1):
        return kinds.train(kinds.new_net(recipe), recipe, stage, 3, reader, None, tmp_path / name, shards_at)

    def until_70(share: float) -> int:
        if share >= 0.7:
            raise Cut
        return 1

    whole = go("whole.pt")
    with pytest.raises(Cut):
        go("parts.pt", until_70)
    assert torch.load(tmp_path / "parts.pt", weights_only=True)["step"] == 50
    resumed = go("parts.pt")
    for name, value in whole.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[name]), name
    volumes, labels, _, _ = reader.all()
    assert (whole(decode(volumes)).argmax(1) == labels).float().mean() >= 0.9
