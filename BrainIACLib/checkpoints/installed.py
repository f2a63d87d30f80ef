"""Find and load installed models. No pickle: weights are safetensors, their sha256 stands in the contract."""

from __future__ import annotations

import hashlib
import typing
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.contracts import ModelContract, read_contract
from BrainIACLib.errors import ModelError
from BrainIACLib.resources import resource

if typing.TYPE_CHECKING:
    from BrainIACLib.models.heads import EncoderWithHead


@dataclass(frozen=True)
class InstalledModel:
    """A model that is present: its folder and what its contract says."""

    folder: Path
    contract: ModelContract


def installed_models(folder: Path | None = None) -> list[InstalledModel]:
    """The models in ``folder`` (default: the bundled ones), sorted by id."""
    root = resource("Models") if folder is None else Path(folder)
    folders = sorted(path.parent for path in root.glob("*/contract.json"))
    return [InstalledModel(folder, read_contract(folder)) for folder in folders]


def find_model(task: str, folder: Path | None = None) -> InstalledModel:
    """The installed model for ``task``. Raises ModelError with the known tasks when there is none."""
    models = installed_models(folder)
    for model in models:
        if model.contract.head.task == task:
            return model
    known = ", ".join(sorted({model.contract.head.task for model in models})) or "none"
    raise ModelError(f"No model for the task '{task}' is installed (installed tasks: {known}).")


def load_model(model: InstalledModel) -> "EncoderWithHead":
    """Encoder and head in evaluation mode, float32, on the CPU.

    Raises
    ------
    ModelError : weight file missing, changed since the contract was written (sha256), or of other keys or shapes.
    """
    from BrainIACLib.models.heads import EncoderWithHead, empty_head
    from BrainIACLib.models.resnet import empty_resnet

    encoder_contract, head_contract = model.contract.encoder, model.contract.head
    encoder = empty_resnet(encoder_contract.architecture, encoder_contract.width)
    head = empty_head(head_contract.head_type, encoder_contract.embedding_size, head_contract.outputs)
    for net, contract in ((encoder, encoder_contract), (head, head_contract)):
        tensors = _verified_tensors(model.folder / contract.weights, contract.sha256)
        _check_layout(net, tensors, model.folder / contract.weights)
        net.load_state_dict(tensors, strict=True, assign=True)
    return EncoderWithHead(encoder, head).eval().requires_grad_(False)


def _verified_tensors(path: Path, sha256: str) -> dict:
    import torch
    from safetensors.torch import load

    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(
            f"The weight file '{path}' cannot be read ({error.strerror}); install the model again."
        ) from None
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ModelError(
            f"The weight file '{path}' is damaged or was changed (sha256 differs); install the model again."
        )
    return {key: value.float() if value.dtype == torch.float16 else value for key, value in load(content).items()}


def _check_layout(net, tensors: dict, path: Path) -> None:
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    differing = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if differing:
        reasons = "; ".join(f"{key}: expected {expected.get(key)}, found {found.get(key)}" for key in differing[:3])
        raise ModelError(
            f"The weight file '{path}' does not fit its contract ({len(differing)} keys differ: {reasons})."
        )
