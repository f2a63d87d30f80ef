"""Encoder, masked mean over the scans of a study, head (PROTOCOL P-17, P-18, U-03)."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from BrainIACLib.models.heads import HEADS, LinearHead, MlpHead


def masked_mean(embeddings: Tensor, study: Tensor, studies: int) -> Tensor:
    """(N, D) embeddings of scans -> (studies, D), the mean over the scans that each study has (D-12).

    ``study`` (N,) is the number of the study of each scan; every study has at least one.
    """
    total = embeddings.new_zeros(studies, embeddings.shape[1]).index_add(0, study, embeddings)
    count = torch.bincount(study, minlength=studies).to(embeddings.dtype)
    return total / count[:, None]


class StudyNet(nn.Module):
    """Several scans of each study to the study's raw output: (N, 1, X, Y, Z) -> (studies, outputs)."""

    def __init__(self, encoder: nn.Module, head: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, scans: Tensor, study: Tensor, studies: int) -> Tensor:
        return self.head(masked_mean(self.encoder(scans), study, studies))


def new_head(kind: str, embedding_size: int, outputs: int, dropout: float, seed: int) -> LinearHead | MlpHead:
    """A random head of ``BrainIACLib.models.heads``; ``seed`` decides its weights and nothing else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return HEADS[kind](embedding_size, outputs, dropout)


@torch.no_grad()
def absorb_input_scale(head: LinearHead | MlpHead, mean: Tensor, deviation: Tensor) -> None:
    """Make a head that was trained on ``(embedding - mean) / deviation`` take the embedding itself."""
    first = head.hidden if isinstance(head, MlpHead) else head.fc
    first.weight.div_(deviation)
    first.bias.sub_(first.weight @ mean)


@torch.no_grad()
def absorb_output_scale(head: LinearHead | MlpHead, mean: float, deviation: float) -> None:
    """Make a head's output ``output * deviation + mean``."""
    head.fc.weight.mul_(deviation)
    head.fc.bias.mul_(deviation).add_(mean)
