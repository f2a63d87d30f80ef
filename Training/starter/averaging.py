"""Averaged weights: what the recipes ship, not the last step's (Polyak and Juditsky 1992, with a fading memory)."""

from __future__ import annotations

import torch
from torch import Tensor


def descend(
    loss: Tensor,
    net: torch.nn.Module,
    average: torch.nn.Module,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
    step: int,
    memory: float,
    longest: float = 1.0,
) -> None:
    """One step down the gradient of ``loss``, whose length is at most ``longest``; the average follows."""
    optimiser.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(net.parameters(), longest)
    optimiser.step()
    schedule.step()
    move_average(average, net, step, memory)


@torch.no_grad()
def move_average(average: torch.nn.Module, net: torch.nn.Module, step: int, memory: float) -> None:
    """Move ``average`` toward ``net`` after ``step`` (from 0); early steps are forgotten faster than ``memory`` says.

    Whole numbers (counters of batch norms) are copied.
    """
    keep = min(memory, (step + 1) / (step + 10))
    for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)
