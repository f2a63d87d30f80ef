"""An encoder whose embedding means something: the volumes of brain structures, and where fluid and cortex lie.

A U-Net gives each voxel's shares of the structures; sums of shares are volumes. Volumes travel between scanners where
patterns of brightness do not, which is why a head for age reads these.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from BrainIACLib.models.unet import UNet
from BrainIACLib.structures import INDEX, STRUCTURES

WIDTHS = (24, 40, 64, 96)
VOXEL_ML = (197 / 80) * (233 / 96) * (189 / 80) / 1000  # of the template grid, cut into the network's input
BLOCKS = (2, 6, 5)  # of the regional shares: mirrored, so left and right are one
FIRST, LAST = (12, 8, 0), (68, 88, 70)  # voxels of the box that they divide: the template's brain and a rim
SMALLEST_ML = 0.05  # keeps logarithms finite
_FLUID = tuple(INDEX[name] for name in ("sulcal_csf", "lateral_ventricles", "third_ventricle", "fourth_ventricle"))
_GREY = tuple(INDEX[name] for name in ("cortex", "hippocampus", "amygdala", "cerebellar_cortex"))
_REST = tuple(i for i in range(1, len(STRUCTURES)) if i not in _FLUID + _GREY)
EMBEDDING_NAMES = (
    "log intracranial volume",
    *(f"log {structure.name} of the intracranial volume" for structure in STRUCTURES[1:]),
    *(
        f"{what}, block {x} {y} {z}"
        for what in ("fluid of all", "grey of tissue")
        for x in range(BLOCKS[0])
        for y in range(BLOCKS[1])
        for z in range(BLOCKS[2])
    ),
)
"""What each number of the embedding is."""


class AnatomyEncoder(nn.Module):
    """(B, 1, 80, 96, 80) -> (B, len(EMBEDDING_NAMES)).

    Parameters
    ----------
    width : factor on the channels of the U-Net, which are rounded to multiples of 8.
    """

    def __init__(self, width: float = 1.0):
        super().__init__()
        self.embedding_size = len(EMBEDDING_NAMES)
        self.unet = UNet(tuple(8 * max(1, round(channels * width / 8)) for channels in WIDTHS), len(STRUCTURES))

    def shares(self, x: Tensor) -> Tensor:
        """(B, 1, X, Y, Z) -> (B, structures, X, Y, Z), each voxel's shares; they sum to 1."""
        return self.unet(x).float().softmax(1)

    def forward(self, x: Tensor) -> Tensor:
        return embedding_of(self.shares(x))


def embedding_of(shares: Tensor) -> Tensor:
    """(B, structures, X, Y, Z) -> (B, len(EMBEDDING_NAMES)); see there."""
    volumes = shares.sum((2, 3, 4)) * VOXEL_ML
    whole = volumes[:, 1:].sum(1, keepdim=True).clamp_min(SMALLEST_ML)
    relative = ((volumes[:, 1:] + SMALLEST_ML) / whole).log()
    fluid, grey, rest = (shares[:, list(group)].sum(1) for group in (_FLUID, _GREY, _REST))
    fluid, grey, rest = (_blocks(part) for part in (fluid, grey, rest))
    tissue = grey + rest
    little = 0.02  # of a block's voxels: a block outside the brain shows the same numbers in everybody
    regional = torch.cat([(fluid + little) / (fluid + tissue + 2 * little), (grey + little) / (tissue + 2 * little)], 1)
    return torch.cat([(whole / 1000).log(), relative, regional], 1)


def certainty_of(shares: Tensor) -> Tensor:
    """(B, structures, X, Y, Z) -> (B,): the mean, over the brain, of the largest share of a structure."""
    brain = 1 - shares[:, 0]
    return (shares[:, 1:].amax(1) * brain).sum((1, 2, 3)) / brain.sum((1, 2, 3)).clamp_min(1e-6)


def _blocks(part: Tensor) -> Tensor:
    """(B, X, Y, Z) -> (B, blocks), the mean share in each block of the box, left and right together."""
    part = part[:, FIRST[0] : LAST[0], FIRST[1] : LAST[1], FIRST[2] : LAST[2]]
    part = (part + part.flip(1))[:, : part.shape[1] // 2] / 2
    return torch.nn.functional.adaptive_avg_pool3d(part, BLOCKS).flatten(1)
