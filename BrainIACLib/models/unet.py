"""A small 3D U-Net that predicts one or more maps, a signed distance or the share of each structure, from one scan.

The volume is folded 2 x 2 x 2 into channels first, so that all layers work at half resolution or less; at the end eight
channels a map unfold into the full resolution, which is enough for what is as smooth as a distance or a share. Layers
at full resolution took 40 % of the time. Ronneberger et al. 2015 (U-Net), Wu and He 2018 (group normalization:
independent of the batch, so one scan at a time trains and infers alike), Shi et al. 2016 (unfolding channels).
"""

from __future__ import annotations

import torch
import torch.nn as nn
import torch.nn.functional as F

GROUPS = 8


class UNet(nn.Module):
    """(B, 1, X, Y, Z) -> (B, outputs, X, Y, Z); X, Y and Z must be multiples of ``multiple``.

    Parameters
    ----------
    widths : channels at 1/2, 1/4, 1/8, ... of the resolution; multiples of 8.
    """

    def __init__(self, widths: tuple[int, ...], outputs: int = 1):
        super().__init__()
        self.multiple = 2 ** len(widths)
        self.encoder = nn.ModuleList()
        channels = 8
        for width in widths:
            self.encoder.append(_two_convolutions(channels, width))
            channels = width
        self.decoder = nn.ModuleList()
        for width in reversed(widths[:-1]):
            self.decoder.append(_two_convolutions(channels + width, width))
            channels = width
        self.distance = nn.Conv3d(channels, 8 * outputs, 1)  # named for the first thing that was learned

    def forward(self, scan: torch.Tensor) -> torch.Tensor:
        return self.decode(self.encode(scan))

    def encode(self, scan: torch.Tensor) -> list[torch.Tensor]:
        """(B, 1, X, Y, Z) -> the maps of each resolution, (B, width, X/2, Y/2, Z/2) first."""
        x = space_to_channels(scan)  # (B, 8, X/2, Y/2, Z/2)
        levels = []
        for level, block in enumerate(self.encoder):
            x = block(x if level == 0 else F.max_pool3d(x, 2))
            levels.append(x)
        return levels

    def decode(self, levels: list[torch.Tensor]) -> torch.Tensor:
        """The maps of ``encode`` -> (B, outputs, X, Y, Z)."""
        *skips, x = levels
        for block in self.decoder:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, skips.pop()], 1))
        return channels_to_space(self.distance(x))


def _two_convolutions(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(inputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(GROUPS, outputs),
        nn.ReLU(inplace=True),
        nn.Conv3d(outputs, outputs, 3, padding=1, bias=False),
        nn.GroupNorm(GROUPS, outputs),
        nn.ReLU(inplace=True),
    )


def space_to_channels(x: torch.Tensor) -> torch.Tensor:
    """(B, C, X, Y, Z) -> (B, 8 C, X/2, Y/2, Z/2): each 2 x 2 x 2 block becomes eight channels."""
    batch, channels, *size = x.shape
    x = x.reshape(batch, channels, size[0] // 2, 2, size[1] // 2, 2, size[2] // 2, 2)
    return x.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(batch, 8 * channels, *(n // 2 for n in size))


def channels_to_space(x: torch.Tensor) -> torch.Tensor:
    """(B, 8 C, X, Y, Z) -> (B, C, 2 X, 2 Y, 2 Z): the inverse of ``space_to_channels``."""
    batch, channels, *size = x.shape
    x = x.reshape(batch, channels // 8, 2, 2, 2, *size)
    return x.permute(0, 1, 5, 2, 6, 3, 7, 4).reshape(batch, channels // 8, *(2 * n for n in size))
