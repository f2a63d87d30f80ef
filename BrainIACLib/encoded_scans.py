"""What encoders say of the scans of a study, each asked once."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Collection
from typing import Any

from BrainIACLib.checkpoints.installed import InstalledModel
from BrainIACLib.contracts import EncoderContract
from BrainIACLib.loaded_models import LoadedModels
from BrainIACLib.prepared_study import PreparedStudy
from BrainIACLib.preprocessing.intensity import model_input

if typing.TYPE_CHECKING:
    import torch

Key = tuple[str, EncoderContract]  # the name of a scan, and everything that a contract says but where its weights lie


class EncodedScans:
    """Embeddings of the scans of ``study``, and the shares of voxels of one of them, on ``device``."""

    def __init__(self, study: PreparedStudy, models: LoadedModels, device: str):
        self._study, self._models, self._device = study, models, device
        self._embeddings: dict[Key, torch.Tensor] = {}
        self._shares: tuple[Key, torch.Tensor] | None = None  # of the last scan that was measured

    def only(self, kept: Collection[str]) -> "EncodedScans":
        """What is known of these scans, for a study in which they stay as they are."""
        found = EncodedScans(self._study, self._models, self._device)
        found._embeddings = {key: embedding for key, embedding in self._embeddings.items() if key[0] in kept}
        found._shares = self._shares if self._shares is not None and self._shares[0][0] in kept else None
        return found

    def embedding(self, model: InstalledModel, scan: str) -> "torch.Tensor":
        """(1, embedding_size)."""
        import torch

        key = _key(model, scan)
        if key not in self._embeddings:
            with torch.inference_mode():
                if model.contract.encoder.embedding == "volumes":
                    from BrainIACLib.models.anatomy import embedding_of

                    self._embeddings[key] = embedding_of(self.shares(model, scan))
                else:
                    self._embeddings[key] = self._models.net(model).encoder(self._input(model, scan))
        return self._embeddings[key]

    def shares(self, model: InstalledModel, scan: str) -> "torch.Tensor":
        """(1, structures, X, Y, Z), what an anatomy network says of each voxel: kept of one scan, since it is large."""
        import torch

        key = _key(model, scan)
        if self._shares is None or self._shares[0] != key:
            encoder: Any = self._models.net(model).encoder  # an AnatomyEncoder
            self._shares = None  # two at once would take twice the memory
            with torch.inference_mode():
                self._shares = key, encoder.shares(self._input(model, scan))
        return self._shares[1]

    def _input(self, model: InstalledModel, scan: str) -> "torch.Tensor":
        encoder = self._study.as_seen_by(model.contract.encoder)
        return model_input(self._study.standardised[scan].image, encoder).to(self._device)


def _key(model: InstalledModel, scan: str) -> Key:
    """Two contracts of the same weights may feed them another orientation, size or scale."""
    return scan, dataclasses.replace(model.contract.encoder, weights="")
