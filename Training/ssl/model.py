"""The network of a pretraining run: an encoder of the library and a projector (P-09, C-14).

Another method (MoCo, DINO, MAE) would be another ``LightningModule`` beside ``simclr.py`` that trains the same encoder:
batches, views, monitors, checkpoints and export ask for ``encoder`` and ``training_step`` only.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from BrainIACLib.errors import TrainingError
from BrainIACLib.models.encoders import encoder
from BrainIACLib.models.inference import cells, taps_of_cells
from BrainIACLib.models.resnet import ResNet
from Training.ssl.config import Network

VIT_SIZE = (96, 96, 96)


class Stem(nn.Conv3d):
    """The 7x7x7 stem computed as 4x4x4 on 2x2x2 cells: the same sums, eight input channels instead of one.

    Key and shape of its weight stay those of the plain convolution, so checkpoints do not know about it.
    """

    def forward(self, x: Tensor) -> Tensor:
        return F.conv3d(cells(x), taps_of_cells(self.weight), self.bias)


class Projector(nn.Sequential):
    """(B, embedding_size) -> (B, projector_size): linear, batch norm, ReLU, linear, as SimCLR's authors have it."""

    def __init__(self, embedding_size: int, hidden: int, size: int):
        super().__init__(
            nn.Linear(embedding_size, hidden, bias=False),
            nn.BatchNorm1d(hidden),
            nn.ReLU(inplace=True),
            nn.Linear(hidden, size),
        )


def build(network: Network, size: tuple[int, int, int], seed: int) -> tuple[nn.Module, nn.Module]:
    """Encoder and projector at random initialization, a function of the seed alone.

    Raises
    ------
    TrainingError : an unknown architecture or embedding, or volumes of a size that it cannot take.
    """
    if network.architecture == "vit_b" and tuple(size) != VIT_SIZE:
        raise TrainingError(
            f"vit_b takes volumes of {VIT_SIZE} voxels, the cache holds {tuple(size)}: prepare it anew."
        )
    if (network.architecture == "vit_b") == (network.embedding == "gap"):
        raise TrainingError(f"network.embedding '{network.embedding}' does not exist for {network.architecture}.")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        try:
            net = encoder(network.architecture, network.width, network.embedding)
        except ValueError as error:
            raise TrainingError(f"network: {error}.") from None
        projector = Projector(net.embedding_size, network.projector_hidden, network.projector_size)
    net = net.to(memory_format=torch.channels_last_3d)
    if isinstance(net, ResNet):
        net.conv1.__class__ = Stem
        # with one channel both layouts are the same numbers; DDP wants the strides that the gradient will have
        net.conv1.weight.data = net.conv1.weight.data.clone(memory_format=torch.contiguous_format)
    return net, projector
