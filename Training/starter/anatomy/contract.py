"""How the anatomy network's input is made; training and inference share it."""

from __future__ import annotations

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.models.anatomy import EMBEDDING_NAMES
from Training.starter.anatomy.heads import SIZE

TEMPLATE = "icbm152_2009a_sym_t1_brain"


def anatomy_encoder_contract(sha256: str = "0" * 64, width: float = 1.0) -> EncoderContract:
    """The contract of the encoder with these weights."""
    return EncoderContract(
        architecture="anatomy_unet",
        width=width,
        embedding="volumes",
        embedding_size=len(EMBEDDING_NAMES),
        input_size=SIZE,
        resize_mode="area-inside",
        normalisation="nonzero-zscore",
        clip_percentiles=(0.5, 99.5),
        template=TEMPLATE,
        skull_stripped="preferred",
        weights="encoder.safetensors",
        sha256=sha256,
    )
