"""``contract.json``: read with every check, written, and its published schema."""

from __future__ import annotations

import dataclasses
import json
import re
from pathlib import Path
from typing import Any, NoReturn

from BrainIACLib.contracts.model import ModelContract
from BrainIACLib.errors import ModelError, RequestError
from BrainIACLib.foreign_text import printable
from BrainIACLib.ordinary_file import check_ordinary
from BrainIACLib.typed_json import ADDED_LATER, decoded, schema_of

SCHEMA_VERSION = 1
LONGEST_CONTRACT = 1_000_000  # bytes


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
        _check_texts("the contract", document)
        contract = decoded(ModelContract, document, "The contract", whole=True)
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
    except (ModelError, RequestError, RecursionError) as error:
        raise ModelError(f"'{path}' is not a valid contract: {error}") from None
    return contract


def contract_to_json(contract: ModelContract) -> str:
    """The text of ``contract.json``; ``read_contract`` gives back an equal object.

    What was added later and is not said is left out: an earlier reader refuses fields that it does not know.
    """
    return json.dumps({"schema_version": SCHEMA_VERSION, **_said(contract)}, indent=2) + "\n"


def json_schema() -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of ``contract.json``; fields that were added later may be absent."""
    schema = schema_of(ModelContract, "BrainIAC model contract")
    schema["properties"] = {"schema_version": {"const": SCHEMA_VERSION}, **schema["properties"]}
    schema["required"] = ["schema_version", *schema["required"]]
    return schema


def _check_texts(where: str, value: object) -> None:
    """Raises ModelError for a text that could change what a terminal shows."""
    if isinstance(value, str) and value != printable(value, keep=""):
        raise ModelError(f"{where} holds control characters, which could change what a terminal shows")
    if isinstance(value, dict):
        for name, part in value.items():
            _check_texts(f"{where}, field {name!r}", part)
    if isinstance(value, list):
        for part in value:
            _check_texts(where, part)


def _said(part: Any) -> dict[str, Any]:
    found = {}
    for field in dataclasses.fields(part):
        value = getattr(part, field.name)
        if value is not None or field.metadata != ADDED_LATER:
            found[field.name] = _said(value) if dataclasses.is_dataclass(value) else value
    return found


def _no_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def _no_repetition(pairs: list[tuple[str, object]]) -> dict[str, Any]:
    if len(dict(pairs)) != len(pairs):
        raise ValueError("a field stands there twice")
    return dict(pairs)


def _check_file(weights_field: str, weights: str, sha256_field: str, sha256: str) -> None:
    """Weights lie beside their contract: a path, or a name that is none, could reach another file."""
    if not re.fullmatch(r"[A-Za-z0-9_-][A-Za-z0-9._-]*\.safetensors", weights):
        raise ModelError(f"{weights_field} must be the plain name of a .safetensors file beside the contract")
    if not re.fullmatch("[0-9a-f]{64}", sha256):
        raise ModelError(f"{sha256_field} must be 64 hexadecimal digits")
