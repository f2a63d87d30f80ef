"""One scan of a manifest to one uint8 volume of a cache, by the library's own preprocessing (P-05 to P-08, U-10)."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.preprocessing.intensity import model_input, ras_array
from BrainIACLib.preprocessing.official_preset import take_as_stored
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.scans import read_scan
from Training.data.cache import quantise

STEPS = ("standard", "stored")
NO_NETWORK = {
    **{"architecture": "resnet50", "width": 1.0, "embedding": "gap", "embedding_size": 2048},
    **{"weights": "encoder.safetensors", "sha256": "0" * 64},
}
"""Of a contract of which the fields of the input alone matter."""


@dataclass(frozen=True)
class Standardising:
    """How scans become volumes; kept in the cache, and from there in the contract of every encoder trained on it.

    ``steps`` is "standard" (N4, brain extraction, registration, resampling) or "stored" for scans that went through
    such a pipeline before. Area resize of the whole template grid, then min-max, is v1's input (U-10).
    """

    size: tuple[int, int, int] = (128, 128, 128)
    steps: str = "standard"
    brain_extraction: str = "auto"
    clip_percentiles: tuple[float, float] | None = None
    seed: int = 0

    def encoder_contract(self, **encoder: object) -> EncoderContract:
        """The contract of an encoder that takes these volumes; ``encoder`` holds what only the encoder knows."""
        stored = self.steps == "stored"
        return EncoderContract(
            input_size=self.size,
            resize_mode="area",
            normalisation="minmax",
            clip_percentiles=self.clip_percentiles,
            template="as the scans were stored" if stored else icbm152().name,
            template_sha256=None if stored else icbm152().sha256,
            skull_stripped="required" if self.brain_extraction != "none" else "no",
            orientation="RAS",
            **encoder,
        )


def standardising_of(preprocessing: Mapping[str, object]) -> Standardising:
    """Back from the plain values that a cache keeps. Raises KeyError or TypeError if they are others."""
    values = {field.name: preprocessing[field.name] for field in dataclasses.fields(Standardising)}
    clip = values["clip_percentiles"]
    return Standardising(
        **{**values, "size": tuple(values["size"]), "clip_percentiles": tuple(clip) if clip is not None else None}
    )


def standardised_volume(path: Path, how: Standardising) -> tuple[np.ndarray, dict]:
    """uint8 (X, Y, Z) of one scan, and its ``image_sha256``, ``source_sha256`` and ``warnings``.

    Raises
    ------
    ScanError, PreprocessingError, CacheError : the scan cannot be used.
    """
    scan = read_scan(path)
    if how.steps == "stored":
        standardised = take_as_stored(scan.image)
    else:
        options = PreprocessingOptions(brain_extraction=how.brain_extraction, seed=how.seed)
        standardised = standardise(scan.image, options)
    volume = model_input(standardised.image, how.encoder_contract(**NO_NETWORK))[0, 0].numpy()
    warnings = (*scan.warnings, *standardised.warnings)
    return quantise(volume, f"'{path}'"), image_facts(ras_array(scan.image), scan.sha256, warnings)


def image_facts(voxels: np.ndarray, source_sha256: str, warnings: Sequence[str]) -> dict:
    """What a cache's table says of a scan: hashes of its ``voxels`` (X, Y, Z) and file, and what was said of it."""
    return {
        "image_sha256": hashlib.sha256(voxels.tobytes()).hexdigest(),
        "source_sha256": source_sha256,
        "warnings": " ".join(warnings),
    }
