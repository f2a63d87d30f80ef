"""What a model's numbers mean: frozen dataclasses read from the ``contract.json`` beside its weights.

Meaning comes from here, never from a file name or a constant in code (PROTOCOL 3.3). A wrong or missing field is an
error when the contract is read, not when something is predicted. ``Resources/Models/contract.schema.json`` is the
published JSON schema, made from these classes by ``json_schema``.
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import types
import typing
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from BrainIACLib.errors import ModelError
from BrainIACLib.foreign_text import printable
from BrainIACLib.ordinary_file import check_ordinary

SCHEMA_VERSION = 1
LONGEST_CONTRACT = 1_000_000  # bytes
ARCHITECTURES = ("resnet10", "resnet18", "resnet50", "vit_b", "anatomy_unet")
GENERATIONS = ("own", "v1", "v2", "medicalnet")
EMBEDDINGS = ("gap", "token0", "token_mean", "volumes")
EMBEDDINGS_OF = {"vit_b": ("token0", "token_mean"), "anatomy_unet": ("volumes",)}  # of the others: "gap"
DECODERS = ("unetr",)
RESIZE_MODES = ("area", "area-inside", "trilinear")
NORMALISATIONS = ("minmax", "nonzero-zscore")
AS_STORED = "as-stored"
OWN_HEAD = "the user's own head"  # how the license of a head that its user trained begins
MODEL_FOLDER = "model folder"  # the layout of a source that needed no conversion
EMBEDDING_TASK = "embedding"  # of a model without a head
# "cloglog": 1 - exp(-exp(output)) is the probability of the second label, a Cox head with its baseline at the end point
LINKS = ("softmax", "sigmoid", "cloglog", "identity")
TWO_CLASS_LINKS = ("sigmoid", "cloglog")
MISSING_POLICIES = ("refuse", "masked-mean")
# What one of the first unit is in the second: a contract that says otherwise is wrong (U-16).
CONVERSIONS = {("months", "years"): 1 / 12, ("years", "months"): 12.0}
# of a field that contracts written before it do not have; absent means null
ADDED_LATER = {"optional": True}


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
        _one_of("encoder.architecture", self.architecture, ARCHITECTURES)
        _one_of("encoder.generation", self.generation, GENERATIONS)
        _one_of("encoder.embedding", self.embedding, EMBEDDINGS)
        _one_of("encoder.resize_mode", self.resize_mode, RESIZE_MODES)
        _one_of("encoder.normalisation", self.normalisation, NORMALISATIONS)
        _one_of("encoder.skull_stripped", self.skull_stripped, ("required", "preferred", "no"))
        _within("encoder.width", self.width, 0.01, 8)
        _within("encoder.embedding_size", self.embedding_size, 1, 100_000)
        for size in self.input_size:
            _within("encoder.input_size", size, 16, 512)
        if self.clip_percentiles is not None:
            _rising("encoder.clip_percentiles", self.clip_percentiles)
            _within("encoder.clip_percentiles", self.clip_percentiles[0], 0, 100)
            _within("encoder.clip_percentiles", self.clip_percentiles[1], 0, 100)
        if self.orientation != AS_STORED and not re.fullmatch(
            "(?=.*[RL])(?=.*[AP])(?=.*[IS])[RLAPIS]{3}", self.orientation
        ):
            raise ModelError(f"encoder.orientation is '{self.orientation}', but must be like RAS, or {AS_STORED}")
        if self.embedding not in EMBEDDINGS_OF.get(self.architecture, ("gap",)):
            raise ModelError(f"encoder.embedding '{self.embedding}' does not exist for {self.architecture}")


@dataclass(frozen=True)
class HeadContract:
    """What a head's outputs mean: classes or unit, slots, range of validity, thresholds and calibration.

    A sigmoid or cloglog gives the probability of its second label. A regression's output times ``conversion`` is in
    ``display_unit``; outside ``plausible_range`` it is refused, outside ``training_range`` there is a warning.
    """

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
    polarity_verified: bool  # False: no class name is shown as a fact (C-06)
    weights: str
    sha256: str
    dropout: float = 0.2
    polarity_evidence: str | None = None
    display_unit: str | None = None
    conversion: float | None = None
    plausible_range: tuple[float, float] | None = None  # display unit
    training_range: tuple[float, float] | None = None  # display unit
    training_age_range: tuple[float, float] | None = None  # years
    training_sets: tuple[str, ...] = ()
    training_scans: int | None = None
    endpoint: str | None = None  # U-15
    threshold: float | None = None  # on the probability of the second label; None: 0.5
    threshold_source: str | None = None  # C-10
    conformal: float | None = None  # score quantile of a prediction set; of a regression, half the interval's width
    ood_stats: str | None = None  # file name of training-embedding statistics beside the contract
    metrics: tuple[str, ...] = ()  # validation numbers with their set, in words
    conformal_coverage: float | None = field(default=None, metadata=ADDED_LATER)  # asked for, as 0.9
    conformal_measured: float | None = field(
        default=None, metadata=ADDED_LATER
    )  # on cases that neither the head nor its quantile had seen
    ood_sha256: str | None = field(default=None, metadata=ADDED_LATER)

    def __post_init__(self) -> None:
        _one_of("head.link", self.link, LINKS)
        _one_of("head.missing_policy", self.missing_policy, MISSING_POLICIES)
        _one_of("head.head_type", self.head_type, ("linear", "mlp"))
        _within("head.outputs", self.outputs, 1, 10_000)
        if not self.slots or len(set(self.slots)) != len(self.slots):
            raise ModelError("head.slots must name at least one scan, each once")
        if self.link == "softmax" and (self.labels is None or len(self.labels) != self.outputs):
            raise ModelError(f"head.labels must name all {self.outputs} outputs of the softmax")
        if self.link in TWO_CLASS_LINKS and (self.outputs != 1 or self.labels is None or len(self.labels) != 2):
            raise ModelError(f"head.labels must be (negative, positive) and head.outputs 1 for a {self.link}")
        if self.labels is not None and len(set(self.labels)) != len(self.labels):
            raise ModelError("head.labels holds a name twice")
        if self.temperature is not None:
            _within("head.temperature", self.temperature, 1e-3, 1e3)
        for name in ("confidence_gate", "threshold", "conformal_coverage", "conformal_measured"):
            if getattr(self, name) is not None:
                _within(f"head.{name}", getattr(self, name), 0, 1)
        for name in ("plausible_range", "training_range", "training_age_range"):
            if getattr(self, name) is not None:
                _rising(f"head.{name}", getattr(self, name))
        if (self.conformal is None) != (self.conformal_coverage is None):
            raise ModelError("head.conformal and head.conformal_coverage belong together")
        if self.link == "identity":
            self._check_units()

    @property
    def display_labels(self) -> tuple[str, ...]:
        """How the classes are called in an answer: by number where it is not proven which is which (C-06)."""
        labels = self.labels or ()
        if self.polarity_verified:
            return labels
        return tuple(f"class {index} (documented as {label}; unverified)" for index, label in enumerate(labels))

    def _check_units(self) -> None:
        if self.outputs != 1 or not self.unit:
            raise ModelError("head.unit is missing: a regression without a unit has no meaning")
        if (self.display_unit is None) != (self.conversion is None):
            raise ModelError("head.display_unit and head.conversion belong together")
        known = 1.0 if self.display_unit == self.unit else CONVERSIONS.get((self.unit, self.display_unit or ""))
        if self.conversion is not None and (known is None or not math.isclose(self.conversion, known, rel_tol=1e-6)):
            raise ModelError(f"head.conversion {self.conversion} does not turn {self.unit} into {self.display_unit}")


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
        _one_of("mask.decoder", self.decoder, DECODERS)
        _within("mask.threshold", self.threshold, 0, 1)
        if len(self.slots) != 1:
            raise ModelError("mask.slots must name one scan")


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


def read_contract(folder: Path) -> ModelContract:
    """Read and check ``folder/contract.json``.

    Raises
    ------
    ModelError : no such file, not JSON, unknown schema version, or a field that is missing, unknown or of a wrong type.
    """
    path = Path(folder) / "contract.json"
    try:
        check_ordinary(path)
        with path.open("rb") as file:
            content = file.read(LONGEST_CONTRACT + 1)
        if len(content) > LONGEST_CONTRACT:
            raise ValueError("it is too long")
        document = json.loads(content.decode("utf-8"), parse_constant=_no_constant, object_pairs_hook=_no_repetition)
    except FileNotFoundError:
        raise ModelError(f"'{folder}' holds no model: contract.json is missing.") from None
    except (OSError, ValueError, RecursionError) as error:
        raise ModelError(f"'{path}' cannot be read as JSON ({error}); install the model again.") from None
    version = document.pop("schema_version", None) if isinstance(document, dict) else None
    if type(version) is not int or version != SCHEMA_VERSION:
        raise ModelError(f"'{path}' has another schema version than {SCHEMA_VERSION}; update BrainIAC or the model.")
    try:
        contract = _parse(ModelContract, document, "")
        for where, part in (("encoder", contract.encoder), ("head", contract.head), ("mask", contract.mask)):
            if part is not None:
                _check_file(f"{where}.weights", part.weights, f"{where}.sha256", part.sha256)
        if contract.head is not None and contract.head.ood_stats is not None:
            _check_file(
                "head.ood_stats",
                contract.head.ood_stats,
                "head.ood_sha256 (of ood_stats)",
                contract.head.ood_sha256 or "",
            )
    except ModelError as error:
        raise ModelError(f"'{path}' is not a valid contract: {error}") from None
    return contract


def contract_to_json(contract: ModelContract) -> str:
    """The text of ``contract.json``; ``read_contract`` gives back an equal object."""
    return json.dumps({"schema_version": SCHEMA_VERSION, **dataclasses.asdict(contract)}, indent=2) + "\n"


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``contract.json``; fields that were added later may be absent."""
    schema = _object_schema(ModelContract)
    schema["properties"] = {"schema_version": {"const": SCHEMA_VERSION}, **schema["properties"]}
    schema["required"] = ["schema_version", *schema["required"]]
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "BrainIAC model contract", **schema}


