"""A cache of standardized volumes that feeds a fast GPU: uint8 shards, memory-mapped, each with its sha256.

A folder holds ``shard-00000-0123abcd.npy`` ... (uint8, (n, X, Y, Z), 255 x the value; number and start of its sha256),
``volumes.csv`` (one row a volume, in the order of the shards) and ``cache.json``, which is written last: without it
there is no cache, only work in progress. Every file appears whole by one rename, so a killed writer leaves no bad
shard; and a shard of other content has another name, so that new ones never replace those of the cache in use.
32,000 volumes of 128^3 take 67 GB (design/PERFORMANCE section 7), half of float16; the step of 1/255 is below the noise
of any scan.
"""

from __future__ import annotations

import hashlib
import io
import json
import threading
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from BrainIACLib.errors import CacheError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.publishing import write_bytes

FORMAT = 1
INDEX, TABLE = "cache.json", "volumes.csv"
VOLUMES_PER_SHARD = 64
HASHING_THREADS = 8
OPEN_SHARDS = 256  # each takes a file descriptor, of which a process may have about 1000
# For all caches of a process: neither an OrderedDict nor, up to CPython 3.11, the parser that numpy reads a header with
# (gh-106905) bears two threads at once. Outside the class, since a cache is sent to other processes.
_OPENING = threading.Lock()


def write_cache(
    folder: Path | str,
    table: pd.DataFrame,
    volumes: Iterable[np.ndarray],
    *,
    preprocessing: Mapping[str, object] | None = None,
    volumes_per_shard: int = VOLUMES_PER_SHARD,
) -> None:
    """Write a cache.

    Parameters
    ----------
    table : one row a volume, in the same order; any columns of text or numbers.
    volumes : float32 (X, Y, Z) in 0..1, all of one shape; taken one by one, so a generator needs little memory.
    preprocessing : what was done to the scans, as plain values; kept in ``cache.json``.

    Raises
    ------
    CacheError : a cache is there already, a volume is unusable (NaN, outside 0..1, another shape), their number differs
        from the table's, or the disk is full. No ``cache.json`` is written then.
    """
    folder = Path(folder)
    if (folder / INDEX).exists():
        raise CacheError(f"'{folder}' holds a cache already; choose another folder, or delete it first.")
    make_folder(folder)
    shards = []
    for chunk in _chunks(_quantised(volumes, len(table)), volumes_per_shard):
        shards.append(write_shard(folder, len(shards), np.stack(chunk)))
    finish_cache(folder, table, shards, preprocessing or {})


def quantise(volume: np.ndarray, name: str) -> np.ndarray:
    """float (X, Y, Z) in 0..1 -> uint8. Raises CacheError, calling the volume ``name``, if it is not that."""
    volume = np.asarray(volume)
    if volume.ndim != 3:
        raise CacheError(f"{name} has the shape {volume.shape}, but a volume is three-dimensional.")
    if not np.isfinite(volume).all():
        raise CacheError(f"{name} holds NaN or infinite values; leave this scan out or repair it.")
    if volume.min() < 0 or volume.max() > 1:
        raise CacheError(f"{name} has values from {volume.min():.3g} to {volume.max():.3g}, not within 0 to 1.")
    return np.rint(volume * 255).astype(np.uint8)


def write_shard(folder: Path, number: int, volumes: np.ndarray) -> dict:
    """Write uint8 (n, X, Y, Z) under its number and content; what ``cache.json`` says about it."""
    buffer = io.BytesIO()
    np.save(buffer, np.ascontiguousarray(volumes), allow_pickle=False)
    digest = hashlib.sha256(buffer.getbuffer()).hexdigest()
    name = f"shard-{number:05d}-{digest[:8]}.npy"
    if not (folder / name).exists() or file_sha256(folder / name) != digest:
        write_bytes(buffer.getbuffer(), folder / name)
    return {"file": name, "volumes": len(volumes), "bytes": buffer.getbuffer().nbytes, "sha256": digest}


def finish_cache(
    folder: Path, table: pd.DataFrame, shards: Sequence[dict], preprocessing: Mapping[str, object]
) -> None:
    """Write the table and, last of all, ``cache.json``: now the shards are a cache."""
    count = sum(shard["volumes"] for shard in shards)
    if count != len(table) or not count:
        raise CacheError(f"The table has {len(table)} rows, but there are {count} volumes; nothing was finished.")
    text = table.to_csv(index=False).encode()
    write_bytes(text, folder / TABLE)
    index = {
        "format": FORMAT,
        "columns": {column: "number" if _is_number(table[column]) else "text" for column in table},
        "table_sha256": hashlib.sha256(text).hexdigest(),
        "shards": list(shards),
        "preprocessing": dict(preprocessing),
    }
    write_bytes((json.dumps(index, indent=1) + "\n").encode(), folder / INDEX)


