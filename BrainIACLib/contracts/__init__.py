"""What a model's numbers mean: frozen dataclasses read from the ``contract.json`` beside its weights.

Meaning comes from here, never from a file name or a constant in code (PROTOCOL 3.3). A wrong or missing field is an
error when the contract is read, not when something is predicted. ``Resources/Models/contract.schema.json`` is the
published JSON schema, made from these classes by ``json_schema``.
"""

from BrainIACLib.contracts.file import SCHEMA_VERSION, contract_to_json, json_schema, read_contract
from BrainIACLib.contracts.head import TWO_CLASS_LINKS, HeadContract, StandingDoubt
from BrainIACLib.contracts.model import (
    EMBEDDING_TASK,
    MODEL_FOLDER,
    OWN_HEAD,
    ModelContract,
    RunContract,
    SourceContract,
)
from BrainIACLib.contracts.networks import ARCHITECTURES, AS_STORED, EncoderContract, MaskContract

__all__ = [
    "ARCHITECTURES",
    "AS_STORED",
    "EMBEDDING_TASK",
    "MODEL_FOLDER",
    "OWN_HEAD",
    "SCHEMA_VERSION",
    "TWO_CLASS_LINKS",
    "EncoderContract",
    "HeadContract",
    "MaskContract",
    "ModelContract",
    "RunContract",
    "SourceContract",
    "StandingDoubt",
    "contract_to_json",
    "json_schema",
    "read_contract",
]
