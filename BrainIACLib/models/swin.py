"""The encoder of Swin UNETR, with the names and the arithmetic of the MONAI that BrainSegFounder was trained with.

Liu et al. 2021 (arXiv 2103.14030); Hatamizadeh et al. 2022 (arXiv 2201.01266). MONAI 1.2 takes two of the eight
neighbors twice, and two never, when it halves the resolution; version 1.6.1 takes all. Weights are right with the
neighbors that they learned from, so this net takes the same.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

CHANNELS = 48  # of the first stage; each stage doubles them
HEADS = (3, 6, 12, 24)  # one entry a stage
BLOCKS = 2  # a stage: one on windows, one on shifted windows
WINDOW = 7
PATCH = 2
NEIGHBOURS = ((0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1), (1, 0, 1), (0, 1, 0), (0, 0, 1), (1, 1, 1))
OUTSIDE = -100.0  # added to the attention between tokens that are no neighbors before the shift

Shape = tuple[int, ...]


class Attention(nn.Module):
    """Multi-head self-attention within windows, with a bias by relative position: (windows, tokens, C), same shape."""

    relative_position_bias_table: nn.Parameter
    relative_position_index: Tensor

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.heads = heads
        self.relative_position_bias_table = nn.Parameter(torch.empty((2 * WINDOW - 1) ** 3, heads))
        nn.init.trunc_normal_(self.relative_position_bias_table, std=0.02)
        self.register_buffer("relative_position_index", relative_positions())
        self.qkv = nn.Linear(channels, 3 * channels)
        self.proj = nn.Linear(channels, channels)

    def forward(self, x: Tensor, mask: Tensor | None) -> Tensor:
        """``mask`` (windows of one scan, tokens, tokens) is added to the attention; windows of a scan lie together."""
        windows, tokens, _ = x.shape
        # A map smaller than the window reads the first rows of the index of the full window, as MONAI does.
        bias = self.relative_position_bias_table[self.relative_position_index[:tokens, :tokens]].permute(2, 0, 1)
        q, k, v = self.qkv(x).unflatten(2, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        if mask is not None:
            bias = (bias + mask[:, None]).flatten(0, 1)
            q, k, v = (part.reshape(windows // len(mask), -1, tokens, part.shape[-1]) for part in (q, k, v))
        found = F.scaled_dot_product_attention(q, k, v, attn_mask=bias[None].to(q.dtype))
        return self.proj(found.reshape(windows, self.heads, tokens, -1).transpose(1, 2).flatten(2))


class Mlp(nn.Module):
    """Four times as many channels in between, and GELU."""

    def __init__(self, channels: int):
        super().__init__()
        self.linear1 = nn.Linear(channels, 4 * channels)
        self.linear2 = nn.Linear(4 * channels, channels)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear2(F.gelu(self.linear1(x)))


class Block(nn.Module):
    """Attention in windows and MLP, each behind a layer norm and beside a shortcut: (B, X, Y, Z, C), same shape."""

    def __init__(self, channels: int, heads: int, shifted: bool):
        super().__init__()
        self.shifted = shifted
        self.norm1 = nn.LayerNorm(channels)
        self.attn = Attention(channels, heads)
        self.norm2 = nn.LayerNorm(channels)
        self.mlp = Mlp(channels)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self._attended(self.norm1(x))
        return x + self.mlp(self.norm2(x))

    def _attended(self, x: Tensor) -> Tensor:
        size = x.shape[1:4]
        window = tuple(min(WINDOW, length) for length in size)
        # An axis that one window holds whole is not shifted.
        shift = tuple(WINDOW // 2 if self.shifted and length > WINDOW else 0 for length in size)
        back = [-length % step for length, step in zip(size, window, strict=True)]
        x = F.pad(x, (0, 0, 0, back[2], 0, back[1], 0, back[0]))
        padded, mask = x.shape, None
        if any(shift):
            x = x.roll([-step for step in shift], (1, 2, 3))
            mask = _mask(padded[1:4], window, shift, x)
        x = _joined(self.attn(_windows(x, window), mask), padded, window)
        if any(shift):
            x = x.roll(shift, (1, 2, 3))
        return x[:, : size[0], : size[1], : size[2]]


class Merging(nn.Module):
    """Half the resolution and twice the channels: (B, X, Y, Z, C) -> (B, X/2, Y/2, Z/2, 2 C), rounded up."""

    def __init__(self, channels: int):
        super().__init__()
        self.reduction = nn.Linear(8 * channels, 2 * channels, bias=False)
        self.norm = nn.LayerNorm(8 * channels)

    def forward(self, x: Tensor) -> Tensor:
        x = F.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        return self.reduction(self.norm(torch.cat([x[:, i::2, j::2, k::2] for i, j, k in NEIGHBOURS], -1)))


class Stage(nn.Module):
    """Two blocks, then half the resolution."""

    def __init__(self, channels: int, heads: int):
        super().__init__()
        self.blocks = nn.ModuleList(Block(channels, heads, shifted=bool(number % 2)) for number in range(BLOCKS))
        self.downsample = Merging(channels)

    def forward(self, x: Tensor) -> Tensor:
        for block in self.blocks:
            x = block(x)
        return self.downsample(x)


class PatchEmbedding(nn.Module):
    """Patches of 2 x 2 x 2 voxels to channels: (B, 1, X, Y, Z) -> (B, X/2, Y/2, Z/2, C), rounded up."""

    def __init__(self, channels: int):
        super().__init__()
        self.proj = nn.Conv3d(1, channels, PATCH, PATCH)

    def forward(self, x: Tensor) -> Tensor:
        back = [-length % PATCH for length in x.shape[2:]]
        return self.proj(F.pad(x, (0, back[2], 0, back[1], 0, back[0]))).permute(0, 2, 3, 4, 1)


class Swin(nn.Module):
    """Swin transformer: (B, 1, X, Y, Z) -> (B, embedding_size), the mean of the last stage's normalized map.

    Trained on 96 x 96 x 96 voxels, whose last map has 3 x 3 x 3 places; other sizes are taken too.

    Parameters
    ----------
    width : factor on the 48 channels of the first stage; 126 state keys and, at 1, 768 numbers.
    """

    def __init__(self, width: float = 1.0):
        super().__init__()
        channels = int(CHANNELS * width)
        self.embedding_size = channels * 2 ** len(HEADS)
        self.patch_embed = PatchEmbedding(channels)
        for number, heads in enumerate(HEADS):  # lists of one, as in MONAI's names
            stage = Stage(channels * 2**number, heads)
            self.add_module(f"layers{number + 1}", nn.ModuleList([stage]))

    def last_map(self, x: Tensor) -> Tensor:
        """(B, embedding_size, X/32, Y/32, Z/32), rounded up; each place is normalized over the channels."""
        x = self.patch_embed(x)
        for number in range(len(HEADS)):
            x = self.get_submodule(f"layers{number + 1}.0")(x)
        return F.layer_norm(x, x.shape[-1:]).permute(0, 4, 1, 2, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.last_map(x).mean((2, 3, 4))


def relative_positions() -> Tensor:
    """int64 (343, 343), the row of the bias table for each pair of tokens of a full window."""
    places = torch.stack(torch.meshgrid(*[torch.arange(WINDOW)] * 3, indexing="ij")).flatten(1)
    apart = places[:, :, None] - places[:, None] + WINDOW - 1
    span = 2 * WINDOW - 1
    return (apart[0] * span + apart[1]) * span + apart[2]


def _windows(x: Tensor, window: Shape) -> Tensor:
    """(B, X, Y, Z, C) -> (B x windows, tokens, C)."""
    x = x.unflatten(3, (-1, window[2])).unflatten(2, (-1, window[1])).unflatten(1, (-1, window[0]))
    return x.permute(0, 1, 3, 5, 2, 4, 6, 7).reshape(-1, math.prod(window), x.shape[-1])


def _joined(windows: Tensor, shape: Shape, window: Shape) -> Tensor:
    """The inverse of ``_windows``."""
    counts = [length // step for length, step in zip(shape[1:4], window, strict=True)]
    x = windows.reshape(shape[0], *counts, *window, shape[4])
    return x.permute(0, 1, 4, 2, 5, 3, 6, 7).reshape(shape)


def _mask(size: Shape, window: Shape, shift: Shape, like: Tensor) -> Tensor:
    """(windows, tokens, tokens): 0 between tokens that lie together in the scan, ``OUTSIDE`` across its ends."""
    part = like.new_zeros(size)
    for axis, (length, step, moved) in enumerate(zip(size, window, shift, strict=True)):
        place = torch.arange(length, device=like.device)
        of_axis = (place >= length - step).long() + (place >= length - moved).long() if moved else 0 * place
        part = 3 * part + of_axis.reshape([-1 if a == axis else 1 for a in range(3)])
    parts = _windows(part[None, ..., None], window)[..., 0]
    return torch.where(parts[:, None] == parts[:, :, None], 0.0, OUTSIDE).to(like.dtype)
