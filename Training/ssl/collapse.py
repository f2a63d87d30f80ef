"""Is the embedding still using its dimensions? Three numbers, and when to worry.

Effective rank: Roy and Vetterli 2007. Alignment and uniformity: Wang and Isola 2020, with their exponents 2 and t = 2.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

LEAST_RANK = 2.0  # with all volumes on one line there is nothing left to tell them apart by
LEAST_UNIFORMITY = -0.2  # 0: all on one point; -4: spread over the whole sphere


def effective_rank(embeddings: Tensor) -> float:
    """exp of the entropy of the normalized singular values of the centered (N, D) matrix; between 1 and min(N - 1, D).

    1 for volumes that are all the same.
    """
    values = torch.linalg.svdvals((embeddings - embeddings.mean(0)).double())
    if values.max() <= 1e-9 * embeddings.norm():
        return 1.0
    shares = values / values.sum()
    return float(torch.exp(-(shares * shares.clamp_min(1e-12).log()).sum()))


def alignment(first: Tensor, second: Tensor) -> float:
    """Mean squared distance of the two views of a volume on the unit sphere; (N, D) each. 0: views are the same."""
    return float((F.normalize(first.float(), dim=1) - F.normalize(second.float(), dim=1)).square().sum(1).mean())


def uniformity(projections: Tensor) -> float:
    """log of the mean of exp(-2 squared distance) over all pairs of (N, D) on the unit sphere. 0: all on one point."""
    return float(F.pdist(F.normalize(projections.float(), dim=1)).square().mul(-2).exp().mean().log())


def warning(rank: float, spread: float) -> str | None:
    """A sentence for the person who watches the run, or None."""
    if rank >= LEAST_RANK and spread <= LEAST_UNIFORMITY:
        return None
    return (
        f"The embedding is collapsing (effective rank {rank:.1f}, uniformity {spread:.2f}): the network tells volumes "
        "apart less and less. Lower the learning rate, warm up longer, or make the batch larger."
    )
