"""What a model's numbers mean: frozen dataclasses read from the ``contract.json`` beside its weights.

Meaning comes from here, never from a file name or a constant in code (PROTOCOL 3.3). A wrong or missing field is an
error when the contract is read, not when something is predicted.
"""

from __future__ import annotations

import dataclasses
import json
import types
import typing
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.errors import ModelError

SCHEMA_VERSION = 1
RESIZE_MODES = ("area", "trilinear")
NORMALISATIONS = ("minmax", "nonzero-zscore")
LINKS = ("softmax", "sigmoid", "identity")
MISSING_POLICIES = ("refuse", "masked-mean")


@dataclass(frozen=True)
class EncoderContract:
    """How a standardised scan becomes the encoder's input, and what comes out.

    ``input_size`` is (X, Y, Z) in RAS order; ``resize_mode`` maps the whole template grid onto it (U-10); then
    ``normalisation`` acts on the resized array, after clipping at ``clip_percentiles`` of its non-zero voxels if given.
    """

    architecture: str  # "resnet18" or "resnet50"
    width: float
    embedding: str  # "gap": global average pool of the last stage (C-14)
    embedding_size: int
    input_size: tuple[int, int, int]
    resize_mode: str
    normalisation: str
    clip_percentiles: tuple[float, float] | None
    template: str
    skull_stripped: str  # "required", "preferred" or "no"
    weights: str  # file name beside the contract
    sha256: str

    def __post_init__(self):
        _one_of("encoder.resize_mode", self.resize_mode, RESIZE_MODES)
        _one_of("encoder.normalisation", self.normalisation, NORMALISATIONS)
        _one_of("encoder.skull_stripped", self.skull_stripped, ("required", "preferred", "no"))


@dataclass(frozen=True)
class HeadContract:
    """What a head's outputs mean: classes or unit, slots, range of validity, thresholds and calibration."""

    task: str
    head_type: str  # "linear" or "mlp" (U-02)
    outputs: int
    link: str
    labels: tuple[str, ...] | None  # one per output of a softmax; (negative, positive) of a sigmoid
    unit: str | None
    slots: tuple[str, ...]  # names of the scans it takes; ("any",) for a single scan of any sequence
    missing_policy: str  # U-03
    temperature: float | None  # logits are divided by it (calibration)
    confidence_gate: float | None  # below it the answer is "uncertain"
    valid_range: str  # in words: for which scans and people the output was made
    polarity_verified: bool
    weights: str
    sha256: str

    def __post_init__(self):
        _one_of("head.link", self.link, LINKS)
        _one_of("head.missing_policy", self.missing_policy, MISSING_POLICIES)
        _one_of("head.head_type", self.head_type, ("linear", "mlp"))
        if self.link == "softmax" and (self.labels is None or len(self.labels) != self.outputs):
            raise ModelError(f"head.labels must name all {self.outputs} outputs of the softmax")
        if self.link == "identity" and not self.unit:
            raise ModelError("head.unit is missing: a regression without a unit has no meaning")


@dataclass(frozen=True)
class ModelContract:
    """One model folder (bundled, or in the user's store): an encoder, a head, and where they come from."""

    id: str
    title: str
    version: str
    licence: str
    citation: str
    training_data: str
    intended_use: str
    encoder: EncoderContract
    head: HeadContract


def read_contract(folder: Path) -> ModelContract:
    """Read and check ``folder/contract.json``.

    Raises
    ------
    ModelError : no such file, not JSON, unknown schema version, or a field that is missing, unknown or of a wrong type.
    """
    path = Path(folder) / "contract.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ModelError(f"'{folder}' holds no model: contract.json is missing.") from None
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise ModelError(f"'{path}' cannot be read as JSON ({error}); install the model again.") from None
    if not isinstance(document, dict) or document.pop("schema_version", None) != SCHEMA_VERSION:
        raise ModelError(f"'{path}' has another schema version than {SCHEMA_VERSION}; update BrainIAC or the model.")
    try:
        return _parse(ModelContract, document, "")
    except ModelError as error:
        raise ModelError(f"'{path}' is not a valid contract: {error}") from None


def contract_to_json(contract: ModelContract) -> str:
    """The text of ``contract.json``; ``read_contract`` gives back an equal object."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **dataclasses.asdict(contract)}, indent=2) + "\n"


def _parse(cls: type, value: object, where: str):
    if not isinstance(value, dict):
        raise ModelError(f"{where or 'the contract'} must be a JSON object")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(value) - set(hints))
    missing = sorted(set(hints) - set(value))
    if unknown or missing:
        raise ModelError(f"{where or 'contract'}: missing fields {missing}, unknown fields {unknown}")
    return cls(**{name: _convert(value[name], hint, f"{where}.{name}".lstrip(".")) for name, hint in hints.items()})


def _convert(value: object, hint: object, where: str):
    if dataclasses.is_dataclass(hint):
        return _parse(hint, value, where)
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in options:
        if value is None:
            return None
        (hint,) = (option for option in options if option is not type(None))
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        if not isinstance(value, list) or (Ellipsis not in items and len(value) != len(items)):
            raise ModelError(f"{where} must be a list" + ("" if Ellipsis in items else f" of {len(items)} entries"))
        kinds = [items[0]] * len(value) if Ellipsis in items else items
        return tuple(
            _convert(item, kind, f"{where}[{i}]") for i, (item, kind) in enumerate(zip(value, kinds, strict=True))
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ModelError(f"{where} must be of type {hint.__name__}, not {type(value).__name__}")
    return value


def _one_of(where: str, value: str, allowed: tuple[str, ...]):
    if value not in allowed:
        raise ModelError(f"{where} is '{value}', but must be one of {', '.join(allowed)}")
