"""Features without training, which any encoder must beat: a constant, the histogram of intensities, block averages.

Each is a module like an encoder, (B, 1, X, Y, Z) normalized and 0 outside the brain -> (B, size), so that the same
heads read it, on the same cases, and the same figures show it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch.nn.functional as F
from torch import Tensor, nn

BINS, LOWEST, HIGHEST = 32, -3.0, 3.0  # deviations from the mean of the brain
BLOCKS = (8, 10, 8)  # cubes of about 25 mm in template space


class Constant(nn.Module):
    """Nothing of the image: a head can only say the mean of its training cases (figures also draw their median)."""

    size = 1

    def forward(self, x: Tensor) -> Tensor:
        return x.new_zeros(len(x), 1)


class Histogram(nn.Module):
    """Shares of the brain's voxels in ``BINS`` steps of intensity: no anatomy."""

    size = BINS

    def forward(self, x: Tensor) -> Tensor:
        bins = ((x - LOWEST) / (HIGHEST - LOWEST) * BINS).floor().clamp(0, BINS - 1).long()
        inside = (x != 0).float()
        counts = x.new_zeros(len(x), BINS).scatter_add(1, bins.flatten(1), inside.flatten(1))
        return counts / inside.flatten(1).sum(1, keepdim=True).clamp(min=1)


class Blocks(nn.Module):
    """Mean intensity in each of ``BLOCKS`` of the template grid: coarse anatomy and contrast together."""

    size = BLOCKS[0] * BLOCKS[1] * BLOCKS[2]

    def forward(self, x: Tensor) -> Tensor:
        return F.adaptive_avg_pool3d(x, BLOCKS).flatten(1)


@dataclass(frozen=True)
class Baseline:
    """``title`` stands in tables and figures."""

    title: str
    module: type[nn.Module]

    @property
    def size(self) -> int:
        """Of the features."""
        return self.module.size


BASELINES = {
    "Blocks": Baseline(f"averages of {BLOCKS[0]} x {BLOCKS[1]} x {BLOCKS[2]} blocks, no training", Blocks),
    "Histogram": Baseline(f"histogram of {BINS} intensities, no training", Histogram),
    "Constant": Baseline("the mean of the training cases, no image", Constant),
}
