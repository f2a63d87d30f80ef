"""Checkpoint files of every official layout (PROTOCOL 3.1), from nets that MONAI builds, at random initialization.

``width`` 1 gives the released sizes; tests use narrow nets, since layout and arithmetic are the same.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from monai.networks.nets import UNETR, ViT, resnet50
from torch import Tensor, nn

from BrainIACLib.checkpoints.conversion_process import convert

NARROW = 0.125
CROSS_ATTENTION = "norm_cross_attn"  # built by MONAI since 1.4, absent from the released files


def monai_resnet50(width: float = NARROW, bias_downsample: bool = True) -> nn.Module:
    """(B, 1, X, Y, Z) -> (B, 2048 x width), as upstream builds it (U-01); ``bias_downsample=False`` for MedicalNet."""
    return resnet50(
        spatial_dims=3,
        n_input_channels=1,
        conv1_t_stride=2,
        feed_forward=False,
        shortcut_type="B",
        bias_downsample=bias_downsample,
        widen_factor=width,
    )


def monai_vit(width: float = NARROW) -> nn.Module:
    """(B, 1, 96, 96, 96) -> (tokens (B, 216, 768 x width), hidden states)."""
    hidden = int(768 * width)
    return ViT(1, (96, 96, 96), (16, 16, 16), hidden_size=hidden, mlp_dim=4 * hidden, save_attn=True)


def monai_unetr(width: float = NARROW) -> nn.Module:
    hidden = int(768 * width)
    return UNETR(1, 1, (96, 96, 96), feature_size=16, hidden_size=hidden, mlp_dim=4 * hidden)


@dataclass
class OfficialLike:
    """A file's content, and the MONAI nets that it was taken from."""

    content: dict
    encoder: nn.Module
    classifier: nn.Linear | None
    tasks: tuple[str, ...]

    @property
    def state(self) -> dict[str, Tensor]:
        return self.content.get("state_dict", self.content.get("model_state_dict", self.content))

    def embed(self, image: Tensor) -> Tensor:
        """What upstream's model makes of a normalized image: the pooled features, or token 0 (D-09)."""
        output = self.encoder.eval()(image)
        return output[0][:, 0] if isinstance(output, tuple) else output

    def outputs(self, image: Tensor) -> Tensor:
        return self.classifier(self.embed(image))


def _under(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + key: value for key, value in state.items() if CROSS_ATTENTION not in key}


def _fill(net: nn.Module) -> nn.Module:
    """Batch norms with numbers of their own that keep every layer alive: a fresh net's embedding is next to zero."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for norm in (module for module in net.modules() if isinstance(module, nn.BatchNorm3d)):
            for values, offset, scale in (
                (norm.weight, 0.5, 0.5),
                (norm.bias, 0.1, 0.3),
                (norm.running_mean, -0.1, 0.2),
                (norm.running_var, 0.3, 0.5),
            ):
                values.copy_(offset + scale * torch.rand(values.shape, generator=generator))
            norm.num_batches_tracked.fill_(7)
    return net


def _classifier(width: int, outputs: int) -> tuple[nn.Linear, dict[str, Tensor]]:
    classifier = nn.Linear(width, outputs)
    return classifier, {f"classifier.fc.{key}": value for key, value in classifier.state_dict().items()}


def v1_backbone(width: float = NARROW) -> OfficialLike:
    net = _fill(monai_resnet50(width))
    projector = {"projector.0.weight": torch.zeros(4, 4), "projector.2.weight": torch.zeros(4, 4)}
    state = {**_under("backbone.", net.state_dict()), **projector}
    content = {"epoch": 7, "state_dict": state, "optimizer_states": [{"state": {0: {"step": 3}}}]}
    return OfficialLike(content, net, None, ("embedding",))


def v1_task(outputs: int = 1, bilinear: bool = False, width: float = NARROW) -> OfficialLike:
    net = _fill(monai_resnet50(width))
    classifier, head = _classifier(int(2048 * width), outputs)
    state = {**_under("backbone.backbone.", net.state_dict()), **head}
    if bilinear:
        state |= {"bilinear_pooling.weight": torch.zeros(2, 2, 2), "bilinear_pooling.bias": torch.zeros(2)}
    tasks = ("idh", "survival") if bilinear else ("sequence",) if outputs == 4 else ("age", "mci", "stroke")
    return OfficialLike({"epoch": 3, "model_state_dict": state, "loss": 0.5}, net, classifier, tasks)


def hugging_face(width: float = NARROW) -> OfficialLike:
    net = _fill(monai_resnet50(width))
    return OfficialLike(_under("resnet.", net.state_dict()), net, None, ("embedding",))


def plain(width: float = NARROW) -> OfficialLike:
    net = _fill(monai_resnet50(width))
    return OfficialLike(_under("", net.state_dict()), net, None, ("embedding",))


def medicalnet(width: float = NARROW, counters: bool = True) -> OfficialLike:
    net = _fill(monai_resnet50(width, bias_downsample=False))
    state = _under("module.", net.state_dict())
    if not counters:
        state = {key: value for key, value in state.items() if not key.endswith("num_batches_tracked")}
    state |= {"module.conv_seg.0.weight": torch.zeros(3, 3), "module.conv_seg.0.bias": torch.zeros(3)}
    return OfficialLike({"state_dict": state}, net, None, ("embedding",))


def v2_backbone(width: float = NARROW, cross_attention: bool = False) -> OfficialLike:
    net = monai_vit(width)
    state = _under("backbone.", net.state_dict())
    if cross_attention:
        state = {f"backbone.{key}": value for key, value in net.state_dict().items()}
    state |= {f"projection_head.{layer}.weight": torch.zeros(2, 2) for layer in range(12)}
    return OfficialLike({"state_dict": state, "hyper_parameters": {"lr": 5e-4}}, net, None, ("embedding",))


def v2_task(outputs: int = 1, width: float = NARROW) -> OfficialLike:
    net = monai_vit(width)
    classifier, head = _classifier(int(768 * width), outputs)
    once = {**_under("backbone.backbone.", net.state_dict()), **head}
    state = {**once, **{f"model.{key}": value for key, value in once.items()}}
    tasks = ("sequence",) if outputs == 4 else ("age", "idh", "mci", "stroke", "survival")
    return OfficialLike({"state_dict": state}, net, classifier, tasks)


def v2_segmentation(width: float = NARROW) -> OfficialLike:
    net = monai_unetr(width)
    dead = monai_vit(width)
    state = {**_under("model.unetr.", net.state_dict()), **_under("model.vit.", dead.state_dict())}
    return OfficialLike({"state_dict": state}, net.vit, None, ("embedding",))


def _timm_name(key: str) -> str:
    """MONAI's name of a ViT's tensor as timm, and with it nidl, calls it."""
    for ours, theirs in (
        ("patch_embedding.position_embeddings", "pos_embed"),
        ("patch_embedding.patch_embeddings", "patch_embed.proj"),
        (".attn.out_proj", ".attn.proj"),
        (".mlp.linear", ".mlp.fc"),
    ):
        key = key.replace(ours, theirs)
    return key


class MeanOfPatches(nn.Module):
    """What nidl reads: the mean of the patches after the last norm, in the place of upstream's first patch."""

    def __init__(self, net: nn.Module):
        super().__init__()
        self.net = net

    def state_dict(self, *_, **__) -> dict[str, Tensor]:
        return self.net.state_dict()

    def forward(self, image: Tensor) -> Tensor:
        return self.net(image)[0].mean(dim=1)


