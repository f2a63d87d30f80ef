"""The embedding table: one row a scan, with everything that says what the numbers are of and what made them.

Columns that are always there (text; empty where unknown):

| column | what |
|---|---|
| ``scan`` | path of the scan, as the manifest or the person gave it |
| ``patient``, ``session`` | whose scan, which visit; without a patient, each study or scan is another person's |
| ``sequence`` | a name of ``BrainIACLib.sequences`` |
| ``sha256`` | of the voxels and the grid that were read (``Scan.identity``) |
| ``preprocessing_sha256`` | of the preprocessing asked for, its code, versions and template, and the encoder's input |
| ``model``, ``encoder_sha256`` | whose encoder, and the sha256 of its weights |
| ``preset`` | ``standard`` or ``official`` |
| ``warnings`` | what preprocessing said about the scan |

Columns that tables of earlier versions do not have (``image_measures``):

| column | what |
|---|---|
| ``brain_ml`` | volume within the brain mask, in ml |
| ``intensity_histogram`` | 32 shares of the brain's voxels (spaces between) in equal steps to the 99.5th percentile |

A row is valid for exactly its (``sha256``, ``preprocessing_sha256``, ``encoder_sha256``). Further columns of the
manifest (labels, ages, dataset) are kept as text. The numbers are the columns ``e0``, ``e1``, ... (float32).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

FACTS = (
    "scan",
    "patient",
    "session",
    "sequence",
    "sha256",
    "preprocessing_sha256",
    "model",
    "encoder_sha256",
    "preset",
    "warnings",
)


@dataclass(frozen=True)
class EmbeddingTable:
    """``columns``: name -> (n,) texts, ``FACTS`` and further ones; ``embeddings``: (n, size) float32."""

    columns: Mapping[str, np.ndarray]
    embeddings: np.ndarray

    def __post_init__(self) -> None:
        absent = [name for name in FACTS if name not in self.columns]
        lengths = {len(values) for values in self.columns.values()} | {len(self.embeddings)}
        if absent or len(lengths) > 1:
            raise ValueError(f"an embedding table lacks columns {absent} or has columns of unequal length {lengths}")

    def __len__(self) -> int:
        return len(self.embeddings)

    @property
    def further(self) -> tuple[str, ...]:
        """The names of the columns that are not ``FACTS``."""
        return tuple(name for name in self.columns if name not in FACTS)

    @property
    def sha256(self) -> str:
        """Of the content, whatever the file format."""
        digest = hashlib.sha256()
        for name in sorted(self.columns):
            digest.update("\x1f".join((name, *self.columns[name])).encode())
        digest.update(np.ascontiguousarray(self.embeddings, np.float32).tobytes())
        return digest.hexdigest()

    def rows(self, keep: np.ndarray) -> EmbeddingTable:
        """The rows that a mask or an index array names."""
        return EmbeddingTable({name: values[keep] for name, values in self.columns.items()}, self.embeddings[keep])


def table_of(rows: Sequence[Mapping[str, str]], embeddings: Sequence[ArrayLike]) -> EmbeddingTable:
    """A table from one dictionary a scan; what a row does not say is empty."""
    names = dict.fromkeys([*FACTS, *(name for row in rows for name in row)])
    columns = {name: np.array([row.get(name, "") for row in rows], dtype=np.str_) for name in names}
    return EmbeddingTable(columns, np.array(embeddings, np.float32).reshape(len(rows), -1))
