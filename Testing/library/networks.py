"""Networks as tests and benchmarks need them: with weights at random, but every part at work."""

from __future__ import annotations

import torch
from torch import nn


def as_after_training(net: nn.Module, seed: int = 0) -> nn.Module:
    """Batch norms with statistics, scales and shifts that differ from 0 and 1, so that a forgotten one shows."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            if isinstance(module, nn.BatchNorm3d):
                for tensor in (module.running_mean, module.bias):
                    tensor.copy_(-0.2 + 0.4 * torch.rand(tensor.shape, generator=generator))
                for tensor in (module.running_var, module.weight):
                    tensor.copy_(0.5 + torch.rand(tensor.shape, generator=generator))
    return net.eval()