def _object_schema(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    properties = {name: _schema_of(hint) for name, hint in hints.items()}
    required = [name for name in hints if name not in _optional(cls)]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def _optional(cls: type) -> set[str]:
    return {each.name for each in dataclasses.fields(cls) if each.metadata.get("optional")}


JSON_TYPES: dict[object, str] = {str: "string", float: "number", int: "integer", bool: "boolean", type(None): "null"}


def _schema_of(hint: object) -> dict[str, Any]:
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _object_schema(hint)
    if isinstance(hint, types.UnionType):
        return {"anyOf": [_schema_of(option) for option in typing.get_args(hint)]}
    if typing.get_origin(hint) is tuple:
        first, *others = typing.get_args(hint)
        size = {} if others == [Ellipsis] else {"minItems": 1 + len(others), "maxItems": 1 + len(others)}
        return {"type": "array", "items": _schema_of(first), **size}
    return {"type": JSON_TYPES[hint]}


_Part = TypeVar("_Part")  # of a contract, or the whole


def _parse(cls: type[_Part], value: object, where: str) -> _Part:
    if not isinstance(value, dict):
        raise ModelError(f"{where or 'the contract'} must be a JSON object")
    hints = typing.get_type_hints(cls)
    unknown = sorted(set(value) - set(hints))
    missing = sorted(set(hints) - set(value) - _optional(cls))
    if unknown or missing:
        raise ModelError(f"{where or 'contract'}: missing fields {missing}, unknown fields {unknown}")
    present = {name: hint for name, hint in hints.items() if name in value}
    make: Callable[..., _Part] = cls
    return make(**{name: _convert(value[name], hint, f"{where}.{name}".lstrip(".")) for name, hint in present.items()})


def _convert(value: object, hint: object, where: str) -> object:
    options = typing.get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if type(None) in options:
        if value is None:
            return None
        (hint,) = (option for option in options if option is not type(None))
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return _parse(hint, value, where)
    if typing.get_origin(hint) is tuple:
        items = typing.get_args(hint)
        if not isinstance(value, list) or (Ellipsis not in items and len(value) != len(items)):
            raise ModelError(f"{where} must be a list" + ("" if Ellipsis in items else f" of {len(items)} entries"))
        kinds = [items[0]] * len(value) if Ellipsis in items else items
        return tuple(
            _convert(item, kind, f"{where}[{i}]") for i, (item, kind) in enumerate(zip(value, kinds, strict=True))
        )
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 1e300 else math.inf
    assert isinstance(hint, type)  # the contracts hold nothing else
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise ModelError(f"{where} must be of type {hint.__name__}, not {type(value).__name__}")
    if isinstance(value, float) and not math.isfinite(value):
        raise ModelError(f"{where} must be a finite number")
    if isinstance(value, str) and value != printable(value, keep=""):
        raise ModelError(f"{where} holds control characters, which could change what a terminal shows")
    return value


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _no_repetition(pairs: list[tuple[str, object]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field stands there twice")
    return dict(pairs)


def _one_of(where: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise ModelError(f"{where} is '{value}', but must be one of {', '.join(allowed)}")


def _within(where: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise ModelError(f"{where} is {value}, but must lie between {low} and {high}")


def _rising(where: str, bounds: tuple[float, float]) -> None:
    if not bounds[0] < bounds[1]:
        raise ModelError(f"{where} must rise, and {bounds[0]} to {bounds[1]} does not")


def _check_file(weights_field: str, weights: str, sha256_field: str, sha256: str) -> None:
    """Weights lie beside their contract: a path, or a name that is none, could reach another file."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.safetensors", weights):
        raise ModelError(f"{weights_field} must be the plain name of a .safetensors file beside the contract")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ModelError(f"{sha256_field} must be 64 hexadecimal digits")
