"""Scans standardized in several processes, each kept in a file of its own until its shard is written."""

from __future__ import annotations

import hashlib
import io
import json
import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np

from BrainIACLib.errors import BrainIACError, CacheError
from BrainIACLib.publishing import write_bytes
from Training.data.standardising import Standardising

Standardise = Callable[[Path, Standardising], tuple[np.ndarray, dict]]


def standardised(
    scans: Sequence[tuple[str, str]], folder: Path, how: Standardising, workers: int, standardise_one: Standardise
) -> Iterator[tuple[str, str]]:
    """(key, why it cannot be used or "") of each scan, as soon as its volume is on the disk."""
    if workers == 1 or len(scans) < 2:
        for scan, key in scans:
            yield key, _standardise(scan, key, folder, how, standardise_one)
        return
    # Spawned, since torch and ITK have threads that a forked child would wait for in vain.
    pool = ProcessPoolExecutor(min(workers, len(scans)), multiprocessing.get_context("spawn"), _one_thread)
    try:
        futures = {pool.submit(_standardise, scan, key, folder, how, standardise_one): key for scan, key in scans}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        raise CacheError(
            "A worker process was killed, perhaps for want of memory; run the command again with fewer --workers: "
            "finished scans are kept."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    import SimpleITK as sitk
    import torch

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _standardise(scan: str, key: str, folder: Path, how: Standardising, standardise_one: Standardise) -> str:
    """Keep the volume of a scan, unless an earlier run did; "" or the reason why it cannot be used."""
    if read_scan(folder, key) is not None:
        return ""
    try:
        volume, facts = standardise_one(Path(scan), how)
    except BrainIACError as error:
        return str(error)
    stream = io.BytesIO()
    np.savez(stream, volume=volume, facts=json.dumps(facts))
    content = stream.getvalue()
    write_bytes(hashlib.sha256(content).digest() + content, scan_file(folder, key))
    return ""


def scan_file(folder: Path, key: str) -> Path:
    """Where the volume of a scan is kept."""
    return folder / f"scan-{key}.part"


def read_scan(folder: Path, key: str) -> tuple[np.ndarray, dict] | None:
    """The volume that ``_standardise`` kept, and its facts; None where there is none, or one that is not whole."""
    try:
        content = scan_file(folder, key).read_bytes()
    except FileNotFoundError:
        return None
    digest, rest = content[:32], content[32:]
    if hashlib.sha256(rest).digest() != digest:
        return None
    with np.load(io.BytesIO(rest), allow_pickle=False) as arrays:
        return arrays["volume"], json.loads(str(arrays["facts"]))
