"""The encoders and heads against MONAI's networks, and the fast copies against the plain ones (P-09, U-01, U-02)."""

from __future__ import annotations

import copy

import pytest
import torch
from networks import as_after_training
from torch import Tensor, nn

from BrainIACLib.contracts import ARCHITECTURES
from BrainIACLib.models.encoders import empty_encoder
from BrainIACLib.models.heads import HEADS, EncoderWithHead, LinearHead, MlpHead, empty_head
from BrainIACLib.models.inference import SpaceToDepthStem, prepare_for_inference
from BrainIACLib.models.resnet import STAGE_BLOCKS, ResNet


def monai_encoder(name: str) -> nn.Module:
    from monai.networks import nets

    with torch.device("meta"):
        return getattr(nets, name)(
            spatial_dims=3,
            n_input_channels=1,
            conv1_t_stride=2,
            shortcut_type="B",
            bias_downsample=True,
            feed_forward=False,
        )


def volume(*size: int, batch: int = 1) -> Tensor:
    return torch.rand(batch, 1, *size, generator=torch.Generator().manual_seed(1))


def assert_same_output(found: Tensor, expected: Tensor, tolerance: float = 1e-5) -> None:
    assert expected.abs().max() > 0
    assert (found - expected).abs().max() <= tolerance * expected.abs().max()


@pytest.mark.parametrize("name", STAGE_BLOCKS)
def test_is_monais_network(name):
    ours, theirs = as_after_training(ResNet(name)), monai_encoder(name)
    layout = {key: tuple(value.shape) for key, value in ours.state_dict().items()}
    assert layout == {key: tuple(value.shape) for key, value in theirs.state_dict().items()}
    theirs.load_state_dict(ours.state_dict(), strict=True, assign=True)
    inputs = volume(40, 33, 37, batch=2)
    stages = ("conv1", "bn1", "layer1", "layer2", "layer3", "layer4")
    kept = [outputs_of(net, stages) for net in (ours, theirs.eval())]
    with torch.no_grad():
        embedding = ours(inputs)
        # MONAI pools with AdaptiveAvgPool3d, ours with a mean: the same sums in another order.
        assert_same_output(embedding, theirs(inputs), 1e-6)
    for stage in stages:
        assert torch.equal(kept[0][stage], kept[1][stage]), stage
    assert embedding.shape == (2, ours.embedding_size)


def outputs_of(net: nn.Module, stages: tuple[str, ...]) -> dict[str, Tensor]:
    """Filled by the next pass through the network."""
    kept: dict[str, Tensor] = {}
    for stage in stages:
        net.get_submodule(stage).register_forward_hook(
            lambda _module, _inputs, output, stage=stage: kept.update({stage: output.clone()})
        )
    return kept


def test_resnet50_has_the_papers_size():
    """U-01: 46,158,912 parameters, 322 keys, embedding of 2048 (C-14), 17 ReLU modules (2.3.1)."""
    net = empty_encoder("resnet50", 1.0, "gap")
    assert sum(parameter.numel() for parameter in net.parameters()) == 46_158_912
    assert len(net.state_dict()) == 322
    assert net.embedding_size == 2048
    assert sum(isinstance(module, nn.ReLU) for module in net.modules()) == 17
    biased = [key for key in net.state_dict() if key.endswith("downsample.0.bias")]
    assert len(biased) == 4


@pytest.mark.parametrize("width", [0.25, 0.5])
def test_width_scales_the_channels(width):
    net = ResNet("resnet18", width)
    assert net.embedding_size == 512 * width
    assert net(volume(33, 32, 40)).shape == (1, net.embedding_size)


def test_an_unknown_network_is_refused():
    with pytest.raises(ValueError, match=r"resnet34.*resnet50"):
        ResNet("resnet34")


def test_the_contract_knows_every_architecture():
    assert set(ARCHITECTURES) == {*STAGE_BLOCKS, "vit_b", "swin_unetr", "anatomy_unet"}


def test_heads_have_the_released_keys_and_shapes():
    """U-02: ``linear`` as in the released checkpoints (``classifier.fc.*``), ``mlp`` as in the paper."""
    linear, mlp = LinearHead(2048, 4), MlpHead(2048, 4)
    assert {key: tuple(value.shape) for key, value in linear.state_dict().items()} == {
        "fc.weight": (4, 2048),
        "fc.bias": (4,),
    }
    assert {key: tuple(value.shape) for key, value in mlp.state_dict().items()} == {
        "hidden.weight": (2048, 2048),
        "hidden.bias": (2048,),
        "fc.weight": (4, 2048),
        "fc.bias": (4,),
    }


def test_heads_compute_what_they_say():
    torch.manual_seed(0)
    embedding = torch.randn(3, 16)
    linear, mlp = LinearHead(16, 2).eval(), MlpHead(16, 2).eval()
    assert torch.allclose(linear(embedding), embedding @ linear.fc.weight.T + linear.fc.bias, atol=1e-6)
    hidden = (embedding @ mlp.hidden.weight.T + mlp.hidden.bias).clamp(min=0)
    assert torch.allclose(mlp(embedding), hidden @ mlp.fc.weight.T + mlp.fc.bias, atol=1e-6)
    whole = EncoderWithHead(as_after_training(ResNet("resnet10", 0.125)), MlpHead(64, 5)).eval()
    inputs = volume(32, 32, 32)
    assert torch.equal(whole(inputs), whole.head(whole.encoder(inputs)))


