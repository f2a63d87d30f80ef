"""NT-Xent against a plain double loop, on one process and on two (P-09), and the measures of collapse."""

import math

import pytest
import torch
import torch.distributed as dist
import torch.multiprocessing as processes
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from Training.ssl import collapse
from Training.ssl.loss import nt_xent

TEMPERATURE = 0.3


def double_loop(first, second, temperature):
    """Equation 1 of Chen et al. 2020, term by term."""
    z = [v / v.norm() for v in (*first, *second)]
    total = 0.0
    for i in range(len(z)):
        partner = (i + len(first)) % len(z)
        below = sum(math.exp(float(z[i] @ z[k]) / temperature) for k in range(len(z)) if k != i)
        total -= math.log(math.exp(float(z[i] @ z[partner]) / temperature) / below)
    return total / len(z)


@pytest.mark.parametrize("batch", [1, 2, 7])
def test_the_loss_is_the_double_loop(batch):
    first, second = torch.randn(2, batch, 5, generator=torch.Generator().manual_seed(batch))
    loss = nt_xent(first, second, TEMPERATURE).item()
    assert loss == pytest.approx(double_loop(first, second, TEMPERATURE), abs=1e-5)
    assert nt_xent(second, first, TEMPERATURE).item() == pytest.approx(loss, abs=1e-6)  # test idea 7
    assert nt_xent(3 * first, second, TEMPERATURE).item() == pytest.approx(loss, abs=1e-6)  # cosines


def test_known_values():
    """All views on one point: log(2B - 1). Partners equal and all others opposite or orthogonal: close to 0."""
    same = torch.ones(4, 3)
    assert nt_xent(same, same, 0.5).item() == pytest.approx(math.log(7))
    apart = torch.eye(4)
    assert nt_xent(apart, apart, 0.01).item() == pytest.approx(0, abs=1e-6)


def test_half_precision_is_computed_in_float32():
    first, second = torch.randn(2, 6, 8).bfloat16()
    assert nt_xent(first, second, 0.05).dtype == torch.float32


def test_mixed_precision_does_not_round_the_cosines():
    """The step runs under autocast (precision bf16-mixed), which would multiply in bfloat16 (P-09)."""
    first, second = torch.randn(2, 6, 8, generator=torch.Generator().manual_seed(0))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        mixed = nt_xent(first, second, 0.05)
    assert mixed.item() == pytest.approx(nt_xent(first, second, 0.05).item(), abs=1e-6)


def small_net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 4))


def step(net, volumes):
    """Loss of two 'views' in one forward pass, and its gradients."""
    loss = nt_xent(*net(torch.cat([volumes, volumes.flip(1)])).chunk(2), TEMPERATURE)
    loss.backward()
    return loss.detach()


def rank_step(rank, batch, meeting_point, results):
    dist.init_process_group("gloo", init_method=f"file://{meeting_point}", rank=rank, world_size=2)
    net = DistributedDataParallel(small_net())
    loss = step(net, batch[rank * 3 : rank * 3 + 3])
    dist.all_reduce(loss)
    results[rank] = (loss.item() / 2, [p.grad.tolist() for p in net.parameters()])
    dist.destroy_process_group()


@pytest.mark.skipif(not dist.is_gloo_available(), reason="needs torch with gloo")
def test_two_ranks_are_one_rank_with_the_joined_batch(tmp_path):
    """Loss and, through the gathering and DDP's averaging, every gradient."""
    batch = torch.randn(6, 6, generator=torch.Generator().manual_seed(2))
    net = small_net()
    expected = step(net, batch).item()
    with processes.get_context("spawn").Manager() as manager:
        results = manager.dict()
        processes.spawn(rank_step, (batch, tmp_path / "meet", results), nprocs=2)
        found = dict(results)
    for rank in range(2):
        loss, gradients = found[rank]
        assert loss == pytest.approx(expected, abs=1e-6)
        for gradient, parameter in zip(gradients, net.parameters(), strict=True):
            torch.testing.assert_close(torch.tensor(gradient), parameter.grad, atol=1e-6, rtol=1e-5)


def test_effective_rank_of_known_matrices():
    generator = torch.Generator().manual_seed(3)
    assert collapse.effective_rank(torch.ones(10, 4)) == 1.0
    line = torch.randn(50, 1, generator=generator) * torch.ones(1, 8)
    assert collapse.effective_rank(line) == pytest.approx(1.0, abs=1e-3)
    corners = torch.cat([torch.eye(5), -torch.eye(5)])
    assert collapse.effective_rank(corners) == pytest.approx(5.0, abs=1e-6)


def test_alignment_and_uniformity_of_known_points():
    """Wang and Isola 2020: opposite points are 4 apart; pairs of a square on the circle 2, 2, 2, 2, 4, 4."""
    points = torch.tensor([[1.0, 0], [0, 1], [-1, 0], [0, -1]])
    assert collapse.alignment(points, -points) == pytest.approx(4.0)
    assert collapse.alignment(points, 5 * points) == pytest.approx(0.0)
    expected = math.log((4 * math.exp(-4) + 2 * math.exp(-8)) / 6)
    assert collapse.uniformity(points) == pytest.approx(expected, abs=1e-6)
    assert collapse.uniformity(torch.ones(4, 2)) == pytest.approx(0.0, abs=1e-6)


def test_collapse_is_told():
    assert "collapsing" in collapse.warning(1.0, -3.0)
    assert "collapsing" in collapse.warning(20.0, -0.01)
    assert collapse.warning(20.0, -2.0) is None
