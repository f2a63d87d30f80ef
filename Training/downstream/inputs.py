"""What a net is fed: volumes from the cache, or embeddings that were computed once (PROTOCOL P-18)."""

from __future__ import annotations

import math
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.errors import TrainingError
from BrainIACLib.models.inference import prepare_for_inference
from BrainIACLib.preprocessing.intensity import normalise, resize
from Training.data.cache import Cache
from Training.downstream.network import masked_mean
from Training.downstream.perturbations import Perturbation

SCANS_AT_ONCE = 32
VOXELS_AT_ONCE = 4_000_000  # of inputs, where that is less: a U-Net keeps a hundred numbers of each


class VolumeInputs:
    """Arguments of ``StudyNet`` for some studies, read from the cache and normalized as the encoder's contract says.

    A cache of finer volumes than the contract's is brought to its size as it says, so that encoders of several sizes
    share one; artifacts are made on the grid that the encoder sees.

    Parameters
    ----------
    volumes : (n, slots) rows of the cache, -1 where a study lacks a scan.
    perturb : applied to the values 0..1 at the encoder's size, before they are normalized (U-14).
    """

    def __init__(
        self,
        cache: Cache,
        volumes: np.ndarray,
        contract: EncoderContract,
        device: str = "cpu",
        perturb: Perturbation | None = None,
    ):
        wanted = tuple(contract.input_size)
        finer = all(there >= size for there, size in zip(cache.size, wanted, strict=True))
        if contract.architecture == "vit_b" and not finer:
            raise TrainingError(
                f"The encoder takes volumes of {contract.input_size} voxels only, but the cache '{cache.folder}' holds "
                f"{tuple(cache.size)}; prepare a cache of that size, or a finer one."
            )
        self._cache, self._volumes, self._contract = cache, volumes, contract
        self._device, self._perturb = device, perturb
        self._resize = wanted if finer and wanted != tuple(cache.size) else None

    def scans(self, rows: np.ndarray) -> Tensor:
        """Rows of the cache as the encoder's input, float32 (B, 1, X, Y, Z)."""
        if self._resize is not None:  # one by one: a batch at the resolution of the scanner takes gigabytes
            return torch.cat([self._made(self._cache.batch([row])) for row in rows])
        return self._made(self._cache.batch(rows))

    @property
    def at_once(self) -> int:
        """How many scans a frozen encoder is given at a time."""
        return min(SCANS_AT_ONCE, max(1, VOXELS_AT_ONCE // math.prod(self.size)))

    @property
    def size(self) -> tuple[int, int, int]:
        """Of what the encoder is given, in voxels."""
        return self._resize or tuple(self._cache.size)

    def shown(self, row: int) -> np.ndarray:
        """float32 (X, Y, Z) in 0..1, a volume of the cache at the encoder's size, without artifacts."""
        return self._resized(self._cache.batch([row]))[0, 0].cpu().numpy()

    def _made(self, stored: Tensor) -> Tensor:
        """uint8 volumes of the cache as inputs."""
        raw = self._resized(stored)
        return normalise(raw if self._perturb is None else self._perturb(raw), self._contract)

    def _resized(self, stored: Tensor) -> Tensor:
        raw = stored.to(self._device).float() / 255
        return raw if self._resize is None else resize(raw, self._resize, self._contract.resize_mode)

    def batch(self, studies: np.ndarray) -> tuple[Tensor, Tensor, int]:
        """Scans (N, 1, X, Y, Z), the study of each (N,), and the number of studies."""
        chosen = self._volumes[studies]
        present = chosen >= 0
        study = np.nonzero(present)[0]
        return self.scans(chosen[present]), torch.from_numpy(study).to(self._device), len(studies)


class EmbeddingInputs:
    """The argument of a head: embeddings of studies (n, D), scaled by mean and deviation of the training studies."""

    def __init__(self, embeddings: Tensor, train: np.ndarray):
        known = embeddings[torch.from_numpy(train)]
        self.mean = known.mean(0)
        deviation = known.std(0, correction=0)
        self.deviation = torch.where(deviation > 1e-8, deviation, torch.ones_like(deviation))
        self._scaled = (embeddings - self.mean) / self.deviation

    def batch(self, studies: np.ndarray) -> tuple[Tensor]:
        return (self._scaled[torch.from_numpy(studies)],)


@torch.inference_mode()
def embed_volumes(encoder: nn.Module, inputs: VolumeInputs, rows: np.ndarray, device: str = "cpu") -> np.ndarray:
    """float32 (len(rows), D) by the frozen encoder, in batches."""
    net = prepare_for_inference(encoder.to(device))
    return np.concatenate([net(inputs.scans(part)).float().cpu().numpy() for part in in_batches(rows, inputs.at_once)])


def pool_studies(embeddings: np.ndarray, volumes: np.ndarray) -> Tensor:
    """Embeddings of scans (rows of the cache) to those of studies, (n, D): the mean over present scans."""
    study, slot = np.nonzero(volumes >= 0)
    scans = torch.from_numpy(embeddings[volumes[study, slot]])
    return masked_mean(scans, torch.from_numpy(study), len(volumes))


def in_batches(rows: np.ndarray, size: int) -> Iterator[np.ndarray]:
    """Consecutive pieces."""
    for start in range(0, len(rows), size):
        yield rows[start : start + size]
