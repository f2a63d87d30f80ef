"""Write the bundled brain extraction: fp16 weights, what they mean, and the record of the training."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from pathlib import Path

from safetensors.torch import save_file

from BrainIACLib.models.unet import UNet
from BrainIACLib.preprocessing.brain_extraction.bundled import FILE, BrainExtractionContract
from Training.starter.brain_extraction.scenes import CLIP_MM, SPACING_MM
from Training.starter.brain_extraction.training import MM_PER_OUTPUT, Recipe

WEIGHTS = "unet.safetensors"
# On real heads the network stays inside the border it learned. This level has the best mean over four real scans and
# label maps of the training (the benchmark's ``--parts level``); the agreement of those four is no test of it.
BORDER_MM = -0.5


def export(net: UNet, folder: Path, recipe: Recipe, facts: dict) -> None:
    """Write ``unet.safetensors``, ``brain_extraction.json`` and ``training.json`` to ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    tensors = {name: tensor.half().contiguous() for name, tensor in net.state_dict().items()}
    save_file(tensors, folder / WEIGHTS)
    contract = BrainExtractionContract(
        id="brain-extraction",
        version="1.2",
        licence="Apache-2.0",
        training_data="synthetic heads from SynthSeg's training label maps (Apache-2.0); no scan of a person",
        widths=recipe.widths,
        spacing_mm=SPACING_MM,
        mm_per_output=MM_PER_OUTPUT,
        clip_mm=CLIP_MM,
        border_mm=BORDER_MM,
        weights=WEIGHTS,
        sha256=hashlib.sha256((folder / WEIGHTS).read_bytes()).hexdigest(),
    )
    (folder / FILE).write_text(json.dumps(dataclasses.asdict(contract), indent=2) + "\n", encoding="utf-8")
    record = {"recipe": dataclasses.asdict(recipe), **facts}
    (folder / "training.json").write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
