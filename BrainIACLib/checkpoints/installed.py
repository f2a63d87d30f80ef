"""Find and load installed models. No pickle: weights are safetensors, their sha256 stands in the contract."""

from __future__ import annotations

import typing
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from BrainIACLib.checkpoints.official_files import import_command, where_to_get
from BrainIACLib.checkpoints.store import is_bundled, model_folders
from BrainIACLib.contracts import EMBEDDING_TASK, EncoderContract, HeadContract, ModelContract, read_contract
from BrainIACLib.errors import ModelError
from BrainIACLib.file_hash import check_unchanged, read_unchanged

if typing.TYPE_CHECKING:
    from torch import nn

    from BrainIACLib.models.heads import EncoderWithHead
    from BrainIACLib.models.unetr import Unetr
    from BrainIACLib.models.vit import ViT

Folders = Path | Sequence[Path] | None


@dataclass(frozen=True)
class InstalledModel:
    """A model that is present: its folder and what its contract says."""

    folder: Path
    contract: ModelContract

    @property
    def task(self) -> str:
        return self.contract.head.task if self.contract.head else EMBEDDING_TASK

    @property
    def head(self) -> HeadContract:
        """Of a model that answers a question. ModelError: it only embeds scans."""
        if self.contract.head is None:
            raise ModelError(f"The model '{self.contract.id}' has no head: it embeds scans and answers no question.")
        return self.contract.head

    @property
    def bundled(self) -> bool:
        """Whether it came with BrainIAC. Its place says so; what a contract says of itself is a stranger's claim."""
        return is_bundled(self.folder)

    @property
    def trained_here(self) -> bool:
        """Whether it is a head of this person's own: trained, and not imported."""
        return self.contract.run is not None and self.contract.source is None


class SeveralModels(ModelError):
    """The choice among the models of a task, called ``ids``, is not clear."""

    def __init__(self, task: str, ids: Sequence[str]):
        super().__init__(
            f"Several models for the task '{task}' are installed; choose one: {', '.join(ids)}.", "--model ID"
        )
        self.ids = tuple(ids)


def installed_models(folders: Folders = None) -> list[InstalledModel]:
    """The models in ``folders`` (default: bundled, then the user's), by folder and id; damaged ones are left out."""
    return models_and_problems(folders)[0]


def models_and_problems(folders: Folders = None) -> tuple[list[InstalledModel], dict[Path, ModelError]]:
    """The models in ``folders``, and why others that lie there cannot be used."""
    models, problems = [], {}
    roots = model_folders() if folders is None else [folders] if isinstance(folders, Path) else folders
    for root in roots:
        for folder in sorted(path.parent for path in Path(root).glob("*/contract.json")):
            if folder.name.startswith("."):  # an import or a removal under way
                continue
            try:
                models.append(InstalledModel(folder, read_contract(folder)))
            except ModelError as error:
                problems[folder] = error
    return models, problems


def find_model(task: str, folders: Folders = None, model_id: str | None = None) -> InstalledModel:
    """The installed model for ``task``, or the one with that id.

    A bundled model is preferred, so that an import never changes an answer silently; among several imported ones the
    person must choose by id.

    Raises
    ------
    ModelError : there is none (the message says where to get one and how to import it), or the choice is not clear.
    """
    models, problems = models_and_problems(folders)
    fitting = [model for model in models if model.task == task]
    if model_id is not None:
        named = [model for model in fitting if model.contract.id == model_id]
        if not named:
            ids = ", ".join(model.contract.id for model in fitting) or "none"
            raise ModelError(f"No model '{model_id}' for the task '{task}' is installed (installed for it: {ids}).")
        return named[0]
    bundled = [model for model in fitting if model.bundled]
    if bundled or len(fitting) == 1:
        return (bundled or fitting)[0]
    if fitting:
        raise SeveralModels(task, sorted(model.contract.id for model in fitting))
    known = ", ".join(sorted({model.task for model in models})) or "none"
    damaged = "".join(f" {error}" for error in problems.values())
    source = where_to_get(task)
    raise ModelError(
        f"No model for the task '{task}' is installed (installed tasks: {known}).{damaged} {source}".strip(),
        import_command(task) if source else "",
    )


def find_encoder(folders: Folders = None, model_id: str | None = None) -> InstalledModel:
    """The model whose encoder embeds scans: the one with that id, else the first bundled one, else the only one.

    Raises
    ------
    ModelError : no such model, none at all, or no clear choice.
    """
    models = installed_models(folders)
    ids = ", ".join(model.contract.id for model in models) or "none"
    if model_id is not None:
        models = [model for model in models if model.contract.id == model_id]
        if not models:
            raise ModelError(f"No model '{model_id}' is installed (installed: {ids}).")
    bundled = [model for model in models if model.bundled]
    if bundled or len(models) == 1:
        return (bundled or models)[0]
    if models:
        raise ModelError(f"Several encoders are installed; choose one: {ids}.", "--model ID")
    raise ModelError(f"No encoder is installed. {where_to_get(EMBEDDING_TASK)}", import_command(EMBEDDING_TASK))


