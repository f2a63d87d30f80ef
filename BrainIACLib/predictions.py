"""What a predictor answers: a prediction with its meaning, and where the model looked."""

from __future__ import annotations

import dataclasses
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from BrainIACLib import RESEARCH_USE_ONLY
from BrainIACLib.contracts import EncoderContract
from BrainIACLib.trust.findings import Trust
from BrainIACLib.trust.words import probability

if typing.TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Prediction:
    """One answer with its meaning.

    A class comes with ``confidence`` and ``probabilities`` (calibrated by the contract's temperature), a measurement
    with ``value`` in ``unit``; ``label`` says either in words. ``trust`` holds what the head's contract allows to say,
    and what was examined on request.
    """

    task: str
    scans: Mapping[str, str]  # slot -> name of the scan
    label: str
    confidence: float | None
    probabilities: Mapping[str, float]
    warnings: tuple[str, ...]
    valid_range: str
    provenance: Mapping[str, Any]
    value: float | None = None
    unit: str | None = None
    trust: Trust = dataclasses.field(default_factory=Trust)
    notice: str = RESEARCH_USE_ONLY

    @property
    def headline(self) -> str:
        """The answer in one line."""
        return self.label if self.confidence is None else f"{self.label}, probability {probability(self.confidence)}"

    def to_json(self) -> dict[str, Any]:
        """Plain dictionaries, lists, strings and numbers, for ``json.dumps``."""
        return {**dataclasses.asdict(self), "trust": self.trust.to_json(), "headline": self.headline}


@dataclass(frozen=True)
class StudyView:
    """The scans of a study as a model takes them, to be changed and asked again."""

    encoder: EncoderContract
    images: Sequence[sitk.Image]  # standardized, one a slot
    unit: str | None  # of the number; None: a probability
    numbers: Callable[[Sequence["torch.Tensor"], str], list[float]]
    """(inputs (B, 1, X, Y, Z), one a slot; label) -> B times the probability of the label, or the value."""


@dataclass(frozen=True)
class NetworkSaliency:
    """``heat``, ``inputs``: (X, Y, Z) on the network's grid; ``heat`` is 0 where nothing of the patient is."""

    heat: np.ndarray
    inputs: np.ndarray
    share_outside: float
    parameters: Mapping[str, object]


@dataclass(frozen=True)
class Explanation:
    """Where the model looked: a map on the native grid of the scan, scaled to a maximum of 1, and how it was made."""

    map: sitk.Image
    parameters: Mapping[str, object]