def nidl(width: float = NARROW, encoder: str = "encoder.", projector: str = "projection_head.layers.") -> OfficialLike:
    """nidl-neurospin/brainiac-vit-b: ``SimCLR`` with a ``VisionTransformer3D`` of timm's blocks, and its projector."""
    net = monai_vit(width)
    state = {encoder + _timm_name(key): value for key, value in _under("", net.state_dict()).items()}
    state |= {f"{projector}{layer}.{kind}": torch.zeros(4, 4) for layer in (0, 2) for kind in ("weight", "bias")}
    return OfficialLike(state, MeanOfPatches(net), None, ("embedding",))


def port_backbone(width: float = NARROW) -> OfficialLike:
    """eugenehp/brainiac, backbone.safetensors: MONAI's names without a prefix and without the unused norms."""
    net = monai_vit(width)
    return OfficialLike(_under("", net.state_dict()), net, None, ("embedding",))


def port_task(outputs: int = 1, width: float = NARROW) -> OfficialLike:
    """The same port's full models (age, IDH, MCI, stroke): Lightning's names without their "model."."""
    net = monai_vit(width)
    classifier, head = _classifier(int(768 * width), outputs)
    state = {**_under("backbone.backbone.", net.state_dict()), **head}
    return OfficialLike(state, net, classifier, ("age", "idh", "mci", "stroke", "survival"))


def install(official: OfficialLike, task: str, store: Path) -> str:
    """Put a model into a store as an import does, but in this process, which is faster. Returns its id."""
    with tempfile.TemporaryDirectory(dir=store) as folder:
        path = Path(folder) / f"{task}.pt"
        torch.save(official.content, path)
        out = Path(folder) / "out"
        out.mkdir()
        model_id = convert(path, task, "2026-01-01T00:00:00+00:00", out)
        out.rename(store / model_id)
    return model_id


LAYOUTS = {
    "v1 backbone": v1_backbone,
    "v1 one-scan task": lambda width=NARROW: v1_task(width=width),
    "v1 sequence": lambda width=NARROW: v1_task(4, width=width),
    "v1 several-scan task": lambda width=NARROW: v1_task(bilinear=True, width=width),
    "v1 Hugging Face": hugging_face,
    "v1 plain": plain,
    "MedicalNet": medicalnet,
    "v2 backbone": v2_backbone,
    "v2 task": lambda width=NARROW: v2_task(width=width),
    "v2 sequence": lambda width=NARROW: v2_task(4, width),
    "v2 segmentation": v2_segmentation,
    "v2 nidl": nidl,
    "v2 nidl by its older names": lambda width=NARROW: nidl(width, "f.", "g."),
    "v2 port's backbone": port_backbone,
    "v2 port's task": port_task,
}
