"""Where models lie, and how one gets in or out: a folder appears complete by one rename, or not at all.

Nothing here locks: an import works in a hidden folder of its own inside the store, so two at once, a kill or a full
disk leave the store as it was before or with the whole model.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

from BrainIACLib.errors import ModelError
from BrainIACLib.publishing import publish_folder, staging_folder
from BrainIACLib.publishing.files import temporary_name
from BrainIACLib.resources import resource

ENVIRONMENT = "BRAINIAC_MODELS"  # one folder, or several with the system's separator; the first is written to
ANOTHER_FOLDER = "--models-dir FOLDER"


def user_folders() -> list[Path]:
    """The user's own model folders; the first is where imports go, the others may be shared and read-only.

    Raises
    ------
    ModelError : the account has no home folder, and no folder is named.
    """
    if os.environ.get(ENVIRONMENT):
        return [_expanded(folder) for folder in os.environ[ENVIRONMENT].split(os.pathsep) if folder]
    if sys.platform == "win32":
        data = Path(os.environ.get("LOCALAPPDATA") or _home() / "AppData" / "Local")
    elif sys.platform == "darwin":
        data = _home() / "Library" / "Application Support"
    else:
        data = Path(os.environ.get("XDG_DATA_HOME") or _home() / ".local" / "share")
    return [data / "BrainIAC" / "Models"]


def model_folders(models_dir: Path | None = None) -> list[Path]:
    """Every folder to look for models in: the bundled ones, then ``models_dir`` or the user's, if there are any."""
    if models_dir:
        return [resource("Models"), models_dir]
    try:
        return [resource("Models"), *user_folders()]
    except ModelError:  # an account without a home folder has the bundled models
        return [resource("Models")]


def _home() -> Path:
    return _expanded("~")


def _expanded(folder: str) -> Path:
    try:
        return Path(folder).expanduser()
    except RuntimeError:
        raise ModelError(
            f"This account has no home folder; name a folder for models in the environment variable {ENVIRONMENT}.",
            ANOTHER_FOLDER,
        ) from None


def is_bundled(folder: Path) -> bool:
    """Whether a model folder lies among those that came with BrainIAC."""
    return folder.parent.resolve() == resource("Models").resolve()


@contextlib.contextmanager
def incoming_folder(store: Path) -> Iterator[Path]:
    """An empty hidden folder inside ``store`` to build a model in; removed at the end, whatever happens.

    Raises
    ------
    ModelError : the store cannot be written, or the disk is full.
    """
    with contextlib.ExitStack() as stack:
        try:
            folder = stack.enter_context(staging_folder(store))
        except OSError as error:
            raise ModelError(
                f"The model folder '{store}' cannot be written ({error.strerror}); choose another one.", ANOTHER_FOLDER
            ) from None
        yield folder


def install(folder: Path, store: Path, model_id: str) -> tuple[Path, bool]:
    """Make a complete folder part of the store under the model's id.

    Returns
    -------
    Its place, and whether it is new: False where a model of this id is there already, whatever its content.

    Raises
    ------
    ModelError : the disk is full, or the store cannot be written.
    """
    target = store / model_id
    _open_to_others(folder)
    try:
        publish_folder(folder, target)
    except OSError as error:
        if (target / "contract.json").is_file():
            return target, False
        raise ModelError(
            f"'{target}' cannot be written ({error.strerror}); nothing was installed. Choose another folder.",
            ANOTHER_FOLDER,
        ) from None
    return target, True


def remove(folder: Path) -> None:
    """Take a model out of the store: invisible at once, then deleted. A link to a model is unlinked, not followed.

    Raises
    ------
    ModelError : a bundled model, or a folder that may not be written.
    """
    if is_bundled(folder):
        raise ModelError(f"'{folder.name}' came with BrainIAC and is not removed.")
    try:
        if folder.is_symlink():
            folder.unlink()
            return
        hidden = temporary_name(folder.parent)  # removed by the next one that writes there, if not by this one
        os.replace(folder, hidden)
    except OSError as error:
        raise ModelError(f"'{folder}' cannot be removed ({error.strerror}).") from None
    shutil.rmtree(hidden, ignore_errors=True)


def _open_to_others(folder: Path) -> None:
    """safetensors' files are for one person only; a shared store is for as many as umask says."""
    mask = os.umask(0)
    os.umask(mask)
    with contextlib.suppress(OSError):  # some network drives have no modes
        for path in (*folder.iterdir(), folder):
            path.chmod((0o777 if path.is_dir() else 0o666) & ~mask)
