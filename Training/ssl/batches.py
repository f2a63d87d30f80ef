"""Which volumes a step sees: a function of (seed, step) alone, so a resumed run goes on exactly where it was.

Batches are read from the memory-mapped cache by one thread ahead of the training and laid into pinned memory: copying
32 volumes of 128^3 takes about as long as a memory copy of 67 MB, so no reader processes are needed.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from BrainIACLib.errors import TrainingError
from Training.data.cache import Cache

AHEAD = 4  # batches
_PARTNER_STREAM = 11  # so that one seed gives unrelated draws


class StepBatches:
    """All steps of a run, for one process: iterating yields (uint8 (B, 1, X, Y, Z), step) from ``start`` on.

    Every epoch is a new permutation of the rows; what does not fill a joined batch is left out of that epoch. With
    ``other_contrast`` the volumes are (2B, 1, X, Y, Z): those of the step, then one of the same anatomy for each.

    Parameters
    ----------
    rows : volumes of the cache to train on.
    batch_size : of this process; the joined batch of all ``processes`` is cut into consecutive parts.
    other_contrast : how often the second of a pair is another sequence of the same person and visit, where there is
        one; else it is the volume itself.
    """

    def __init__(
        self,
        cache: Cache,
        rows: Sequence[int],
        *,
        batch_size: int,
        epochs: int,
        seed: int,
        rank: int = 0,
        processes: int = 1,
        start: int = 0,
        other_contrast: float = 0.0,
    ):
        joined = batch_size * processes
        if len(rows) < joined:
            raise TrainingError(
                f"There are {len(rows)} volumes to train on, but one step takes {joined} ({processes} x {batch_size}); "
                "lower optimisation.batch_size or add scans."
            )
        if joined < 2:
            raise TrainingError("A contrastive loss needs at least 2 volumes a step; raise optimisation.batch_size.")
        self._cache, self._rows = cache, torch.as_tensor(rows)
        self._joined, self._seed, self.start = joined, seed, start
        self._part = slice(rank * batch_size, (rank + 1) * batch_size)
        self.steps_per_epoch = len(rows) // joined
        self._steps = self.steps_per_epoch * epochs
        self._other_contrast = other_contrast
        self._partners = _other_contrasts(cache, self._rows.tolist()) if other_contrast else {}

    def __len__(self) -> int:
        return self._steps

    def rows_of(self, step: int) -> Tensor:
        """The rows that this process sees at a step."""
        epoch, place = divmod(step, self.steps_per_epoch)
        order = torch.from_numpy(np.random.default_rng((self._seed, epoch)).permutation(len(self._rows)))
        return self._rows[order[place * self._joined : (place + 1) * self._joined][self._part]]

    def partners_of(self, step: int) -> Tensor:
        """For each of ``rows_of`` the row of the second of the pair: a function of seed and step too."""
        rng = np.random.default_rng((self._seed, step, _PARTNER_STREAM))
        draws = rng.random((self._joined, 2))[self._part]
        found = []
        for row, (whether, which) in zip(self.rows_of(step).tolist(), draws, strict=True):
            others = self._partners.get(row, [])
            swap = others and whether < self._other_contrast
            found.append(others[int(which * len(others))] if swap else row)
        return torch.tensor(found)

    def __iter__(self) -> Iterator[tuple[Tensor, int]]:
        with ThreadPoolExecutor(1) as reader:
            waiting = deque()
            for step in range(self.start, self._steps):
                waiting.append((reader.submit(self._read, step), step))
                if len(waiting) > AHEAD:
                    batch, ready = waiting.popleft()
                    yield batch.result(), ready
            for batch, ready in waiting:
                yield batch.result(), ready

    def _read(self, step: int) -> Tensor:
        rows = self.rows_of(step).tolist()
        if self._other_contrast:
            rows += self.partners_of(step).tolist()
        volumes = self._cache.batch(rows)
        return volumes.pin_memory() if torch.cuda.is_available() else volumes


def _other_contrasts(cache: Cache, rows: Sequence[int]) -> dict[int, list[int]]:
    """row -> the rows of the same person and visit with another sequence."""
    table = cache.table.iloc[list(rows)]
    visit = table["patient"].astype(str) + "\n" + (table["session"].astype(str) if "session" in table else "")
    found: dict[int, list[int]] = {}
    for _, group in table.groupby(visit, sort=True):
        for row, sequence in group["sequence"].items():
            found[int(row)] = [int(other) for other in group.index[group["sequence"] != sequence]]
    return found


def rows_to_train_on(cache: Cache) -> list[int]:
    """The rows with the role ``pretrain``; all rows where nobody has a role."""
    roles = cache.table["role"] if "role" in cache.table else None
    if roles is None or (roles == "").all():
        return list(range(len(cache)))
    rows = [row for row, role in enumerate(roles) if role == "pretrain"]
    if not rows:
        raise TrainingError(
            f"No volume of '{cache.folder}' has the role pretrain; set it in the manifest's column role."
        )
    return rows
