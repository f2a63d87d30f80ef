"""Embeddings as one table: CSV and NPZ always, Parquet where pyarrow is installed."""

from __future__ import annotations

import csv
import importlib.util
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.errors import BrainIACError
from BrainIACLib.scans import write_bytes


@dataclass(frozen=True)
class EmbeddingRow:
    """One scan, and what made its embedding."""

    scan: str  # path of the file
    sha256: str
    model: str
    encoder_sha256: str
    preset: str
    embedding: list[float]


FACTS = ("scan", "sha256", "model", "encoder_sha256", "preset")


def check_format(path: Path) -> None:
    """Raises BrainIACError if the format of ``path`` cannot be written here."""
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise BrainIACError(
            f"'{path.name}' needs pyarrow, which is not installed: pip install 'brainiac-slicer[parquet]', "
            "or write a .csv or .npz file."
        )


def write_embeddings(rows: Sequence[EmbeddingRow], path: Path) -> None:
    """Write the table in the format of the file name's end; the file appears whole or not at all.

    CSV and Parquet have a column for each fact and each number (``e0``, ``e1``, ...); NPZ has one array for each fact
    and ``embedding``, (scans, size) float32.
    """
    check_format(path)
    write_bytes({".csv": _csv, ".npz": _npz, ".parquet": _parquet}[path.suffix](rows), path)


def _facts(rows: Sequence[EmbeddingRow]) -> dict[str, list[str]]:
    return {name: [getattr(row, name) for row in rows] for name in FACTS}


def _csv(rows: Sequence[EmbeddingRow]) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*FACTS, *(f"e{index}" for index in range(len(rows[0].embedding)))])
    for row in rows:
        writer.writerow([*(getattr(row, name) for name in FACTS), *row.embedding])
    return text.getvalue().encode("utf-8")


def _npz(rows: Sequence[EmbeddingRow]) -> bytes:
    content = io.BytesIO()
    np.savez(content, embedding=_matrix(rows), **{name: np.array(values) for name, values in _facts(rows).items()})
    return content.getvalue()


def _parquet(rows: Sequence[EmbeddingRow]) -> bytes:
    import pyarrow
    import pyarrow.parquet

    columns = {**_facts(rows), **{f"e{index}": column for index, column in enumerate(_matrix(rows).T)}}
    content = io.BytesIO()
    pyarrow.parquet.write_table(pyarrow.table(columns), content)
    return content.getvalue()


def _matrix(rows: Sequence[EmbeddingRow]) -> np.ndarray:
    return np.array([row.embedding for row in rows], np.float32)
