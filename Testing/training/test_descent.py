"""Averaged weights against the sum that they stand for, the step that they follow, and going on after a stop."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from BrainIACLib.errors import TrainingError
from Training.starter.descent import Cycle, Descent, move_average


def test_the_average_is_the_weighted_sum_of_all_steps():
    memory, values = 0.9, torch.linspace(-1, 1, 60).tolist()
    net, average = nn.Linear(1, 1, bias=False), nn.Linear(1, 1, bias=False).requires_grad_(False)
    begin = average.weight.item()
    for step, value in enumerate(values):
        nn.init.constant_(net.weight, value)
        move_average(average, net, step, memory)
    shares, left = [], 1.0
    for step in reversed(range(len(values))):  # what a step still counts is what all later ones have kept of it
        keep = min(memory, (step + 1) / (step + 10))
        shares.insert(0, left * (1 - keep))
        left *= keep
    expected = left * begin + sum(share * value for share, value in zip(shares, values, strict=True))
    assert average.weight.item() == pytest.approx(expected, abs=1e-5)
    assert left < 1e-3


def test_a_long_gradient_is_shortened_and_counters_are_copied():
    net = nn.Sequential(nn.Linear(2, 1, bias=False), nn.BatchNorm1d(1))
    descent = Descent(net, Cycle(10, 1.0, 0.0, averaging=0.99, rise=0.5, longest=0.5))
    descent.optimiser = torch.optim.SGD(net.parameters(), lr=1.0)  # whose step is as long as the gradient
    before = net[0].weight.detach().clone()
    net(torch.randn(8, 2))  # the batch norm counts
    descent.follow(1e6 * net[0].weight.sum())
    assert (before - net[0].weight.detach()).norm().item() == pytest.approx(0.5, rel=1e-4)
    assert torch.allclose(descent.average[0].weight, before.lerp(net[0].weight.detach(), 0.9))
    assert descent.average[1].num_batches_tracked == net[1].num_batches_tracked == 1


def test_a_gradient_that_is_not_finite_stops_the_training_and_spoils_nothing():
    net = nn.Linear(2, 1)
    descent = Descent(net, Cycle(10, 1.0, 0.1, averaging=0.9, rise=0.5))
    before = net.weight.detach().clone()
    with pytest.raises(RuntimeError, match="non-finite"):
        descent.follow(net.weight.sum() * float("nan"))
    assert torch.equal(net.weight, before)
    assert torch.equal(descent.average.weight, before)
    assert descent.done == 0


def test_weights_decay_in_matrices_alone_where_asked():
    """Without a gradient, AdamW takes rate times decay of a weight at each step, and nothing else."""
    for matrices_only, expected in ((True, 1.0), (False, 1 - 0.04 * 0.5)):
        net = nn.Linear(2, 3)
        nn.init.ones_(net.weight)
        nn.init.ones_(net.bias)
        cycle = Cycle(10, 1.0, 0.5, averaging=0.9, rise=0.5, matrices_only=matrices_only)
        Descent(net, cycle).follow(0 * (net.weight.sum() + net.bias.sum()))  # a 25th of the highest rate, at first
        assert net.weight.detach().numpy() == pytest.approx(1 - 0.04 * 0.5)
        assert net.bias.detach().numpy() == pytest.approx(expected)


def net() -> nn.Sequential:
    torch.manual_seed(3)
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(4, 1))


def test_a_descent_that_was_cut_short_ends_where_a_whole_one_does(tmp_path):
    """Weights, average and rate, and every draw: of dropout, of numpy's generator and of torch's."""
    cycle = Cycle(10, 0.1, 0.01, averaging=0.9, rise=0.3)

    def begun(name: str):
        draws = np.random.default_rng(1), torch.Generator().manual_seed(1)
        return Descent(net(), cycle, tmp_path / name, {"seed": 1}, draws), *draws

    def go(until: int, descent: Descent, rng: np.random.Generator, generator: torch.Generator) -> torch.Tensor:
        for step in descent.steps():
            if step == until:
                break
            x = torch.randn(8, 4, generator=generator) * rng.uniform(0.5, 2)
            descent.follow((descent.net(x) - x.sum(1, keepdim=True)).square().mean())
            if descent.pauses(4):
                descent.keep()
        return descent.average[1].weight

    whole = go(10, *begun("whole.pt"))
    go(6, *begun("parts.pt"))  # kept after four
    resumed = begun("parts.pt")
    assert list(resumed[0].steps()) == [4, 5, 6, 7, 8, 9]
    assert torch.equal(go(10, *resumed), whole)
    assert torch.load(tmp_path / "parts.pt", weights_only=True)["step"] == 10
    assert list(begun("parts.pt")[0].steps()) == []


@pytest.mark.parametrize("other", ["recipe", "weights"])
def test_a_checkpoint_of_another_training_is_refused(other, tmp_path):
    cycle = Cycle(10, 0.1, 0.01, averaging=0.9, rise=0.3)
    Descent(net(), cycle, tmp_path / "last.pt", {"seed": 1}).keep()
    assert Descent(net(), cycle, tmp_path / "last.pt", {"seed": 1}).done == 0
    started = net()
    if other == "weights":
        nn.init.zeros_(started[1].weight)
    with pytest.raises(TrainingError, match=r"last.pt' is of a training with another recipe or from other weights"):
        Descent(started, cycle, tmp_path / "last.pt", {"seed": 2 if other == "recipe" else 1})
