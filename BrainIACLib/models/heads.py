"""Heads on the embedding (PROTOCOL U-02): ``linear`` as in the released checkpoints, ``mlp`` as in the paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn


class LinearHead(nn.Module):
    """Dropout and one linear layer: (B, embedding_size) -> (B, outputs). Keys as upstream's ``classifier.fc.*``."""

    def __init__(self, embedding_size: int, outputs: int, dropout: float = 0.2):
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(embedding_size, outputs)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.fc(self.dropout(embedding))


class MlpHead(nn.Module):
    """Linear, ReLU, dropout, linear: (B, embedding_size) -> (B, outputs). P-17; the activation is our choice."""

    def __init__(self, embedding_size: int, outputs: int, dropout: float = 0.2):
        super().__init__()
        self.hidden = nn.Linear(embedding_size, embedding_size)
        self.act = nn.ReLU(inplace=True)
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(embedding_size, outputs)

    def forward(self, embedding: Tensor) -> Tensor:
        return self.fc(self.dropout(self.act(self.hidden(embedding))))


HEADS = {"linear": LinearHead, "mlp": MlpHead}


class EncoderWithHead(nn.Module):
    """One scan to one task's raw output: (B, 1, X, Y, Z) -> (B, outputs); what saliency differentiates."""

    def __init__(self, encoder: nn.Module, head: nn.Module):
        super().__init__()
        self.encoder = encoder
        self.head = head

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x))


class OneOfSeveral(nn.Module):
    """One scan of a study with several: (B, 1, X, Y, Z) -> (B, outputs), the embeddings of the others being constant.

    ``others`` is their sum, (1, embedding_size); the head sees the mean over all ``count`` scans (P-18).
    """

    def __init__(self, model: EncoderWithHead, others: Tensor, count: int):
        super().__init__()
        self.model = model
        self.register_buffer("others", others)
        self.count = count

    def forward(self, x: Tensor) -> Tensor:
        return self.model.head((self.model.encoder(x) + self.others) / self.count)


def linked(logits: Tensor, link: str, temperature: float | None) -> Tensor:
    """(..., outputs) -> (..., classes): calibrated probabilities; of a link of two classes those of both, (1 - p, p).

    ``link`` is one of ``contracts.LINKS``; "cloglog" is 1 - exp(-exp(x)), the chance of an event under the cumulative
    hazard exp(x); "identity" gives the outputs back as they are.
    """
    if link == "identity":
        return logits
    scaled = logits / (temperature or 1.0)
    if link == "softmax":
        return torch.softmax(scaled, dim=-1)
    positive = -torch.expm1(-torch.exp(scaled)) if link == "cloglog" else torch.sigmoid(scaled)
    return torch.cat([1 - positive, positive], dim=-1)


def empty_head(head_type: str, embedding_size: int, outputs: int) -> nn.Module:
    """A head without memory for its weights: load with ``load_state_dict(..., assign=True)``."""
    with torch.device("meta"):
        return HEADS[head_type](embedding_size, outputs)
