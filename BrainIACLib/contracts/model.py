"""One model folder: its networks, where they come from, and under which license."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from BrainIACLib.contracts.head import HeadContract
from BrainIACLib.contracts.networks import EncoderContract, MaskContract
from BrainIACLib.errors import ModelError
from BrainIACLib.typed_json import ADDED_LATER

OWN_HEAD = "the user's own head"  # how the license of a head that its user trained begins
MODEL_FOLDER = "model folder"  # the layout of a source that needed no conversion
EMBEDDING_TASK = "embedding"  # of a model without a head


@dataclass(frozen=True)
class SourceContract:
    """The file that a model was converted from, and what was done to it (PROTOCOL 3.3)."""

    name: str  # of the file, as the person had it; no evidence of anything (U-06)
    sha256: str
    layout: str  # what it was recognized as, in words
    dropped_keys: tuple[str, ...]
    allowed_missing_keys: tuple[str, ...]
    terms_accepted: str  # UTC date and time


@dataclass(frozen=True)
class RunContract:
    """How a head was trained on a table of embeddings, so that the run can be repeated."""

    trained: str  # UTC date and time
    library: str  # version
    table_sha256: str  # of the embedding table
    target: str  # its column
    solver: str
    regularisation: float
    seed: int
    scans: int
    cases: int
    patients: int
    preset: str  # of preprocessing, "standard" or "official"; another one gives other embeddings


@dataclass(frozen=True)
class ModelContract:
    """One model folder (bundled, or in the user's store): an encoder, perhaps a head, and where they come from."""

    id: str
    title: str
    version: str
    licence: str
    citation: str
    training_data: str
    intended_use: str
    encoder: EncoderContract
    head: HeadContract | None  # None: an encoder for embeddings only
    unverified: tuple[str, ...] = ()  # known from documents only; shown with every result
    source: SourceContract | None = None  # of an imported model; its own claim, so never a reason to trust it
    encoder_model: str | None = field(
        default=None, metadata=ADDED_LATER
    )  # the installed model that holds the encoder; None: it lies here
    run: RunContract | None = field(default=None, metadata=ADDED_LATER)  # of a head that a person trained
    mask: MaskContract | None = field(default=None, metadata=ADDED_LATER)  # a decoder beside the encoder

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,99}", self.id):  # it becomes the name of a folder
            raise ModelError(f"id '{self.id[:100]}' must consist of a-z, 0-9, '.', '_' and '-'")
        if self.mask is not None and self.encoder.architecture != "vit_b":
            raise ModelError(
                f"mask.decoder '{self.mask.decoder}' does not fit an encoder of {self.encoder.architecture}"
            )

    def files(self) -> dict[str, str]:
        """The files that must lie beside the contract: name -> sha256."""
        files = {} if self.encoder_model else {self.encoder.weights: self.encoder.sha256}
        if self.head is not None:
            files[self.head.weights] = self.head.sha256
            if self.head.ood_stats is not None:
                files[self.head.ood_stats] = self.head.ood_sha256 or ""  # unsaid: no file fits
        if self.mask is not None:
            files[self.mask.weights] = self.mask.sha256
        return files
