"""Embedding tables in files: CSV and NPZ always, Parquet where pyarrow is installed. Whole files or none."""

from __future__ import annotations

import csv
import importlib.util
import io
from pathlib import Path
from typing import Any

import numpy as np

from BrainIACLib.embeddings.table import FACTS, EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.foreign_text import spreadsheet_row
from BrainIACLib.manifests.csv_files import read_cells
from BrainIACLib.ordinary_file import check_ordinary
from BrainIACLib.publishing import write_bytes

FORMATS = (".csv", ".npz", ".parquet")
MAKE = "brainiac embed"


def check_format(path: Path) -> None:
    """Raises BrainIACError if the format of ``path`` cannot be read or written here."""
    if path.suffix not in FORMATS:
        raise BrainIACError(f"'{path.name}' is no embedding table: its name must end in {', '.join(FORMATS)}.")
    if path.suffix == ".parquet" and importlib.util.find_spec("pyarrow") is None:
        raise BrainIACError(
            f"'{path.name}' needs pyarrow, which is not installed: pip install pyarrow, or use a .csv or .npz file."
        )


def write_table(table: EmbeddingTable, path: Path) -> None:
    """Write in the format of the file name's end.

    CSV and Parquet have a column for each fact and each number (``e0``, ``e1``, ...); NPZ has one array for each column
    and ``embedding``, (scans, size) float32. Every format gives back the same table, to the bit.
    """
    check_format(path)
    write_bytes({".csv": _csv, ".npz": _npz, ".parquet": _parquet}[path.suffix](table), path)


def read_table(path: Path) -> EmbeddingTable:
    """Read what ``write_table`` wrote.

    Raises
    ------
    BrainIACError : no such file, or it is not an embedding table.
    """
    check_format(path)
    try:
        check_ordinary(path)
        columns, embeddings = {".csv": _from_csv, ".npz": _from_npz, ".parquet": _from_parquet}[path.suffix](path)
    except FileNotFoundError:
        raise BrainIACError(f"The embedding table '{path}' does not exist; embed scans into it.", MAKE) from None
    except (OSError, ValueError, KeyError) as error:
        raise BrainIACError(
            f"'{path}' is not a readable embedding table ({_first_line(error)}); make it again.", MAKE
        ) from None
    absent = [name for name in FACTS if name not in columns]
    if absent:
        raise BrainIACError(
            f"'{path}' lacks the columns {', '.join(absent)}: another version made it; make it again.", MAKE
        )
    if not len(embeddings) or not np.isfinite(embeddings).all():
        raise BrainIACError(f"'{path}' holds no embeddings, or some that are not numbers; make it again.", MAKE)
    return EmbeddingTable({name: np.array(values, dtype=np.str_) for name, values in columns.items()}, embeddings)


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]


def _number_columns(table: EmbeddingTable) -> list[str]:
    return [f"e{index}" for index in range(table.embeddings.shape[1])]


def _csv(table: EmbeddingTable) -> bytes:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*spreadsheet_row(table.columns), *_number_columns(table)])
    for *facts, numbers in zip(*table.columns.values(), table.embeddings, strict=True):
        writer.writerow(
            [*spreadsheet_row(facts), *(f"{number:.9g}" for number in numbers)]
        )  # 9 digits give a float32 back exactly
    return text.getvalue().encode("utf-8")


def _from_csv(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    """Also where a spreadsheet program has saved it again, with other separators."""
    names, lines = read_cells(path, "The table", _Unreadable)
    rows = [cells for _, cells in lines]
    size = _size(names)
    first = len(names) - size
    columns = {name: [row[place] for row in rows] for place, name in enumerate(names[:first])}
    return columns, np.array([row[first:] for row in rows], np.float32).reshape(len(rows), size)


class _Unreadable(BrainIACError, ValueError):
    """A reason, to be told with the others."""


def _npz(table: EmbeddingTable) -> bytes:
    content = io.BytesIO()
    arrays: dict[str, Any] = {"embedding": table.embeddings, **table.columns}
    np.savez(content, **arrays)
    return content.getvalue()


def _from_npz(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    with np.load(path, allow_pickle=False) as arrays:
        embeddings = arrays["embedding"].astype(np.float32)
        return {name: arrays[name] for name in arrays.files if name != "embedding"}, embeddings


def _parquet(table: EmbeddingTable) -> bytes:
    import pyarrow
    import pyarrow.parquet

    numbers = dict(zip(_number_columns(table), table.embeddings.T, strict=True))
    content = io.BytesIO()
    columns = {name: pyarrow.array(values.tolist(), pyarrow.string()) for name, values in table.columns.items()}
    pyarrow.parquet.write_table(pyarrow.table({**columns, **numbers}), content)
    return content.getvalue()


def _from_parquet(path: Path) -> tuple[dict[str, Any], np.ndarray]:
    import pyarrow.parquet

    arrow = pyarrow.parquet.ParquetFile(path).read()
    size = _size(arrow.column_names)
    names = arrow.column_names[: len(arrow.column_names) - size]
    columns = {name: ["" if value is None else str(value) for value in arrow[name].to_pylist()] for name in names}
    numbers = [arrow[f"e{index}"].to_numpy() for index in range(size)]
    return columns, np.stack(numbers, axis=1).astype(np.float32)


def _size(names: list[str]) -> int:
    """How many number columns end the table."""
    size = sum(name[:1] == "e" and name[1:].isdigit() for name in names)
    if not size or names[len(names) - size :] != [f"e{index}" for index in range(size)]:
        raise ValueError("it has no number columns e0, e1, ... at its end")
    return size
