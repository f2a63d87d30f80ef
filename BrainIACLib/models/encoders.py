"""One way to every encoder: (B, 1, X, Y, Z) -> (B, embedding_size), as a contract names it."""

from __future__ import annotations

import torch

from BrainIACLib.models.anatomy import AnatomyEncoder
from BrainIACLib.models.resnet import ResNet
from BrainIACLib.models.swin import Swin
from BrainIACLib.models.vit import ViT

Encoder = ResNet | ViT | Swin | AnatomyEncoder


def encoder(architecture: str, width: float, embedding: str) -> Encoder:
    """A randomly initialized encoder; ``architecture`` and ``embedding`` as in ``EncoderContract``."""
    if architecture == "vit_b":
        return ViT(width, embedding)
    if architecture == "swin_unetr":
        return Swin(width)
    if architecture == "anatomy_unet":
        return AnatomyEncoder(width)
    return ResNet(architecture, width)


def empty_encoder(architecture: str, width: float, embedding: str) -> Encoder:
    """An encoder without memory for its weights, to be filled by ``load_state_dict(..., assign=True)``."""
    with torch.device("meta"):
        return encoder(architecture, width, embedding)
