"""Prepared scans on their way through the encoder, several at a time where that is quicker."""

from __future__ import annotations

import typing
from collections.abc import Callable, Sequence

import numpy as np

from BrainIACLib.errors import ModelError, is_for_the_caller

if typing.TYPE_CHECKING:
    import torch

Encode = Callable[[Sequence["torch.Tensor"]], np.ndarray]
AT_ONCE = 8  # volumes: 57 MB of ViT-B's, 67 MB of ResNet50's


def at_once(device: str) -> int:
    """How many volumes go through an encoder together: on a CPU one, where more bring nothing (see
    docs/benchmarks/embedding.md)."""
    return 1 if device == "cpu" else AT_ONCE


class EncoderBatches:
    """At most ``size`` scans wait here, each as the encoder's input and nothing else.

    Parameters
    ----------
    encode : (1, 1, X, Y, Z) each -> (scans, size of the embedding) float32.
    device : that it runs on, as ``Predictor.device``.
    """

    def __init__(self, encode: Encode, device: str):
        self.size = at_once(device)
        self._encode, self._device = encode, device
        self._waiting: dict[typing.Hashable, torch.Tensor] = {}

    def __contains__(self, key: typing.Hashable) -> bool:
        return key in self._waiting

    @property
    def is_full(self) -> bool:
        """Whether it is time for ``embedded``."""
        return len(self._waiting) >= self.size

    def add(self, key: typing.Hashable, volume: "torch.Tensor") -> None:
        """Let a scan wait; ``key`` is what ``embedded`` calls it."""
        self._waiting[key] = volume

    def embedded(self) -> dict[typing.Any, np.ndarray | Exception]:
        """key -> the embedding of each scan that waited, or why it has none. A batch that fails is halved until the
        scan that it fails of stands alone. Where all scans of a batch get through in parts, it was too large, whatever
        the error said (cuDNN and cuBLAS have words of their own for a full memory): later ones stay as small."""
        waiting, self._waiting = list(self._waiting.items()), {}
        found: dict[typing.Any, np.ndarray | Exception] = {}
        if waiting:
            self._go_through(waiting, found)
        return found

    def _go_through(
        self, part: list[tuple[typing.Hashable, "torch.Tensor"]], found: dict[typing.Any, np.ndarray | Exception]
    ) -> bool:
        """Whether the encoder took every scan of ``part``, at once or in halves."""
        try:
            vectors = self._encode([volume for _, volume in part])
        except Exception as error:
            if len(part) == 1:
                found[part[0][0]] = error.with_traceback(None)  # whose frames hold volumes
                return False
            is_full = is_for_the_caller(error, self._device)
        else:
            for (key, _), vector in zip(part, vectors, strict=True):
                is_number = bool(np.isfinite(vector).all())
                found[key] = vector if is_number else ModelError("The encoder gives no numbers for this scan.")
            return True
        half = (len(part) + 1) // 2  # only here, where the error lets go of the memory of its frames
        taken = [self._go_through(some, found) for some in (part[:half], part[half:])]
        if is_full or all(taken):
            self.size = min(self.size, half)
        return all(taken)
