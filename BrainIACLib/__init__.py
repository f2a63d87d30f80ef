"""BrainIAC's library: a brain MRI is standardized once and embedded once, and many heads read the embedding.

The names below are what most programs need; each is loaded when it is first used, so that importing this package is
cheap. Images are ``SimpleITK.Image`` in LPS millimeters. Research use only; not a medical device.
"""

from __future__ import annotations

import importlib
import typing

if typing.TYPE_CHECKING:
    from BrainIACLib.embeddings.embedding import embed
    from BrainIACLib.embeddings.files import read_table
    from BrainIACLib.errors import BrainIACError
    from BrainIACLib.head_training.training import train_head
    from BrainIACLib.job import Job
    from BrainIACLib.predictions import Prediction
    from BrainIACLib.predictor import Predictor
    from BrainIACLib.preprocessing.options import PreprocessingOptions
    from BrainIACLib.preprocessing.pipeline import standardise
    from BrainIACLib.scans import read_scan

__version__ = "0.1.0"
RESEARCH_USE_ONLY = "Research use only. Not a medical device; not for diagnosis or treatment decisions."

_HOMES = {
    "BrainIACError": "errors",
    "Job": "job",
    "Prediction": "predictions",
    "Predictor": "predictor",
    "PreprocessingOptions": "preprocessing.options",
    "embed": "embeddings.embedding",
    "read_scan": "scans",
    "read_table": "embeddings.files",
    "standardise": "preprocessing.pipeline",
    "train_head": "head_training.training",
}
__all__ = [
    "RESEARCH_USE_ONLY",
    "BrainIACError",
    "Job",
    "Prediction",
    "Predictor",
    "PreprocessingOptions",
    "embed",
    "read_scan",
    "read_table",
    "standardise",
    "train_head",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    found = getattr(importlib.import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = found
    return found


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
