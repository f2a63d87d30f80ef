"""A head with its encoder for somebody else: one folder (or zip) that ``brainiac models import`` takes."""

from __future__ import annotations

import dataclasses
import shutil
import zipfile
from pathlib import Path

from BrainIACLib.checkpoints.installed import Folders, InstalledModel, encoder_file, verify_model
from BrainIACLib.contracts import contract_to_json
from BrainIACLib.errors import ModelError
from BrainIACLib.publishing import publish_folder, replacing, staging_folder, write_bytes


def export_folder(model: InstalledModel, out: Path, folders: Folders = None) -> Path:
    """Write the model with its encoder as a folder, or as a zip if ``out`` ends in ``.zip``.

    Raises
    ------
    ModelError : ``out`` exists or cannot be written, or the encoder is not installed.
    """
    if out.exists():
        raise ModelError(f"'{out}' exists already; choose another name.")
    try:
        with staging_folder(out.parent) as temporary:
            staging = temporary / model.contract.id
            staging.mkdir()
            write_whole_model(model, staging, folders)
            if out.suffix == ".zip":
                with replacing(out) as archive, zipfile.ZipFile(archive, "w", zipfile.ZIP_STORED) as file:
                    for path in sorted(staging.iterdir()):
                        file.write(path, f"{model.contract.id}/{path.name}")
            else:
                publish_folder(staging, out)
    except OSError as error:
        raise ModelError(f"'{out}' cannot be written ({error.strerror}); choose another place.") from None
    return out


def write_whole_model(model: InstalledModel, folder: Path, folders: Folders = None) -> None:
    """Contract, card, and every weight file, the encoder among them, into an empty folder; checked at the end."""
    contract = model.contract
    encoder = dataclasses.replace(contract.encoder, weights="encoder.safetensors")
    whole = dataclasses.replace(contract, encoder=encoder, encoder_model=None)
    shutil.copyfile(encoder_file(model, folders), folder / encoder.weights)
    for name in [name for name in whole.files() if name != encoder.weights]:
        shutil.copyfile(model.folder / name, folder / name)
    if (model.folder / "card.md").is_file():
        shutil.copyfile(model.folder / "card.md", folder / "card.md")
    write_bytes(contract_to_json(whole).encode("utf-8"), folder / "contract.json")
    verify_model(InstalledModel(folder, whole))