class Cache:
    """Volumes by index. Safe to hand to worker processes: each opens the files for itself.

    Parameters
    ----------
    verify : compare every shard with its sha256 first, which reads the whole cache once (and so warms the page cache).

    Raises
    ------
    CacheError : no cache, a shard that is missing, shortened or changed, or a table that was edited.
    """

    def __init__(self, folder: Path | str, *, verify: bool = True):
        self.folder = Path(folder)
        index = _read_index(self.folder)
        self.preprocessing: dict = index["preprocessing"]
        self.fingerprint: str = hashlib.sha256(json.dumps(index, sort_keys=True).encode()).hexdigest()
        self.table = _read_table(self.folder, index)
        self._shards = index["shards"]
        self._starts = np.cumsum([0] + [shard["volumes"] for shard in self._shards])
        for shard in self._shards:
            self._check_size(shard)
        if verify:
            self.verify()
        self._maps: OrderedDict[int, np.ndarray] = OrderedDict()
        first = self._map(0)
        self.size: tuple[int, int, int] = first.shape[1:]

    def __len__(self) -> int:
        return len(self.table)

    def batch(self, indices: Sequence[int]) -> torch.Tensor:
        """uint8 (B, 1, X, Y, Z): 255 times the value. Negative or too large indices raise IndexError."""
        indices = np.asarray(indices, dtype=np.int64)
        if indices.size and not (0 <= indices.min() and indices.max() < len(self)):
            raise IndexError(f"volume {indices.min()} to {indices.max()} of {len(self)}")
        out = torch.empty((len(indices), 1, *self.size), dtype=torch.uint8)
        target = out.numpy()
        for row, (shard, place) in enumerate(zip(*self._places(indices), strict=True)):
            target[row, 0] = self._map(int(shard))[place]
        return out

    def verify(self) -> None:
        """Compare every shard with its sha256. Raises CacheError that names the first one that differs."""

        def check(shard: dict) -> None:
            if file_sha256(self.folder / shard["file"]) != shard["sha256"]:
                raise self._damaged(shard, "was changed or damaged since it was written")

        with ThreadPoolExecutor(HASHING_THREADS) as pool:
            list(pool.map(check, self._shards))

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_maps": OrderedDict()}

    def _places(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        shards = np.searchsorted(self._starts, indices, side="right") - 1
        return shards, indices - self._starts[shards]

    def _map(self, number: int) -> np.ndarray:
        """The shard, held open as the newest; the monitors read while a thread reads ahead."""
        with _OPENING:
            volumes = self._maps.pop(number, None)
            if volumes is None:
                shard = self._shards[number]
                try:
                    volumes = np.load(self.folder / shard["file"], mmap_mode="r", allow_pickle=False)
                except (OSError, ValueError) as error:
                    raise self._damaged(shard, f"cannot be read ({error})") from None
            self._maps[number] = volumes
            if len(self._maps) > OPEN_SHARDS:
                self._maps.popitem(last=False)
            return volumes

    def _check_size(self, shard: dict) -> None:
        try:
            size = (self.folder / shard["file"]).stat().st_size
        except OSError as error:
            raise self._damaged(shard, f"cannot be read ({error.strerror})") from None
        if size != shard["bytes"]:
            raise self._damaged(shard, f"has {size} bytes instead of {shard['bytes']}")

    def _damaged(self, shard: dict, reason: str) -> CacheError:
        return CacheError(
            f"The shard '{self.folder / shard['file']}' {reason}; delete it and {INDEX} and prepare the cache again."
        )


def make_folder(folder: Path) -> None:
    """The folder and those above it. Raises CacheError where that cannot be."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise CacheError(f"The folder '{folder}' cannot be made ({error.strerror}); choose another.") from None


def _quantised(volumes: Iterable[np.ndarray], expected: int) -> Iterator[np.ndarray]:
    count, size = 0, None
    for count, volume in enumerate(volumes, start=1):
        if count > expected:
            break
        whole = quantise(volume, f"Volume {count - 1}")
        size = size or whole.shape
        if whole.shape != size:
            raise CacheError(f"Volume {count - 1} has the shape {whole.shape}, but the first one {size}.")
        yield whole
    if count != expected:
        raise CacheError(
            f"The table has {expected} rows, but there are {'more' if count > expected else count} volumes."
        )


def _chunks(volumes: Iterable[np.ndarray], size: int) -> Iterator[list[np.ndarray]]:
    chunk = []
    for volume in volumes:
        chunk.append(volume)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


def _read_index(folder: Path) -> dict:
    path = folder / INDEX
    try:
        index = json.loads(path.read_text(encoding="utf-8"))
        if index["format"] != FORMAT:
            raise CacheError(f"'{path}' is of format {index['format']}, this program reads {FORMAT}; prepare it again.")
        index["columns"], index["table_sha256"], index["preprocessing"], index["shards"][0]["sha256"]
    except FileNotFoundError:
        raise CacheError(f"'{folder}' holds no finished cache ({INDEX} is missing); prepare it first.") from None
    except (OSError, ValueError, KeyError, IndexError, TypeError) as error:
        raise CacheError(f"'{path}' cannot be read ({error}); prepare the cache again.") from None
    return index


def _read_table(folder: Path, index: dict) -> pd.DataFrame:
    path = folder / TABLE
    try:
        content = path.read_bytes()
    except OSError as error:
        raise CacheError(f"'{path}' cannot be read ({error.strerror}); prepare the cache again.") from None
    if hashlib.sha256(content).hexdigest() != index["table_sha256"]:
        raise CacheError(f"'{path}' was changed since it was written; prepare the cache again, or undo the change.")
    table = pd.read_csv(io.BytesIO(content), dtype=str, keep_default_na=False)
    for column, kind in index["columns"].items():
        if kind == "number":
            table[column] = pd.to_numeric(table[column].mask(table[column] == ""))
    return table


def _is_number(column: pd.Series) -> bool:
    return pd.api.types.is_numeric_dtype(column) and not pd.api.types.is_bool_dtype(column)
