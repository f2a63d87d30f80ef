"""Layers that keep next to nothing for the backward pass, for gradients with respect to the input alone.

Torch's convolution keeps its input for the gradient of its weights, wanted or not, and its max-pooling keeps its input
for the shape. For a saliency map all weights are frozen, so that a shape and the places of the maxima do. It pays where
the activations keep less than their output too, as guided ReLUs do.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable


def keep_little(net: nn.Module) -> None:
    """Exchange the frozen convolutions and the max-poolings of our own copy of a network, in place."""
    for module in net.modules():
        if type(module) is nn.Conv3d and module.padding_mode == "zeros" and not isinstance(module.padding, str):
            if not any(parameter.requires_grad for parameter in module.parameters()):
                module.__class__ = _FrozenConv3d
        elif type(module) is nn.MaxPool3d and not (module.return_indices or module.ceil_mode):
            module.__class__ = _MaxPool3d


class _FrozenConvolution(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, conv: nn.Conv3d) -> Tensor:
        ctx.conv, ctx.shape, ctx.dtype = conv, x.shape, x.dtype
        return F.conv3d(x, conv.weight, conv.bias, conv.stride, conv.padding, conv.dilation, conv.groups)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        conv = ctx.conv
        weight = conv.weight.to(gradient.dtype)  # of a lower precision under autocast
        left_over = [  # input voxels at the end that a stride of more than one leaves unseen
            before - ((after - 1) * stride - 2 * padding + dilation * (kernel - 1) + 1)
            for before, after, stride, padding, dilation, kernel in zip(
                ctx.shape[2:],
                gradient.shape[2:],
                conv.stride,
                conv.padding,
                conv.dilation,
                conv.kernel_size,
                strict=True,
            )
        ]
        adjoint = F.conv_transpose3d(
            gradient, weight, None, conv.stride, conv.padding, left_over, conv.groups, conv.dilation
        )
        return adjoint.to(ctx.dtype), None


class _FrozenConv3d(nn.Conv3d):
    def forward(self, x: Tensor) -> Tensor:
        return _FrozenConvolution.apply(x, self)  # type: ignore[no-untyped-call]


class _MaxPooling(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, pool: nn.MaxPool3d) -> Tensor:
        ctx.place = (pool.kernel_size, pool.stride, pool.padding, pool.dilation, pool.ceil_mode)
        ctx.shape, ctx.layout = x.shape, _memory_format(x)
        out, indices = F.max_pool3d(x, *ctx.place, return_indices=True)
        ctx.save_for_backward(indices)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        (indices,) = ctx.saved_tensors
        like_input = torch.empty(ctx.shape, dtype=gradient.dtype, device=gradient.device, memory_format=ctx.layout)
        sizes = (value if isinstance(value, tuple) else (value,) * 3 for value in ctx.place[:4])
        backward = torch.ops.aten.max_pool3d_with_indices_backward
        return backward(gradient, like_input, *sizes, ctx.place[4], indices), None


class _MaxPool3d(nn.MaxPool3d):
    def forward(self, x: Tensor) -> Tensor:
        return _MaxPooling.apply(x, self)  # type: ignore[no-untyped-call]


def _memory_format(x: Tensor) -> torch.memory_format:
    channels_last = x.is_contiguous(memory_format=torch.channels_last_3d) and not x.is_contiguous()
    return torch.channels_last_3d if channels_last else torch.contiguous_format
