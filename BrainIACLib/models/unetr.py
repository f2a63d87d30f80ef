"""The decoder of the released v2 segmentation file: a map as fine as the input from four depths of the transformer.

State-dict keys are those of MONAI's ``UNETR`` (feature size 16, residual blocks, instance norm), without MONAI, which
is the oracle of its tests. Hatamizadeh et al. 2022, "UNETR: transformers for 3D medical image segmentation".
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from BrainIACLib.models.vit import HIDDEN, ViT

FEATURES = 16  # channels at full resolution
DEPTHS = (3, 6, 9)  # blocks whose outputs the decoder reads beside the last one
SIDE = 6  # patches along each axis of a 96^3 input


class UnetrDecoder(nn.Module):
    """(B, 1, 96, 96, 96), three hidden states and the last one, each (B, 216, hidden) -> (B, 1, 96, 96, 96)."""

    def __init__(self, hidden: int = HIDDEN):
        super().__init__()
        features = FEATURES
        self.encoder1 = _Wrapped("layer", ResidualBlock(1, features))
        self.encoder2 = ProjectionUp(hidden, 2 * features, 2)
        self.encoder3 = ProjectionUp(hidden, 4 * features, 1)
        self.encoder4 = ProjectionUp(hidden, 8 * features, 0)
        self.decoder5 = Up(hidden, 8 * features)
        self.decoder4 = Up(8 * features, 4 * features)
        self.decoder3 = Up(4 * features, 2 * features)
        self.decoder2 = Up(2 * features, features)
        self.out = _Wrapped("conv", _Wrapped("conv", nn.Conv3d(features, 1, 1)))

    def forward(self, x: Tensor, states: list[Tensor], last: Tensor) -> Tensor:
        skips = [self.encoder1(x)]
        for part, state in zip((self.encoder2, self.encoder3, self.encoder4), states, strict=True):
            skips.append(part(_as_volume(state)))
        decoded = _as_volume(last)
        for up in (self.decoder5, self.decoder4, self.decoder3, self.decoder2):
            decoded = up(decoded, skips.pop())
        logits: Tensor = self.out(decoded)
        return logits


class Unetr(nn.Module):
    """Encoder and decoder: (B, 1, 96, 96, 96) -> logits (B, 1, 96, 96, 96)."""

    def __init__(self, encoder: ViT, decoder: UnetrDecoder):
        super().__init__()
        self.encoder = encoder
        self.decoder = decoder

    def forward(self, x: Tensor) -> Tensor:
        states, last = self.encoder.states(x, DEPTHS)
        logits: Tensor = self.decoder(x, states, last)
        return logits


class ResidualBlock(nn.Module):
    """Two convolutions of 3^3 beside a shortcut, instance norms without weights."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.conv1 = _convolution(inputs, outputs, 3)
        self.conv2 = _convolution(outputs, outputs, 3)
        self.conv3 = _convolution(inputs, outputs, 1) if inputs != outputs else None

    def forward(self, x: Tensor) -> Tensor:
        y = F.leaky_relu(F.instance_norm(self.conv1(x)), 0.01)
        y = F.instance_norm(self.conv2(y))
        shortcut = x if self.conv3 is None else F.instance_norm(self.conv3(x))
        return F.leaky_relu(y + shortcut, 0.01)


class ProjectionUp(nn.Module):
    """Doubles the resolution once, then as often as there are ``steps``, each with a residual block behind it."""

    def __init__(self, inputs: int, outputs: int, steps: int):
        super().__init__()
        self.transp_conv_init = _doubling(inputs, outputs)
        self.blocks = nn.ModuleList(
            nn.Sequential(_doubling(outputs, outputs), ResidualBlock(outputs, outputs)) for _ in range(steps)
        )

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.transp_conv_init(x)
        for block in self.blocks:
            y = block(y)
        return y


class Up(nn.Module):
    """Doubles the resolution and joins what comes from the side."""

    def __init__(self, inputs: int, outputs: int):
        super().__init__()
        self.transp_conv = _doubling(inputs, outputs)
        self.conv_block = ResidualBlock(2 * outputs, outputs)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        joined: Tensor = self.conv_block(torch.cat([self.transp_conv(x), skip], 1))
        return joined


class _Wrapped(nn.Sequential):
    """One module under the name that MONAI gives it."""

    def __init__(self, name: str, module: nn.Module):
        super().__init__()
        self.add_module(name, module)


def _convolution(inputs: int, outputs: int, kernel: int) -> nn.Module:
    return _Wrapped("conv", nn.Conv3d(inputs, outputs, kernel, padding=kernel // 2, bias=False))


def _doubling(inputs: int, outputs: int) -> nn.Module:
    return _Wrapped("conv", nn.ConvTranspose3d(inputs, outputs, 2, stride=2, bias=False))


def _as_volume(tokens: Tensor) -> Tensor:
    """(B, 216, hidden) -> (B, hidden, 6, 6, 6)."""
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], SIDE, SIDE, SIDE)


def empty_decoder(hidden: int) -> UnetrDecoder:
    """A decoder without memory for its weights, to be filled by ``load_state_dict(..., assign=True)``."""
    with torch.device("meta"):
        return UnetrDecoder(hidden)
