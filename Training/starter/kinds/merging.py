"""From thirteen names to the five answers that are shipped: the four sequences, or "other".

The net learns what each further kind looks like, but its names for them are wrong too often to be shown
(docs/benchmarks/sequence.md). One row of weights in the place of nine: it gives their joint log-odds, up to what one
plane can follow.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from BrainIACLib.models.heads import EncoderWithHead, LinearHead
from BrainIACLib.sequences import STANDARD_NAMES, STANDARD_OR_OTHER

RARER = math.log(2)
"""By how much the log-odds of "other" are lowered: half of the images in training were none of the four; of those that
somebody hands in, a third is supposed to be."""
PENALTY = 1e-4


def joint(logits: Tensor) -> Tensor:
    """(n, 5): logits of the four, and of all others together less ``RARER``, from (n, labels)."""
    four = len(STANDARD_NAMES)
    return torch.cat([logits[:, :four], logits[:, four:].logsumexp(1, keepdim=True) - RARER], 1)


def merged(net: EncoderWithHead, embeddings: Tensor) -> EncoderWithHead:
    """A net with the same encoder and rows of the four, whose one row for "other" answers (n, size) embeddings as
    ``joint`` does, by cross-entropy between the two."""
    weight, bias = (net.head.state_dict()[name].float() for name in ("fc.weight", "fc.bias"))
    logits = embeddings @ weight.T + bias
    wanted, four = joint(logits).softmax(1), logits[:, : len(STANDARD_NAMES)]
    middle, spread = embeddings.mean(0), embeddings.std(0) + 1e-3
    standard = (embeddings - middle) / spread
    row, offset = torch.zeros(embeddings.shape[1], requires_grad=True), torch.zeros(1, requires_grad=True)
    optimiser = torch.optim.LBFGS([row, offset], max_iter=300, line_search_fn="strong_wolfe")

    def closure() -> Tensor:
        optimiser.zero_grad()
        found = torch.cat([four, (standard @ row + offset)[:, None]], 1).log_softmax(1)
        loss = -(wanted * found).sum(1).mean() + PENALTY * row.square().sum()
        loss.backward()
        return loss

    optimiser.step(closure)
    with torch.no_grad():
        other = row / spread
        head = LinearHead(embeddings.shape[1], len(STANDARD_OR_OTHER))
        head.load_state_dict(
            {
                "fc.weight": torch.cat([weight[: len(STANDARD_NAMES)], other[None]]),
                "fc.bias": torch.cat([bias[: len(STANDARD_NAMES)], offset - (other * middle).sum()]),
            }
        )
    return EncoderWithHead(net.encoder, head).eval()
