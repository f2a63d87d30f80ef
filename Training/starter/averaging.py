"""Averaged weights: what the recipes ship, not the last step's (Polyak and Juditsky 1992, with a fading memory)."""

from __future__ import annotations

import torch


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
