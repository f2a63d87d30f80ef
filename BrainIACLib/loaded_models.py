"""The networks and statistics of installed models, each read from its file once."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from pathlib import Path

from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.trust.novelty import Novelty, read_novelty

if typing.TYPE_CHECKING:
    import torch

    from BrainIACLib.models.heads import EncoderWithHead


class LoadedModels:
    """Kept warm on one device. ``folders``: of installed models, where an encoder may lie beside its head's folder."""

    def __init__(self, device: str, folders: Path | Sequence[Path] | None):
        self._device, self._folders = device, folders
        self._nets: dict[tuple[tuple[str, str, float, str], str], EncoderWithHead] = {}
        self._encoders: dict[tuple[str, str, float, str], torch.nn.Module] = {}  # by weights and what they are read as
        self._novelties: dict[str, Novelty] = {}

    def net(self, model: InstalledModel) -> "EncoderWithHead":
        """Encoder and head; models whose encoders are the same file share one net of it."""
        contract, head = model.contract.encoder, model.contract.head
        same = (contract.sha256, contract.architecture, contract.width, contract.embedding)
        key = (same, head.sha256 if head else "")  # two models may claim one id
        if key not in self._nets:
            net = load_model(model, self._folders, self._encoders.get(same)).to(self._device)
            self._encoders[same], self._nets[key] = net.encoder, net
        return self._nets[key]

    def novelty(self, model: InstalledModel, size: int) -> Novelty | None:
        """The statistics of the training embeddings (of ``size`` numbers); None if the head has none."""
        head = model.contract.head
        if head is None or head.ood_stats is None:
            return None
        sha256 = head.ood_sha256 or ""
        if sha256 not in self._novelties:
            self._novelties[sha256] = read_novelty(model.folder / head.ood_stats, sha256, size)
        return self._novelties[sha256]
