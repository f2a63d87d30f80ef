"""Samples on disk: one ``.npz`` per shard of consecutive indices, written whole or not at all, readable at once.

Generation may run ahead of, or beside, training; which shards a training step may use depends on the step alone, so
the order of events on a busy machine changes nothing.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from BrainIACLib.publishing import replacing
from Training.starter.samples import Sample


def shard_path(folder: Path, seed: int, shard: int) -> Path:
    """Where a shard's volumes lie; its labels lie beside them as ``.labels.npy``."""
    return Path(folder) / f"seed{seed}_{shard:04d}.npy"


def write_shards(
    folder: Path, seed: int, shards: range, heads: int, draw: Callable[[int], list[Sample]], names: tuple[str, ...]
) -> None:
    """Draw and write the shards that are not there yet.

    Parameters
    ----------
    heads : indices in a shard.
    draw : the samples of an index, whose labels are among ``names``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for shard in shards:
        path = shard_path(folder, seed, shard)
        if path.is_file():
            continue
        samples = [sample for index in range(shard * heads, (shard + 1) * heads) for sample in draw(index)]
        np.save(path.with_suffix(".labels.npy"), np.array([names.index(sample.label) for sample in samples]))
        np.save(path.with_suffix(".sureness.npy"), np.array([sample.sureness for sample in samples], np.float32))
        np.save(path.with_suffix(".details.npy"), np.array([sample.detail for sample in samples]))
        with replacing(path, ".npy") as partial:
            np.save(partial, torch.stack([sample.volume for sample in samples]).numpy())


class ShardReader:
    """The samples of the first shards of one seed; waits for those that are still being written.

    Parameters
    ----------
    names : of the labels.
    check : called while waiting; raises when nobody writes any more.
    """

    def __init__(self, folder: Path, seed: int, names: tuple[str, ...], check: Callable[[], None]):
        self._folder, self._seed, self._check = Path(folder), seed, check
        self._volumes: list[np.ndarray] = []
        self._sureness: list[np.ndarray] = []
        self._places: list[list[tuple[int, int]]] = [[] for _ in names]

    def grow(self, shards: int) -> None:
        """Make at least ``shards`` shards readable."""
        while len(self._volumes) < shards:
            path = self._path(len(self._volumes))
            while not path.is_file():
                self._check()
                time.sleep(1)
            self._volumes.append(np.load(path, mmap_mode="r"))
            self._sureness.append(np.load(path.with_suffix(".sureness.npy")))
            for row, label in enumerate(np.load(path.with_suffix(".labels.npy"))):
                self._places[label].append((len(self._volumes) - 1, row))

    def draw(
        self, count: int, shares: tuple[float, ...], rng: np.random.Generator
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """``count`` samples with labels in the given ``shares``, of those that there are: uint8 (count, 1, X, Y, Z),
        int64 (count,) and float32 (count,), the labels' sureness."""
        there = np.array([share if places else 0.0 for share, places in zip(shares, self._places, strict=True)])
        labels = rng.choice(len(there), count, p=there / there.sum())
        chosen = [self._places[label][int(rng.integers(len(self._places[label])))] for label in labels]
        volumes = np.stack([self._volumes[shard][row] for shard, row in chosen])
        sureness = np.array([self._sureness[shard][row] for shard, row in chosen], np.float32)
        return torch.from_numpy(volumes)[:, None], torch.from_numpy(labels), torch.from_numpy(sureness)

    def all(self) -> tuple[torch.Tensor, torch.Tensor, list[str], torch.Tensor]:
        """Everything readable: volumes, labels, what each sample is, and the labels' sureness."""
        volumes = np.concatenate(self._volumes)
        paths = [self._path(shard) for shard in range(len(self._volumes))]
        labels = np.concatenate([np.load(path.with_suffix(".labels.npy")) for path in paths])
        details = np.concatenate([np.load(path.with_suffix(".details.npy")) for path in paths])
        sureness = torch.from_numpy(np.concatenate(self._sureness))
        return torch.from_numpy(volumes)[:, None], torch.from_numpy(labels), details.tolist(), sureness

    def _path(self, shard: int) -> Path:
        return shard_path(self._folder, self._seed, shard)
