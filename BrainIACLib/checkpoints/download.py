"""Fetch one weight file from Hugging Face, where a person asked for it by name; never on its own.

Through its hub library, an optional extra: it resumes a broken download, and respects HTTPS_PROXY, SSL_CERT_FILE,
HF_ENDPOINT and the person's token. Its telemetry is switched off, and its second transfer protocol (Xet), which has a
client of its own with settings of its own.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from urllib.parse import urlsplit

from BrainIACLib.checkpoints.store import ANOTHER_FOLDER
from BrainIACLib.errors import ModelError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.publishing import sync_folder
from BrainIACLib.publishing.files import no_links, sync_file

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")  # in the order of preference
NO_PERMISSION = ("GatedRepoError", "RepositoryNotFoundError")
SETTINGS = {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"}


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository at one commit; ``sha256`` is what the host says it holds."""

    host: str
    repository: str
    revision: str
    name: str
    size: int
    sha256: str


def find_file(repository: str, names: Sequence[str] = ()) -> RemoteFile:
    """The weight file of the repository, with its size, before anything is downloaded.

    Parameters
    ----------
    names : file names to prefer where the repository holds several weight files.

    Raises
    ------
    ModelError : the extra is not installed, no connection, no permission (gated), or no weight file there.
    """
    hub = _hub()
    try:
        info = hub.HfApi().model_info(repository, files_metadata=True)
    except Exception as error:
        raise _failure(repository, error) from None
    files = [file for file in info.siblings if file.lfs is not None and file.rfilename.endswith(SUFFIXES)]
    if not files:
        raise ModelError(f"'{repository}' on Hugging Face holds no weight file.")
    best = min(
        files,
        key=lambda file: (file.rfilename not in names, SUFFIXES.index(Path(file.rfilename).suffix), file.rfilename),
    )
    host = hub.constants.ENDPOINT.split("//")[-1]
    return RemoteFile(host, repository, info.sha, best.rfilename, best.size, best.lfs.sha256)


def download(remote: RemoteFile, store: Path) -> Path:
    """Fetch the file into a hidden folder of the store and check its sha256.

    What came before a break stays there, and the next call goes on behind it.

    Raises
    ------
    ModelError : the connection or the disk fails, or the file is not what the host announced.
    """
    hub = _hub()
    folder = _folder(remote, store)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with hub.utils.WeakFileLock(folder / "lock"):
            path = _fetch(hub, remote, folder)
        unchanged = file_sha256(path) == remote.sha256
    except Exception as error:
        raise _failure(remote.repository, error) from None
    if not unchanged:
        forget_download(remote, store)
        raise ModelError(f"The download of '{remote.name}' is damaged (sha256 differs); run the command again.")
    return path


def _fetch(hub: ModuleType, remote: RemoteFile, folder: Path) -> Path:
    """The hub library's own ``hf_hub_download`` throws a partial file away (since 1.0), so its parts are used here."""
    from huggingface_hub.file_download import http_get

    folder.mkdir(parents=True, exist_ok=True)  # another process may have finished and removed it
    whole, partial = folder / Path(remote.name).name, folder / "partial"
    if whole.exists():
        return whole
    url = hub.hf_hub_url(remote.repository, remote.name, revision=remote.revision)
    place = hub.get_hf_file_metadata(url).location
    headers = hub.utils.build_hf_headers(library_name="brainiac")
    if urlsplit(place).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # the storage behind the host is not told the person's token
    with open(partial, "ab", opener=no_links) as file:
        if file.tell() < remote.size:
            http_get(place, file, resume_size=file.tell(), headers=headers, expected_size=remote.size)
    sync_file(partial)
    os.replace(partial, whole)
    sync_folder(folder)
    return whole


def forget_download(remote: RemoteFile, store: Path) -> None:
    """Delete what ``download`` fetched; the store is left without a trace of it."""
    folder = _folder(remote, store)
    shutil.rmtree(folder, ignore_errors=True)
    if folder.parent.is_dir() and not any(folder.parent.iterdir()):
        folder.parent.rmdir()


def _folder(remote: RemoteFile, store: Path) -> Path:
    return store / ".downloads" / remote.sha256[:16]


def _hub() -> ModuleType:
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import huggingface_hub
    except ImportError:
        raise ModelError(
            'Downloading needs huggingface_hub, which is not installed: pip install ".[download]" in the folder of '
            "BrainIAC's source, or pip install huggingface-hub."
        ) from None
    return huggingface_hub


def _failure(repository: str, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    command = ""
    if type(error).__name__ in NO_PERMISSION:
        advice = "A gated repository needs its authors' permission and your token: hf auth login."
    elif isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EROFS):
        advice, command = "Free some space, or choose another folder for models.", ANOTHER_FOLDER
    else:
        advice = (
            "Check the connection, a proxy in HTTPS_PROXY, a certificate in SSL_CERT_FILE; then run the command again, "
            "and it goes on where it stopped."
        )
    return ModelError(f"'{repository}' cannot be downloaded ({type(error).__name__}: {reason}). {advice}", command)
