"""Fetch one weight file from Hugging Face, where a person asked for it by name; never on its own.

Through its hub library, an optional extra: it resumes, and respects the environment's proxies, certificates, tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.checkpoints.installed import file_sha256
from BrainIACLib.errors import ModelError

SUFFIXES = (".safetensors", ".pth", ".pt", ".ckpt", ".bin")  # in the order of preference


@dataclass(frozen=True)
class RemoteFile:
    """One file of a repository at one commit; ``sha256`` is what the host says it holds."""

    host: str
    repository: str
    revision: str
    name: str
    size: int
    sha256: str


def find_file(repository: str) -> RemoteFile:
    """The weight file of the repository, with its size, before anything is downloaded.

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
    best = min(files, key=lambda file: (SUFFIXES.index(Path(file.rfilename).suffix), file.rfilename))
    host = hub.constants.ENDPOINT.split("//")[-1]
    return RemoteFile(host, repository, info.sha, best.rfilename, best.size, best.lfs.sha256)


def download(remote: RemoteFile, store: Path) -> Path:
    """Fetch the file into a hidden folder of the store and check its sha256; a broken download is resumed.

    Raises
    ------
    ModelError : the connection or the disk fails, or the file is not what the host announced.
    """
    hub = _hub()
    folder = store / ".downloads" / remote.sha256[:16]
    try:
        path = Path(
            hub.hf_hub_download(remote.repository, remote.name, revision=remote.revision, local_dir=str(folder))
        )
        unchanged = file_sha256(path) == remote.sha256
    except Exception as error:
        raise _failure(remote.repository, error) from None
    if not unchanged:
        path.unlink()
        raise ModelError(f"The download of '{remote.name}' is damaged (sha256 differs); run the command again.")
    return path


def _hub():
    try:
        import huggingface_hub
    except ImportError:
        raise ModelError(
            "Downloading needs huggingface_hub, which is not installed: pip install 'brainiac-slicer[download]'."
        ) from None
    return huggingface_hub


def _failure(repository: str, error: Exception) -> ModelError:
    reason = str(error).strip().splitlines()[0][:200] if str(error).strip() else type(error).__name__
    return ModelError(
        f"'{repository}' cannot be downloaded from Hugging Face ({type(error).__name__}: {reason}). "
        "A gated repository needs its authors' permission and your token: hf auth login."
    )
