"""NT-Xent, the loss of SimCLR (P-09; Chen et al. 2020, "A simple framework for contrastive learning", equation 1).

Own code, after looking at the kept libraries: lightly's brings torchvision, and with it another torch;
pytorch-metric-learning's compares every positive pair with every negative pair of the batch, which grows with the cube
of its size (2B x 2B(2B-2) numbers: 4.3 GB at 512 pairs). The test holds this one against a plain double loop.
"""

from __future__ import annotations

import torch
import torch.distributed as dist
import torch.nn.functional as F
from torch import Tensor


def nt_xent(first: Tensor, second: Tensor, temperature: float) -> Tensor:
    """Mean over the 2B views of this rank of -log softmax of its partner among all views of all ranks.

    Parameters
    ----------
    first, second : (B, D), the projections of two views of the same volumes, of any length; computed in float32.
    temperature : the similarities (cosines) are divided by it.

    Returns
    -------
    A scalar. Averaged over ranks of equal B (as DDP averages gradients), it is the loss of the joined batch, and so is
    its gradient, since gradients flow back through the gathering.
    """
    own = F.normalize(torch.stack([first.float(), second.float()]), dim=-1)  # (2, B, D)
    batch = own.shape[1]
    everyone, before = own, 0
    if dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1:
        everyone = torch.cat(_Gather.apply(own), dim=1)  # (2, W * B, D)
        before = dist.get_rank() * batch
    total = everyone.shape[1]
    with torch.autocast(own.device.type, enabled=False):  # bfloat16 knows cosines near 1 to 0.004 only
        similarity = own.flatten(0, 1) @ everyone.flatten(0, 1).T / temperature  # (2B, 2 W B)
    itself = torch.arange(batch, device=own.device) + before
    itself = torch.cat([itself, itself + total])
    similarity = similarity.scatter(1, itself[:, None], -torch.inf)
    return F.cross_entropy(similarity, itself.roll(batch))


class _Gather(torch.autograd.Function):
    """A tensor of every rank, in the order of ranks; its gradient is the sum of what all ranks ask for."""

    @staticmethod
    def forward(ctx, tensor: Tensor) -> tuple[Tensor, ...]:
        gathered = [torch.empty_like(tensor) for _ in range(dist.get_world_size())]
        dist.all_gather(gathered, tensor.contiguous())
        return tuple(gathered)

    @staticmethod
    def backward(ctx, *gradients: Tensor) -> Tensor:
        summed = torch.stack(gradients)
        dist.all_reduce(summed)
        return summed[dist.get_rank()]
