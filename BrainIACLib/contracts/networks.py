"""What goes into an encoder and a decoder, and what comes out."""

from __future__ import annotations

import re
from dataclasses import dataclass

from BrainIACLib.contracts.checks import one_of, rising, within
from BrainIACLib.errors import ModelError

ARCHITECTURES = ("resnet10", "resnet18", "resnet50", "vit_b", "swin_unetr", "anatomy_unet")
GENERATIONS = ("own", "v1", "v2", "medicalnet", "brainsegfounder")
EMBEDDINGS = ("gap", "token0", "token_mean", "volumes")
EMBEDDINGS_OF = {"vit_b": ("token0", "token_mean"), "anatomy_unet": ("volumes",)}  # of the others: "gap"
WITHOUT_RELU = ("vit_b", "swin_unetr")
DECODERS = ("unetr",)
RESIZE_MODES = ("area", "area-inside", "trilinear")
NORMALISATIONS = ("minmax", "nonzero-zscore")
AS_STORED = "as-stored"


@dataclass(frozen=True)
class EncoderContract:
    """How a standardized scan becomes the encoder's input, and what comes out.

    The image is brought into ``orientation``; ``resize_mode`` maps its whole grid onto ``input_size`` (U-10); then
    ``normalisation`` acts on the resized array, after clipping at ``clip_percentiles`` of its non-zero voxels if given.
    """

    architecture: str  # of ARCHITECTURES
    width: float  # factor on the channels of the architecture
    embedding: str  # "gap": global average pool (C-14); "token0": the corner patch (D-09); "token_mean"; "volumes"
    embedding_size: int
    input_size: tuple[int, int, int]
    resize_mode: str
    normalisation: str
    clip_percentiles: tuple[float, float] | None
    template: str  # what the training images were registered to
    skull_stripped: str  # "required", "preferred" or "no"
    weights: str  # file name beside the contract
    sha256: str
    generation: str = "own"
    orientation: str = "RAS"  # to which ends of the head the array's indices grow, or "as-stored"
    orientation_matters: bool = True  # False: trained with flips, so that the array order is a formality
    template_sha256: str | None = None
    bias_corrected: bool = True

    def __post_init__(self) -> None:
        one_of("encoder.architecture", self.architecture, ARCHITECTURES)
        one_of("encoder.generation", self.generation, GENERATIONS)
        one_of("encoder.embedding", self.embedding, EMBEDDINGS)
        one_of("encoder.resize_mode", self.resize_mode, RESIZE_MODES)
        one_of("encoder.normalisation", self.normalisation, NORMALISATIONS)
        one_of("encoder.skull_stripped", self.skull_stripped, ("required", "preferred", "no"))
        within("encoder.width", self.width, 0.01, 8)
        within("encoder.embedding_size", self.embedding_size, 1, 100_000)
        for size in self.input_size:
            within("encoder.input_size", size, 16, 512)
        if self.clip_percentiles is not None:
            rising("encoder.clip_percentiles", self.clip_percentiles)
            within("encoder.clip_percentiles", self.clip_percentiles[0], 0, 100)
            within("encoder.clip_percentiles", self.clip_percentiles[1], 0, 100)
        if self.orientation != AS_STORED and not re.fullmatch(
            "(?=.*[RL])(?=.*[AP])(?=.*[IS])[RLAPIS]{3}", self.orientation
        ):
            raise ModelError(f"encoder.orientation is '{self.orientation}', but must be like RAS, or {AS_STORED}")
        if self.embedding not in EMBEDDINGS_OF.get(self.architecture, ("gap",)):
            raise ModelError(f"encoder.embedding '{self.embedding}' does not exist for {self.architecture}")

    @property
    def guidable(self) -> bool:
        """Whether guided backpropagation applies: transformers have no ReLU, though a head on them may hold one."""
        return self.architecture not in WITHOUT_RELU


@dataclass(frozen=True)
class MaskContract:
    """A decoder that reads the encoder's hidden states and says of each voxel whether it belongs to a structure.

    It answers on the encoder's input grid; the sigmoid of its output above ``threshold`` is inside.
    """

    decoder: str  # of DECODERS
    label: str  # what is inside
    slots: tuple[str, ...]  # the scan that it was made for
    threshold: float
    valid_range: str  # in words
    weights: str
    sha256: str

    def __post_init__(self) -> None:
        one_of("mask.decoder", self.decoder, DECODERS)
        within("mask.threshold", self.threshold, 0, 1)
        if len(self.slots) != 1:
            raise ModelError("mask.slots must name one scan")
