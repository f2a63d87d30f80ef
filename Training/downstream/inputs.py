"""What a net is fed: volumes from the cache, or embeddings that were computed once (PROTOCOL P-18)."""

from __future__ import annotations

import math
from collections import OrderedDict
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
BYTES_KEPT = 2**29  # of resized volumes


class ResizedVolumes:
    """Volumes of a cache at the sizes that encoders take, float32 (1, 1, X, Y, Z) in 0..1 on the CPU.

    To resize a volume from 1 mm costs more than a small encoder does, and a sweep or a training asks for each many
    times: those asked for last are kept, up to ``most`` bytes.
    """

    def __init__(self, cache: Cache, most: int = BYTES_KEPT):
        self._cache, self._most = cache, most
        self._kept: OrderedDict[tuple, Tensor] = OrderedDict()
        self._bytes = 0

    def at(self, row: int, size: tuple[int, int, int], mode: str) -> Tensor:
        """A volume by its row of the cache, resized as ``BrainIACLib.preprocessing.intensity.resize``."""
        key = (int(row), size, mode)
        found = self._kept.pop(key, None)
        if found is None:
            found = resize(self._cache.batch([row]).float() / 255, size, mode)
            self._bytes += found.nbytes
        self._kept[key] = found
        while self._bytes > self._most and len(self._kept) > 1:
            self._bytes -= self._kept.popitem(last=False)[1].nbytes
        return found


class VolumeInputs:
    """Arguments of ``StudyNet`` for some studies, read from the cache and normalized as the encoder's contract says.

    A cache of finer volumes than the contract's is brought to its size as it says, so that encoders of several sizes
    share one; artifacts are made on the grid that the encoder sees.

    Parameters
    ----------
    volumes : (n, slots) rows of the cache, -1 where a study lacks a scan.
    perturb : applied to the values 0..1 at the encoder's size, before they are normalized (U-14).
    resized : where resized volumes are taken from; shared by all that read one cache.
    """

    def __init__(
        self,
        cache: Cache,
        volumes: np.ndarray,
        contract: EncoderContract,
        device: str = "cpu",
        perturb: Perturbation | None = None,
        resized: ResizedVolumes | None = None,
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
        self._resized = resized or ResizedVolumes(cache)

    def scans(self, rows: np.ndarray) -> Tensor:
        """Rows of the cache as the encoder's input, float32 (B, 1, X, Y, Z)."""
        raw = self._raw(rows)
        return normalise(raw if self._perturb is None else self._perturb(raw), self._contract)

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
        return self._raw(np.array([row]))[0, 0].cpu().numpy()

    def _raw(self, rows: np.ndarray) -> Tensor:
        """float32 (B, 1, X, Y, Z) in 0..1 at the encoder's size."""
        if self._resize is None:
            return self._cache.batch(rows).to(self._device).float() / 255
        mode = self._contract.resize_mode  # one by one: a batch at the resolution of the scanner takes gigabytes
        return torch.cat([self._resized.at(row, self._resize, mode) for row in rows]).to(self._device)

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
