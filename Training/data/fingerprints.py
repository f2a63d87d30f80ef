"""Who and what was trained on, without a name: keyed hashes that travel with a model, so that its test cases can be
compared with its pretraining although the two come from different caches (PROTOCOL C-08, C-09).

A hash is 8 bytes of BLAKE2b under a key of the cache. It tells nothing by itself; but whoever has the file and guesses
a patient's id, or has the image, can ask whether they are in it.
"""

from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from BrainIACLib.checkpoints.importing import TRAINED_ON
from BrainIACLib.errors import TrainingError
from BrainIACLib.publishing import write_bytes
from Training.data.cache import Cache
from Training.data.splits import IMAGE, OTHER_NAME, persons

KEY_BYTES = 32
NOBODY = 0


@dataclass(frozen=True)
class Fingerprints:
    """``patients`` and ``images`` are sorted uint64; no images where the cache did not know their hashes."""

    key: bytes
    patients: np.ndarray
    images: np.ndarray


@dataclass(frozen=True)
class Seen:
    """Cases that a model was trained on: the persons, and how many images. ``compared`` says what was looked at."""

    patients: tuple[str, ...]
    images: int
    compared: str


def fingerprints_of(cache: Cache, rows: list[int]) -> Fingerprints:
    """Of every name that the persons of ``rows`` go by, and of their images."""
    key = bytes.fromhex(cache.fingerprint)[:KEY_BYTES]
    table = cache.table
    of_person = persons(table)
    trained = table[of_person.isin(of_person.iloc[rows])]
    images = table[IMAGE].iloc[rows] if IMAGE in table else ()
    names = _hashed("patient", [name for names in _names(trained) for name in names], key)
    return Fingerprints(
        key, *(np.unique(hashes[hashes != NOBODY]) for hashes in (names, _hashed("image", images, key)))
    )


def fingerprints_of_names(patients: Iterable[str]) -> Fingerprints:
    """Of patients whose names nobody needs to hide, as those of an open data set; their images are not known."""
    key = bytes(KEY_BYTES)
    return Fingerprints(key, np.unique(_hashed("patient", patients, key)), np.empty(0, np.uint64))


def write_fingerprints(found: Fingerprints, folder: Path) -> None:
    """The file ``trained-on.npz`` of a model folder: 8 bytes a patient and an image."""
    stream = io.BytesIO()
    np.savez(stream, key=np.frombuffer(found.key, np.uint8), patients=found.patients, images=found.images)
    write_bytes(stream.getvalue(), folder / TRAINED_ON)


def read_fingerprints(folder: Path) -> Fingerprints | None:
    """Those of a model folder; None where it has none. Raises TrainingError if the file is damaged."""
    path = folder / TRAINED_ON
    if not path.is_file():
        return None
    try:
        with np.load(path, allow_pickle=False) as stored:
            found = Fingerprints(stored["key"].tobytes(), stored["patients"], stored["images"])
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise TrainingError(f"'{path}' cannot be read ({error}); import the model again.") from None
    if not found.patients.dtype == found.images.dtype == np.uint64:
        raise TrainingError(f"'{path}' holds no fingerprints; import the model again.")
    return found


def seen_before(found: Fingerprints, table: pd.DataFrame, rows: np.ndarray) -> Seen:
    """Which of the persons and images of ``rows`` of a cache's table the fingerprints know."""
    of_person = persons(table)
    chosen = table[of_person.isin(of_person.iloc[rows])]
    known = chosen[
        [bool(np.isin(_hashed("patient", names, found.key), found.patients).any()) for names in _names(chosen)]
    ]
    both = len(found.images) > 0 and IMAGE in table
    images = _hashed("image", table[IMAGE].iloc[rows], found.key) if both else np.empty(0, np.uint64)
    return Seen(
        tuple(sorted(known["patient"].unique())),
        int(np.isin(images, found.images).sum()),
        "patients and images" if both else "patients only, since image hashes are not known on both sides",
    )


def _names(table: pd.DataFrame) -> list[list[str]]:
    """A list a row: the patient's id and the ids of the same person elsewhere."""
    others = table[OTHER_NAME] if OTHER_NAME in table else pd.Series("", index=table.index)
    return [[patient, *filter(None, names.split(";"))] for patient, names in zip(table["patient"], others, strict=True)]


def _hashed(kind: str, names: Iterable[str], key: bytes) -> np.ndarray:
    """uint64 (n,); ``NOBODY``, which no list holds, for an empty name."""
    digests = (
        hashlib.blake2b(name.encode(), digest_size=8, key=key, person=kind.encode()).digest() if name else bytes(8)
        for name in map(str, names)
    )
    return np.frombuffer(b"".join(digests), "<u8").astype(np.uint64)
