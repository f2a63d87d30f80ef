"""Averaged weights against the sum that they stand for, and the step that they follow."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import nn

from Training.starter.averaging import descend, move_average


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
    average, before = copy.deepcopy(net).requires_grad_(False), net[0].weight.detach().clone()
    optimiser = torch.optim.SGD(net.parameters(), lr=1.0)
    schedule = torch.optim.lr_scheduler.ConstantLR(optimiser, factor=1.0)
    net(torch.randn(8, 2))  # the batch norm counts
    descend(1e6 * net[0].weight.sum(), net, average, optimiser, schedule, 0, 0.99, longest=0.5)
    assert (before - net[0].weight.detach()).norm().item() == pytest.approx(0.5, rel=1e-4)
    assert torch.allclose(average[0].weight, before.lerp(net[0].weight.detach(), 0.9))
    assert average[1].num_batches_tracked == net[1].num_batches_tracked == 1
