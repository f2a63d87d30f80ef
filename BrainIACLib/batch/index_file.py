"""``index.parquet`` as it is read: of this build, or of an earlier one, whose finished work is kept."""

from __future__ import annotations

import hashlib
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from BrainIACLib.errors import BrainIACError

if typing.TYPE_CHECKING:
    import pyarrow

INDEX = "index.parquet"
FIRST_TURN = 1  # of rows of earlier builds, which counted no turns
LATER = ("later_asked", "later_token", "later_turn")  # of a try under other settings that left the results as they are


def number_of(text: str) -> int:
    """A number of 8 bytes that stands for a text."""
    digest = hashlib.sha256(text.encode("utf-8", "backslashreplace")).digest()
    return int.from_bytes(digest[:8], "big", signed=True)


def base_columns() -> dict[str, Any]:
    """Those of every index -> their types."""
    import pyarrow

    texts = ("id", "scan", "path", "patient", "session", "sequence", "dataset", "site", "status", "failure")
    return {
        **{name: pyarrow.string() for name in (*texts, "later_status")},
        **dict.fromkeys(("case", "asked", "token", "turn", *LATER), pyarrow.int64()),
    }


def read_index(out: Path, columns: Sequence[str] | None = None) -> "pyarrow.Table":
    """The index as it is; empty where there is none.

    Parameters
    ----------
    columns : of ``base_columns``, those that are needed; by default all that there are.

    Raises
    ------
    BrainIACError : it is damaged, or of a build so old that its rows do not say what was asked.
    """
    import pyarrow
    import pyarrow.parquet

    path, kinds = out / INDEX, base_columns()
    try:
        schema = pyarrow.parquet.read_schema(path)
        # of an earlier build: not there, or a column of a manifest, which were texts
        absent = {name for name in kinds if name not in schema.names or schema.field(name).type != kinds[name]}
        if unknown := absent & {"id", "asked", "token", "status"}:
            raise KeyError(*unknown)
        asked = schema.names if columns is None else [*columns, *(["id"] if "case" in absent else [])]
        table = pyarrow.parquet.read_table(path, columns=[name for name in asked if name not in absent])
        if "turn" in absent and "attempt" in table.column_names:
            table = table.drop_columns(["attempt"])
        for name in [name for name in (kinds if columns is None else columns) if name in absent]:
            values: Any = pyarrow.nulls(len(table), kinds[name])
            if name == "turn":
                values = pyarrow.array([FIRST_TURN] * len(table), kinds[name])
            if name == "case":
                values = pyarrow.array([number_of(text) for text in table["id"].to_pylist()], kinds[name])
            table = table.append_column(name, values)
    except FileNotFoundError:  # there is none, or somebody took it away
        chosen = kinds if columns is None else columns
        return pyarrow.table({name: pyarrow.array([], kinds[name]) for name in chosen})
    except (pyarrow.ArrowException, OSError, KeyError, ValueError):
        raise BrainIACError(
            f"'{path}' is damaged or of an older version; take it away and run the batch again."
        ) from None
    return table if columns is None else table.select(list(columns))