def encoder_file(model: InstalledModel, folders: Folders = None) -> Path:
    """The weight file of the model's encoder: its own, or that of another installed model (``encoder_model``).

    Raises
    ------
    ModelError : the model that holds the encoder is not installed, or in another version.
    """
    contract = model.contract
    if contract.encoder_model is None:
        return model.folder / contract.encoder.weights
    holders = [other for other in installed_models(folders) if other.contract.encoder_model is None]
    fitting = [other for other in holders if other.contract.encoder.sha256 == contract.encoder.sha256]
    fitting.sort(key=lambda other: other.contract.id != contract.encoder_model)
    if fitting:
        return fitting[0].folder / fitting[0].contract.encoder.weights
    another = any(other.contract.id == contract.encoder_model for other in holders)
    raise ModelError(
        f"The head '{contract.id}' reads embeddings of the encoder of '{contract.encoder_model}' (sha256 "
        f"{contract.encoder.sha256[:8]}...), which is installed "
        f"{'only in another version' if another else 'nowhere here'}: install that model, or embed the scans again "
        "and retrain the head."
    )


def load_model(model: InstalledModel, folders: Folders = None, encoder: "nn.Module | None" = None) -> "EncoderWithHead":
    """Encoder and head (an identity where there is none) in evaluation mode, float32, on the CPU.

    Parameters
    ----------
    folders : where to look for the encoder of a head that brings none.
    encoder : one that was loaded with a contract of the same sha256, to share it instead of reading it again.

    Raises
    ------
    ModelError : weight file missing, changed since the contract was written (sha256), or of other keys or shapes; the
        encoder of a head is not installed.
    """
    from torch import nn

    from BrainIACLib.models.encoders import empty_encoder
    from BrainIACLib.models.heads import EncoderWithHead, empty_head

    encoder_contract, head_contract = model.contract.encoder, model.contract.head
    head: nn.Module = nn.Identity()
    parts: list[tuple[nn.Module, EncoderContract | HeadContract, Path]] = []
    if encoder is None:
        encoder = empty_encoder(encoder_contract.architecture, encoder_contract.width, encoder_contract.embedding)
        parts.append((encoder, encoder_contract, encoder_file(model, folders)))
    if head_contract is not None:
        head = empty_head(head_contract.head_type, encoder_contract.embedding_size, head_contract.outputs)
        parts.append((head, head_contract, model.folder / head_contract.weights))
    for net, contract, path in parts:
        tensors = _verified_tensors(path, contract.sha256)
        _check_layout(net, tensors, path)
        net.load_state_dict(tensors, strict=True, assign=True)
    return EncoderWithHead(encoder, head).eval().requires_grad_(False)


def load_mask_net(model: InstalledModel, folders: Folders = None) -> "Unetr":
    """Encoder and decoder of a model with a mask, in evaluation mode, float32, on the CPU.

    Raises
    ------
    ModelError : as ``load_model``.
    """
    from BrainIACLib.models.unetr import Unetr, empty_decoder

    mask = model.contract.mask
    if mask is None:
        raise ModelError(f"The model '{model.contract.id}' makes no mask.")
    encoder = typing.cast("ViT", load_model(model, folders).encoder)
    decoder, path = empty_decoder(model.contract.encoder.embedding_size), model.folder / mask.weights
    tensors = _verified_tensors(path, mask.sha256)
    _check_layout(decoder, tensors, path)
    decoder.load_state_dict(tensors, strict=True, assign=True)
    return Unetr(encoder, decoder).eval().requires_grad_(False)


def verify_model(model: InstalledModel) -> None:
    """Compare the files of the folder with the contract's sha256. Raises ModelError for the first that differs."""
    for name, sha256 in model.contract.files().items():
        check_unchanged(model.folder / name, sha256)


def _verified_tensors(path: Path, sha256: str) -> dict[str, Any]:
    from safetensors.torch import load

    content = read_unchanged(path, sha256)
    return {key: value.float() if value.is_floating_point() else value for key, value in load(content).items()}


def _check_layout(net: nn.Module, tensors: dict[str, Any], path: Path) -> None:
    expected = {key: tuple(value.shape) for key, value in net.state_dict().items()}
    found = {key: tuple(value.shape) for key, value in tensors.items()}
    differing = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
    if differing:
        reasons = "; ".join(f"{key}: expected {expected.get(key)}, found {found.get(key)}" for key in differing[:3])
        raise ModelError(
            f"The weight file '{path}' does not fit its contract ({len(differing)} keys differ: {reasons})."
        )
