"""The sha256 by which files are told apart and held unchanged."""

from __future__ import annotations

import hashlib
from pathlib import Path

from BrainIACLib.errors import ModelError

REMEDY = "install the model again"


def file_sha256(path: Path) -> str:
    """Of the file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def check_unchanged(path: Path, sha256: str, remedy: str = REMEDY) -> None:
    """Compare a file of a model with its sha256, without holding it in memory.

    Raises
    ------
    ModelError : it cannot be read, or differs; ``remedy`` says what to do.
    """
    try:
        found = file_sha256(path)
    except OSError as error:
        raise _unreadable(path, error, remedy) from None
    _check(path, found, sha256, remedy)


def read_unchanged(path: Path, sha256: str, remedy: str = REMEDY) -> bytes:
    """The bytes of a file of a model; what is used is what was compared. Raises as ``check_unchanged``."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise _unreadable(path, error, remedy) from None
    _check(path, hashlib.sha256(content).hexdigest(), sha256, remedy)
    return content


def _check(path: Path, found: str, sha256: str, remedy: str) -> None:
    if found != sha256:
        raise ModelError(f"'{path}' is damaged or was changed (sha256 differs); {remedy}.")


def _unreadable(path: Path, error: OSError, remedy: str) -> ModelError:
    return ModelError(f"'{path}' cannot be read ({error.strerror}); {remedy}.")
