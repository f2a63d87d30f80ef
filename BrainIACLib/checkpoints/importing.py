"""From a file that a person has to an installed model."""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from pathlib import Path

from BrainIACLib.checkpoints.conversion import convert_checkpoint
from BrainIACLib.checkpoints.installed import InstalledModel, verify_model
from BrainIACLib.checkpoints.store import incoming_folder, install, remove
from BrainIACLib.contracts import MODEL_FOLDER, ModelContract, SourceContract, contract_to_json, read_contract
from BrainIACLib.errors import ModelError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.foreign_text import printable
from BrainIACLib.private_folder import temporary_folder
from BrainIACLib.resources import resource

MOST_FILES, MOST_BYTES = 20, 8 << 30  # of a zipped model
CARD = "card.md"
TRAINED_ON = "trained-on.npz"  # written by Training: hashes of the patients and images that an encoder was trained on


@dataclass(frozen=True)
class Imported:
    """``new`` is False where this very file was installed before."""

    model: InstalledModel
    new: bool


def import_checkpoint(path: Path, task: str, store: Path) -> Imported:
    """Convert, verify and install a checkpoint whose license the person has accepted just now.

    Raises
    ------
    ModelError : from the conversion or the store, which is then as it was before; another model has this id.
    """
    with incoming_folder(store) as incoming:
        model_id = convert_checkpoint(path, task, _now(), incoming)
        return _install(incoming, store, model_id)


def import_folder(folder: Path, store: Path) -> Imported:
    """Copy a model folder of this project (contract, safetensors, card) into the store, after checking it."""
    contract = read_contract(folder)
    if contract.source is None:
        contract = dataclasses.replace(contract, source=_source_of(folder))
    names = {*contract.files(), *({CARD, TRAINED_ON} & {path.name for path in folder.iterdir()})}
    with incoming_folder(store) as incoming:
        try:
            for name in names:
                shutil.copyfile(folder / name, incoming / name)
            (incoming / "contract.json").write_text(contract_to_json(contract), encoding="utf-8")
        except OSError as error:
            raise ModelError(f"'{folder}' cannot be copied ({error.strerror}); nothing was installed.") from None
        verify_model(InstalledModel(incoming, contract))
        return _install(incoming, store, contract.id)


def _source_of(folder: Path) -> SourceContract:
    """Of a model folder that says nothing of where it comes from: from then on it counts as imported."""
    return SourceContract(
        name=printable(folder.resolve().name, keep=""),
        sha256=file_sha256(folder / "contract.json"),
        layout=MODEL_FOLDER,
        dropped_keys=(),
        allowed_missing_keys=(),
        terms_accepted=_now(),
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


@contextlib.contextmanager
def unpacked_model(path: Path) -> Iterator[Path]:
    """A folder for ``import_folder`` from a zip of one model's files (``brainiac models export ID --out X.zip``).

    Raises
    ------
    ModelError : not such a zip; files with paths or of absurd sizes are refused, not unpacked.
    """
    with temporary_folder() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                members = [member for member in archive.infolist() if not member.is_dir()]
                if len(members) > MOST_FILES or sum(member.file_size for member in members) > MOST_BYTES:
                    raise ModelError(f"'{path}' holds more than a model; nothing was installed.")
                for member in members:  # by its plain name: no path of an archive is followed
                    with archive.open(member) as source, (folder / Path(member.filename).name).open("xb") as target:
                        shutil.copyfileobj(source, target)
        except (OSError, zipfile.BadZipFile, NotImplementedError, RuntimeError, ValueError) as error:
            raise ModelError(f"'{path}' cannot be unpacked ({error}); nothing was installed.") from None
        yield folder


def _install(incoming: Path, store: Path, model_id: str) -> Imported:
    """Raises ModelError where another model has this id: it would be taken for the one that is there."""
    contract = read_contract(incoming)
    for place in (resource("Models") / model_id, store / model_id):
        if not (place / "contract.json").is_file():
            continue
        try:
            known = InstalledModel(place, read_contract(place))
            same = _without_origin(known.contract) == _without_origin(contract)
            if same:
                verify_model(known)
        except ModelError:
            if place.parent != store:
                raise
            remove(place)  # an installed model that was damaged since is replaced
            continue
        if not same:
            raise ModelError(
                f"Another model with the id '{model_id}' {'came with BrainIAC' if known.bundled else 'is installed'}; "
                "nothing was installed. "
                + ("Give yours another id in its contract.json." if known.bundled else "Remove that one first.")
            )
        return Imported(known, False)
    target, new = install(incoming, store, model_id)
    return Imported(InstalledModel(target, read_contract(target)), new)


def _without_origin(contract: ModelContract) -> ModelContract:
    """What a model is, whatever its file was called and whenever it was imported."""
    return dataclasses.replace(contract, source=None)
