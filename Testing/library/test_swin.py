"""The encoder of Swin UNETR against MONAI's, merged as in the MONAI that BrainSegFounder was trained with."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor, nn

from BrainIACLib.models.encoders import empty_encoder
from BrainIACLib.models.inference import prepare_for_inference
from BrainIACLib.models.swin import Swin


def merged_as_in_monai_1_2() -> type[nn.Module]:
    """Of MONAI 1.2's ``PatchMerging``, which is the default of its Swin UNETR: the eight parts that it joins."""
    from monai.networks.nets.swin_unetr import PatchMergingV2

    class Merging(PatchMergingV2):
        def forward(self, x: Tensor) -> Tensor:
            x = nn.functional.pad(x, (0, 0, 0, x.shape[3] % 2, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
            even, odd = slice(0, None, 2), slice(1, None, 2)
            parts = [x[:, even, even, even], x[:, odd, even, even], x[:, even, odd, even], x[:, even, even, odd]]
            parts += [x[:, odd, even, odd], parts[2], parts[3], x[:, odd, odd, odd]]
            return self.reduction(self.norm(torch.cat(parts, -1)))

    return Merging


def monai_swin(width: float, downsample: type[nn.Module] | str) -> nn.Module:
    """As ``SSLHead`` of the authors builds it."""
    from monai.networks.nets.swin_unetr import SwinTransformer

    return SwinTransformer(
        in_chans=1,
        embed_dim=int(48 * width),
        window_size=(7, 7, 7),
        patch_size=(2, 2, 2),
        depths=(2, 2, 2, 2),
        num_heads=(3, 6, 12, 24),
        downsample=downsample,
    )


def trained_like(net: nn.Module) -> nn.Module:
    """Every parameter away from its start, so that biases, norms and position tables count."""
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():
        for parameter in net.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
    return net.eval()


@pytest.mark.parametrize("size", [(48, 62, 40), (33, 38, 30), (16, 40, 64)], ids=str)
def test_is_monais_network_of_the_authors_time(size):
    """Shifted and padded windows, odd lengths, and axes that one window holds."""
    ours, theirs = trained_like(Swin(0.125)), monai_swin(0.125, merged_as_in_monai_1_2()).eval()
    assert list(ours.state_dict()) == list(theirs.state_dict())
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(2, 1, *size, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        found, expected = ours.last_map(x), theirs(x)[4]
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=2e-5)
        torch.testing.assert_close(ours(x), expected.mean((2, 3, 4)), rtol=1e-4, atol=2e-5)


def test_todays_monai_would_give_other_features():
    """It merges all eight neighbors: not what the published weights learned from."""
    ours, theirs = trained_like(Swin(0.125)), monai_swin(0.125, "merging").eval()
    theirs.load_state_dict(ours.state_dict(), strict=True)
    x = torch.randn(1, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        assert (ours.last_map(x) - theirs(x)[4]).abs().max() > 0.1


def test_at_full_width_it_has_126_keys_and_768_numbers():
    net = empty_encoder("swin_unetr", 1.0, "gap")
    assert len(net.state_dict()) == 126
    assert net.embedding_size == 768
    assert net.state_dict()["layers4.0.downsample.reduction.weight"].shape == (768, 3072)


def test_it_can_be_tuned_and_looked_into_and_its_fast_copy_is_the_same():
    net = trained_like(Swin(0.125))
    x = torch.rand(2, 1, 32, 32, 32, generator=torch.Generator().manual_seed(1), requires_grad=True)
    embedding = net(x)
    embedding[:, 0].sum().backward()
    assert x.grad.abs().sum() > 0
    assert all(parameter.grad is not None for parameter in net.parameters())
    with torch.inference_mode():
        fast = prepare_for_inference(copy.deepcopy(net))(x.detach())
    torch.testing.assert_close(fast, embedding.detach(), rtol=1e-4, atol=1e-5)
