"""What a pretraining sees: simulated patients, and the real scans on which no line of a comparison is tested."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.errors import CacheError, ManifestError
from BrainIACLib.preprocessing.intensity import normalise, resize
from Training.data.cache import INDEX, Cache, write_cache
from Training.data.splits import IMAGE
from Training.data.standardising import NO_NETWORK, standardising_of

TAUGHT, PRETRAINED_ON = "train", "pretrain"
JOINED = "joined"  # in the facts of the cache: the fingerprints of the two that it is made of
CLIPPED_AT = (0.0, 99.9)
"""Percentiles between which ``draw_patient`` leaves the values of a simulated scan; real ones get the same."""


def with_real_scans(simulated: Path, real: Path, folder: Path) -> Path:
    """Make the cache ``folder`` unless it is there: all of ``simulated``, and of ``real`` who has the role train.

    Parameters
    ----------
    simulated : cache of simulated patients, which says on which grid the volumes are.
    real : cache on the whole template grid; its volumes are averaged to the size of the simulated ones.

    Raises
    ------
    ManifestError : nobody in ``real`` has the role train.
    CacheError : the folder holds volumes of other caches.
    """
    first, second = Cache(simulated, verify=False), Cache(real, verify=False)
    sources = [first.fingerprint, second.fingerprint]
    if (folder / INDEX).is_file():
        if Cache(folder, verify=False).preprocessing.get(JOINED) != sources:
            raise CacheError(f"'{folder}' holds volumes of other caches; delete it, or choose another folder.")
        return folder
    rows = np.flatnonzero(second.table["role"] == TAUGHT) if "role" in second.table else np.empty(0, int)
    if not len(rows):
        raise ManifestError(
            f"Nobody in '{real}' has the role {TAUGHT}, so there is no real scan to pretrain on that tests nothing."
        )
    added = second.table.iloc[rows].assign(role=PRETRAINED_ON)
    table = pd.concat([first.table, added[[name for name in added if name in first.table or name == IMAGE]]])
    text = [name for name in table if not pd.api.types.is_numeric_dtype(table[name])]
    table[text] = table[text].fillna("")
    how = dataclasses.replace(standardising_of(first.preprocessing), clip_percentiles=CLIPPED_AT)
    facts = {**first.preprocessing, **dataclasses.asdict(how), JOINED: sources}
    volumes = _volumes(first, second, rows, how.encoder_contract(**NO_NETWORK))
    write_cache(folder, table.reset_index(drop=True), volumes, preprocessing=facts)
    return folder


def _volumes(simulated: Cache, real: Cache, rows: np.ndarray, contract: EncoderContract) -> Iterator[np.ndarray]:
    """float32 (X, Y, Z) in 0..1, one at a time."""
    for row in range(len(simulated)):
        yield simulated.batch([row])[0, 0].numpy().astype(np.float32) / 255
    for row in rows:
        volume = resize(real.batch([row]).float() / 255, contract.input_size, contract.resize_mode)
        yield normalise(volume, contract)[0, 0].numpy()
