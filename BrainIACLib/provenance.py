"""What reproduces a number: model, inputs, versions, device, seed, and every step of the preprocessing."""

from __future__ import annotations

import dataclasses
import platform
from collections.abc import Mapping
from importlib import metadata
from typing import Any

import numpy as np
import SimpleITK as sitk

import BrainIACLib
from BrainIACLib.contracts import EncoderContract, ModelContract
from BrainIACLib.prepared_study import PreparedStudy
from BrainIACLib.preprocessing.intensity import image_on_model_grid


def provenance(
    model: ModelContract, study: PreparedStudy, slots: Mapping[str, str], device: str, seconds: float
) -> dict[str, Any]:
    """Of one answer. ``slots``: slot -> scan of the study; ``seconds``: that the head took."""
    encoder = study.as_seen_by(model.encoder)
    steps = [
        {"scan": name, **dataclasses.asdict(step)}
        for name in slots.values()
        for step in study.standardised[name].record
    ]
    return {
        "model": _identity(model),
        "inputs": {
            slot: {
                "format": study.scans[name].format,
                "sha256": study.scans[name].sha256,
                "model_voxel_mm": _model_voxel(study.standardised[name].image, encoder),
            }
            for slot, name in slots.items()
        },
        "versions": versions(),
        "device": device,
        "seed": study.options.seed,
        "preset": study.options.preset,
        "orientation": encoder.orientation,
        "preprocessing": steps,
        "head_seconds": seconds,
    }


def versions() -> dict[str, str]:
    """Versions of everything that can change a number."""
    packages = {name: metadata.version(name) for name in ("torch", "numpy", "SimpleITK")}
    return {"BrainIACLib": BrainIACLib.__version__, "python": platform.python_version(), **packages}


def _identity(contract: ModelContract) -> dict[str, str | None]:
    return {
        "id": contract.id,
        "version": contract.version,
        "licence": contract.licence,
        "encoder_sha256": contract.encoder.sha256,
        "head_sha256": contract.head.sha256 if contract.head is not None else None,
    }


def _model_voxel(image: sitk.Image, contract: EncoderContract) -> list[float]:
    """The size in mm of the voxels that the network sees (U-11)."""
    return image_on_model_grid(np.zeros(contract.input_size), image, contract.orientation).GetSpacing()
