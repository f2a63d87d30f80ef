"""What an embedding depends on besides the image and the encoder's weights, as one hash."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from importlib import metadata
from pathlib import Path

import SimpleITK as sitk

import BrainIACLib
from BrainIACLib.contracts import EncoderContract
from BrainIACLib.preprocessing.brain_extraction import network_version
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.scans import image_identity

LIBRARY = Path(BrainIACLib.__file__).parent
ROOMS = ("scans", "preprocessing", "models")  # the code between a file and its embedding


def preprocessing_sha256(
    options: PreprocessingOptions,
    encoder: EncoderContract,
    mask: sitk.Image | None = None,
) -> str:
    """Of everything that can change the encoder's input for a given image.

    That is what was asked for, the template, the encoder's input format, the versions of the packages that compute, the
    network that extracts the brain, and the code itself, so that no update can leave a stale row.
    """
    recipe = {
        "options": dataclasses.asdict(options),
        "mask": None if mask is None else image_identity(mask),
        "encoder": {k: v for k, v in dataclasses.asdict(encoder).items() if k not in ("weights", "sha256")},
        "template": icbm152().sha256,
        "versions": {name: metadata.version(name) for name in ("SimpleITK", "torch", "numpy")},
        "brain_extraction": network_version(options.brain_extraction),
        "code": _code_sha256(),
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True).encode()).hexdigest()


def _code_sha256() -> str:
    digest = hashlib.sha256()
    for path in sorted(path for room in ROOMS for path in (LIBRARY / room).rglob("*.py")):
        digest.update(path.read_bytes().replace(b"\r\n", b"\n"))
    return digest.hexdigest()
