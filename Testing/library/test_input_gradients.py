"""Layers that keep little for the backward pass, against torch's own (U-13)."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import as_after_training
from torch import Tensor, nn

from BrainIACLib.models.inference import prepare_for_inference
from BrainIACLib.models.input_gradients import keep_little
from BrainIACLib.models.resnet import ResNet


def gradient(net: nn.Module, inputs: Tensor) -> Tensor:
    inputs = inputs.clone().requires_grad_()
    (found,) = torch.autograd.grad(net(inputs).square().sum(), inputs)
    return found


LAYERS = [
    nn.Conv3d(3, 5, 3, stride=2, padding=1),
    nn.Conv3d(4, 6, 1, bias=False),
    nn.Conv3d(4, 8, (3, 1, 2), stride=(1, 2, 3), padding=(1, 0, 2), dilation=(2, 1, 1), groups=2),
    nn.MaxPool3d(3, stride=2, padding=1),
    nn.MaxPool3d((2, 3, 1), stride=(2, 1, 3)),
]


@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last_3d])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_values_and_gradients_are_torchs(layer, layout):
    layer = layer.requires_grad_(False).double()
    inputs = torch.randn(2, getattr(layer, "in_channels", 3), 9, 8, 11, dtype=torch.float64).contiguous(
        memory_format=layout
    )
    ours = copy.deepcopy(layer)
    keep_little(ours)
    assert type(ours) is not type(layer)
    assert torch.equal(ours(inputs), layer(inputs))
    torch.testing.assert_close(gradient(ours, inputs), gradient(layer, inputs), rtol=1e-12, atol=1e-12)


def test_layers_that_need_their_input_are_left_alone():
    layers = [nn.Conv3d(1, 1, 3), nn.Conv3d(1, 1, 3, padding="same"), nn.MaxPool3d(2, return_indices=True)]
    layers[1].requires_grad_(False)
    layers.append(nn.Conv3d(1, 1, 3, padding=1, padding_mode="replicate").requires_grad_(False))
    kinds = [type(layer) for layer in layers]
    keep_little(nn.ModuleList(layers))
    assert [type(layer) for layer in layers] == kinds


def test_a_guided_pass_keeps_less_than_half(monkeypatch):
    from BrainIACLib import saliency

    def kept_bytes() -> int:
        storages = {}

        def pack(tensor: Tensor) -> Tensor:
            storages[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        net = prepare_for_inference(as_after_training(ResNet("resnet18", 0.25)))
        weights = {parameter.untyped_storage().data_ptr() for parameter in net.parameters()}
        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            inputs = torch.rand(1, 1, 32, 32, 32)
            saliency.guided_smoothgrad(net, inputs, lambda embedding: embedding[:, 0], samples=1)
        return sum(size for place, size in storages.items() if place not in weights)

    little = kept_bytes()
    monkeypatch.setattr(saliency, "keep_little", lambda net: None)
    assert 0 < little < 0.5 * kept_bytes()
