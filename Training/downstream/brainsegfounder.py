"""BrainSegFounder's file (Cox et al. 2024, arXiv 2406.10395) as a start of trainings, if somebody has it.

It is never downloaded and never shipped: the authors' page puts the weights under UK Biobank's material transfer
agreement. What a file must look like is known from the authors' code (github.com/lab-smile/BrainSegFounder) and from
others' reports; nobody here has run a file of theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from BrainIACLib.checkpoints.reading import read_checkpoint
from BrainIACLib.contracts import EncoderContract
from BrainIACLib.errors import ModelError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.models.encoders import empty_encoder
from BrainIACLib.models.swin import CHANNELS, HEADS, PATCH, relative_positions

ARCHITECTURE = "swin_unetr"
STEM = "patch_embed.proj.weight"  # (48 x width, scans at once, 2, 2, 2)
FIRST_BLOCK = "layers1.0.blocks.0.norm1.weight"
INDEX = ".relative_position_index"
PRETEXT = re.compile(r"(module\.)?(rotation_head|contrastive_head|conv)\.")  # heads of the pretraining
SEGMENTATION = re.compile(r"(module\.)?(encoder\d+|decoder\d+|out)\.")  # what Swin UNETR adds to the encoder
WANTED = "give the file of the first stage, UK Biobank, with one scan at a time (64-gpu-model_bestValRMSE.pt)"
TRAINING_DATA = "UK Biobank, brain MRI of some 41,000 persons (fields 20252 and 20253), as the authors say"


@dataclass(frozen=True)
class BrainSegFounder:
    """The encoder of a file: weights under our names, and how its input is made."""

    title: str
    contract: EncoderContract
    weights: dict[str, Tensor]


def read_brainsegfounder(path: Path) -> BrainSegFounder:
    """The encoder of the authors' file, tensors only.

    Raises
    ------
    ModelError : no such file, not theirs, of a later stage (other channels or depth), incomplete, or not finite.
    """
    checkpoint = read_checkpoint(path)
    shapes = checkpoint.shapes
    prefix = next((key.removesuffix(STEM) for key in shapes if re.fullmatch(rf"(.*\.)?{re.escape(STEM)}", key)), None)
    if prefix is None or prefix + FIRST_BLOCK not in shapes:
        raise ModelError(
            f"'{path.name}' holds no encoder of BrainSegFounder: expected keys that end in '{STEM}' and "
            f"'{FIRST_BLOCK}', found {len(shapes)} others, first '{next(iter(shapes))}'; {WANTED}."
        )
    width = _width(path.name, shapes[prefix + STEM])
    expected = {
        key: tuple(value.shape) for key, value in empty_encoder(ARCHITECTURE, width, "gap").state_dict().items()
    }
    _refuse_differences(path.name, expected, shapes, prefix)
    weights = {key: checkpoint.tensors[prefix + key] for key in expected}
    _refuse_bad_values(path.name, weights)
    decoder = sum(SEGMENTATION.match(key) is not None for key in shapes)
    left_out = f", {decoder} keys of its segmentation network left out" if decoder else ""
    contract = EncoderContract(
        architecture=ARCHITECTURE,
        width=width,
        embedding="gap",
        embedding_size=int(CHANNELS * width) * 2 ** len(HEADS),
        input_size=(96, 96, 96),
        resize_mode="trilinear",
        # As the authors tune this encoder. They pretrained on crops, of raw values between -1000 and 1000: those values
        # are no longer in a cache of standardized scans.
        normalisation="nonzero-zscore",
        clip_percentiles=None,
        template="MNI152",
        skull_stripped="required",
        weights=path.name,
        sha256=file_sha256(path),
        generation="brainsegfounder",
    )
    return BrainSegFounder(f"encoder of BrainSegFounder (Swin UNETR){left_out}", contract, weights)


def _width(name: str, stem: tuple[int, ...]) -> float:
    if len(stem) != 5 or stem[2:] != (PATCH,) * 3 or stem[0] % HEADS[0] or not 0 < stem[0] <= 8 * CHANNELS:
        raise ModelError(f"'{name}' has '{STEM}' of shape {stem}, not (48, 1, 2, 2, 2); {WANTED}.")
    if stem[1] != 1:
        raise ModelError(
            f"'{name}' takes {stem[1]} scans at once, as BrainSegFounder's other stages do, and this project embeds "
            f"one; {WANTED}."
        )
    return stem[0] / CHANNELS


def _refuse_differences(
    name: str, expected: dict[str, tuple[int, ...]], shapes: dict[str, tuple[int, ...]], prefix: str
) -> None:
    wrong = [
        f"{prefix}{key}: expected {shape}, found {shapes.get(prefix + key, 'nothing')}"
        for key, shape in expected.items()
        if shapes.get(prefix + key) != shape
    ]
    known = {prefix + key for key in expected}
    strangers = [key for key in shapes if key not in known and not (PRETEXT.match(key) or SEGMENTATION.match(key))]
    wrong += [f"{key}: expected nothing, found {shapes[key]}" for key in strangers]
    if wrong:
        more = f" ({len(wrong)} differences in all)" if len(wrong) > 3 else ""
        raise ModelError(
            f"'{name}' looks like a file of BrainSegFounder, but does not fit: {'; '.join(wrong[:3])}{more}; {WANTED}."
        )


def _refuse_bad_values(name: str, weights: dict[str, Tensor]) -> None:
    positions = relative_positions()
    for key, value in weights.items():
        if key.endswith(INDEX):
            if not torch.equal(value, positions):
                raise ModelError(f"'{name}' is damaged: '{key}' does not name the relative positions of a window.")
        elif not value.isfinite().all():
            raise ModelError(f"'{name}' is damaged: '{key}' holds values that are not finite.")