@pytest.mark.parametrize("head_type", HEADS)
def test_empty_nets_take_weights_without_initialising(head_type):
    torch.manual_seed(0)
    full = EncoderWithHead(as_after_training(ResNet("resnet18", 0.125)), HEADS[head_type](64, 3)).eval()
    empty = EncoderWithHead(empty_encoder("resnet18", 0.125, "gap"), empty_head(head_type, 64, 3))
    assert all(tensor.is_meta for tensor in empty.state_dict().values())
    empty.load_state_dict(full.state_dict(), strict=True, assign=True)
    inputs = volume(32, 32, 32)
    with torch.no_grad():
        assert torch.equal(empty.eval()(inputs), full(inputs))


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [(16, 16, 16), (17, 14, 11), (7, 8, 9)])
def test_the_stem_on_cells_is_the_7x7x7_convolution(size, bias):
    torch.manual_seed(0)
    conv = nn.Conv3d(1, 5, 7, stride=2, padding=3, bias=bias).double()
    inputs = volume(*size, batch=2).double().requires_grad_()
    expected, found = conv(inputs), SpaceToDepthStem(conv)(inputs)
    assert found.shape == expected.shape
    assert torch.allclose(found, expected, atol=1e-12)
    weighting = torch.randn_like(expected)
    gradients = (torch.autograd.grad((output * weighting).sum(), inputs)[0] for output in (found, expected))
    assert torch.allclose(*gradients, atol=1e-12)


@pytest.mark.parametrize("share_weights", [False, True])
@pytest.mark.parametrize("name", STAGE_BLOCKS)
def test_prepared_network_gives_the_same_output(name, share_weights):
    torch.manual_seed(0)
    encoder = as_after_training(ResNet(name, 0.25))
    model = EncoderWithHead(encoder, MlpHead(encoder.embedding_size, 4)).eval()
    prepared = prepare_for_inference(model, share_weights=share_weights)
    again = prepare_for_inference(prepared, share_weights=share_weights)
    for inputs in (volume(48, 40, 33), volume(32, 32, 32, batch=2)):
        with torch.no_grad():
            assert_same_output(prepared(inputs), model(inputs))
            assert torch.equal(again(inputs), prepared(inputs))
    assert not any(isinstance(module, nn.BatchNorm3d) for module in prepared.modules())
    assert not any(parameter.requires_grad for parameter in prepared.parameters())
    assert not any(module.training for module in prepared.modules())


@pytest.mark.parametrize("share_weights", [False, True])
def test_preparing_leaves_the_network_as_it_is(share_weights):
    model = as_after_training(ResNet("resnet18", 0.125)).train()
    before = copy.deepcopy(model)
    strides = {key: value.stride() for key, value in model.state_dict().items()}
    prepare_for_inference(model, share_weights=share_weights)
    assert all(module.training for module in model.modules())
    assert all(parameter.requires_grad for parameter in model.parameters())
    assert {key: value.stride() for key, value in model.state_dict().items()} == strides
    assert all(torch.equal(value, before.state_dict()[key]) for key, value in model.state_dict().items())
    assert [type(module) for module in model.modules()] == [type(module) for module in before.modules()]


def test_prepared_copy_is_independent_unless_weights_are_shared():
    torch.manual_seed(0)
    model = EncoderWithHead(as_after_training(ResNet("resnet10", 0.125)), LinearHead(64, 2)).eval()
    copied, sharing = (prepare_for_inference(model, share_weights=share) for share in (False, True))
    inputs = volume(32, 32, 32)
    with torch.no_grad():
        expected = model(inputs)
        for parameter in model.parameters():
            parameter.zero_()
        assert_same_output(copied(inputs), expected)
        assert sharing.head.fc.weight.data_ptr() == model.head.fc.weight.data_ptr()


def test_prepared_in_inference_mode_can_be_differentiated():
    """The predictor loads and runs networks inside ``torch.inference_mode()``; saliency comes later."""
    with torch.inference_mode():
        model = as_after_training(ResNet("resnet10", 0.125))
        prepared = prepare_for_inference(model)
    inputs = volume(32, 32, 32).requires_grad_()
    prepared(inputs).sum().backward()
    assert inputs.grad.abs().max() > 0


def test_networks_of_other_kinds_are_copied_and_frozen():
    torch.manual_seed(0)
    conv, norm = nn.Conv3d(4, 4, 3, padding=1), nn.BatchNorm3d(4)
    # One norm and one convolution used twice, and a norm that follows no convolution.
    net = nn.Sequential(nn.Conv3d(1, 4, 3), norm, nn.GELU(), conv, norm, conv, nn.ReLU(), nn.BatchNorm3d(4))
    as_after_training(net)
    prepared = prepare_for_inference(net)
    inputs = volume(9, 10, 11)
    with torch.no_grad():
        assert_same_output(prepared(inputs), net(inputs))
    assert not any(parameter.requires_grad for parameter in prepared.parameters())
