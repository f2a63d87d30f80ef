"""Make a trained network fast to run without changing what it computes.

Four exact rewritings (equal up to rounding: within 1e-5 of the largest output, held by Testing/library/test_models.py
and measured by Testing/benchmarks/network.py): batch norms folded into the convolutions before them, the 7x7x7 stride-2
stem computed as 4x4x4 on a space-to-depth(2) input, weights laid out channels-last, and every parameter frozen.
"""

from __future__ import annotations

import copy
from itertools import pairwise

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from BrainIACLib.models.resnet import BasicBlock, Bottleneck, ResNet

# Modules that apply their children in the order of definition, so that a batch norm defined next to a convolution
# is also applied next to it.
APPLIED_IN_ORDER = (ResNet, BasicBlock, Bottleneck, nn.Sequential)


def prepare_for_inference(model: nn.Module, *, share_weights: bool = False) -> nn.Module:
    """A faster, frozen copy in evaluation mode; ``model`` itself is left as it is.

    Any module is accepted; what is not recognized (another architecture, a batch norm elsewhere) is copied unchanged.
    Preparing a prepared network gives the same network again. Works inside ``torch.inference_mode()`` too, and the
    copy can always be differentiated with respect to its input.

    Parameters
    ----------
    model : float32 network on any device; the copy stays on that device.
    share_weights : tensors that need no rewriting are those of ``model`` and take no second memory. For a copy that
        lives shorter than any change of the weights.
    """
    with torch.inference_mode(False), torch.no_grad():
        prepared = copy.deepcopy(model, _frozen_tensors(model, share_weights)).eval()
        for module in list(prepared.modules()):
            if isinstance(module, APPLIED_IN_ORDER):
                _fold_batch_norms(module)
            if isinstance(module, ResNet) and isinstance(module.conv1, nn.Conv3d):
                module.conv1 = SpaceToDepthStem(module.conv1)
        for module in prepared.modules():
            if isinstance(module, nn.Conv3d):
                module.weight = _frozen(module.weight.contiguous(memory_format=torch.channels_last_3d))
    return prepared.eval().requires_grad_(False)


class SpaceToDepthStem(nn.Module):
    """A 7x7x7, stride 2, padding 3 convolution of one channel: (B, 1, X, Y, Z) -> (B, C, ceil(X/2), ...).

    Output voxel i sees the input voxels 2i-3 ... 2i+3. With one zero tap in front these are the 2x2x2 cells
    i-2 ... i+1, so a 4x4x4 convolution of stride 1 over the eight voxels of each cell gives the same sums. A single
    input channel leaves vector units idle, eight do not: the gradient with respect to the input, the dearest step of a
    saliency map, takes a fifth of the time.
    """

    def __init__(self, conv: nn.Conv3d):
        super().__init__()
        channels = conv.out_channels
        with torch.device("meta"):
            self.conv = nn.Conv3d(8, channels, kernel_size=4, bias=conv.bias is not None)
        self.conv.weight = _frozen(taps_of_cells(conv.weight))
        self.conv.bias = conv.bias

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(cells(x))


def taps_of_cells(weight: Tensor) -> Tensor:
    """(C, 1, 7, 7, 7) weights of a stride 2, padding 3 convolution -> (C, 8, 4, 4, 4) weights for ``cells``."""
    channels = len(weight)
    taps = F.pad(weight, (1, 0) * 3).reshape(channels, 1, 4, 2, 4, 2, 4, 2)
    return taps.permute(0, 1, 3, 5, 7, 2, 4, 6).reshape(channels, 8, 4, 4, 4)


def cells(x: Tensor) -> Tensor:
    """(B, 1, X, Y, Z) -> (B, 8, ceil(X/2) + 3, ...): padded, each 2x2x2 cell one voxel of eight channels."""
    odd_z, odd_y, odd_x = (size % 2 for size in reversed(x.shape[2:]))
    x = F.pad(x, (4, 2 + odd_z, 4, 2 + odd_y, 4, 2 + odd_x))
    batch, _, size_x, size_y, size_z = x.shape
    folded = x.reshape(batch, size_x // 2, 2, size_y // 2, 2, size_z // 2, 2)
    folded = folded.permute(0, 1, 3, 5, 2, 4, 6).flatten(4)  # (B, X/2, Y/2, Z/2, 8): channels last in memory
    return folded.permute(0, 4, 1, 2, 3)


def _fold_batch_norms(module: nn.Module) -> None:
    for (conv_name, conv), (norm_name, norm) in pairwise(list(module.named_children())):
        if isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d):
            setattr(module, conv_name, fuse_conv_bn_eval(conv, norm))
            setattr(module, norm_name, nn.Identity())


def _frozen(tensor: Tensor) -> nn.Parameter:
    return nn.Parameter(tensor, requires_grad=False)


def _frozen_tensors(model: nn.Module, share: bool) -> dict[int, Tensor]:
    """What ``deepcopy`` puts in place of each tensor of the model, by id."""

    def replacement(tensor: Tensor) -> Tensor:
        # A tensor made in inference mode cannot take part in a backward pass; its clone can.
        return tensor.detach() if share and not tensor.is_inference() else tensor.detach().clone()

    parameters = {id(tensor): _frozen(replacement(tensor)) for tensor in model.parameters()}
    return parameters | {id(tensor): replacement(tensor) for tensor in model.buffers()}
