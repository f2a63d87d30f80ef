"""``python -m Training prepare``: the scans of a manifest, standardised in parallel, as a cache; resumable.

One shard is one job. A shard counts as done once its ``.json`` lies beside it, which is written after it and names the
rows, files and settings it was made from; so a killed run goes on where it was, and changed scans are made anew.
Scans that cannot be used are left out and listed in ``failures.csv``; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import multiprocessing
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import numpy as np
import pandas as pd

from BrainIACLib.errors import BrainIACError, CacheError
from Training.data.bids import manifest_of_bids
from Training.data.cache import INDEX, finish_cache, make_folder, write_shard, write_whole
from Training.data.inventory import as_markdown, inventory
from Training.data.manifest import read_manifest
from Training.data.splits import refuse_overlaps, repeated_images
from Training.data.standardising import STEPS, Standardising, standardised_volume

SCANS_PER_SHARD = 32
Standardise = Callable[[Path, Standardising], tuple[np.ndarray, dict]]


@dataclasses.dataclass(frozen=True)
class Job:
    """The rows of one shard. ``key`` changes with their files and the settings."""

    number: int
    rows: tuple[int, ...]
    scans: tuple[str, ...]
    key: str

    def done(self, folder: Path) -> dict | None:
        """What the ``.json`` beside the finished shard says, or None."""
        try:
            record = json.loads(_record_path(folder, self.number).read_text(encoding="utf-8"))
            shard = record["shard"]
            if record["key"] == self.key and (
                shard is None or (folder / shard["file"]).stat().st_size == shard["bytes"]
            ):
                return record
        except (OSError, ValueError, KeyError, TypeError):
            pass
        return None


def prepare(
    table: pd.DataFrame,
    folder: Path,
    how: Standardising,
    *,
    workers: int = 1,
    standardise_one: Standardise = standardised_volume,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> pd.DataFrame:
    """Make or go on with the cache of a manifest (absolute paths in ``scan``).

    Returns
    -------
    What failed: columns ``scan`` and ``reason``; empty if nothing did.

    Raises
    ------
    ManifestError : a person or an image is in two roles (found once the images are read). Shards stay.
    CacheError : the folder holds the cache of something else, the disk is full, a worker died, or every scan failed.
    """
    make_folder(folder)
    jobs = list(_jobs(table, how))
    key = hashlib.sha256("".join(job.key for job in jobs).encode()).hexdigest()
    if (folder / INDEX).exists():
        if json.loads((folder / INDEX).read_text(encoding="utf-8"))["preprocessing"].get("key") != key:
            raise CacheError(f"'{folder}' holds the cache of other scans or settings; choose another folder.")
        # no return: roles and labels may have been edited since, and the table must follow them
    records = {job.number: record for job in jobs if (record := job.done(folder)) is not None}
    report(sum(len(jobs[number].rows) for number in records), len(table))
    for job, record in _run([job for job in jobs if job.number not in records], folder, how, workers, standardise_one):
        records[job.number] = record
        report(sum(len(jobs[number].rows) for number in records), len(table))
    ordered = [records[number] for number in range(len(jobs))]
    failures = _failures(folder, table, ordered)
    kept = [(row, facts) for record in ordered for row, facts in zip(record["rows"], record["facts"], strict=True)]
    if not kept:
        raise CacheError(f"No scan could be used: {failures['reason'].iloc[0]} '{folder / 'failures.csv'}' says why.")
    volumes = table.iloc[[row for row, _ in kept]].reset_index(drop=True)
    volumes = pd.concat([volumes, pd.DataFrame([facts for _, facts in kept])], axis=1)
    refuse_overlaps(volumes, str(folder))
    root = os.path.commonpath([str(Path(scan).parent) for scan in volumes["scan"]])
    volumes["scan"] = [Path(os.path.relpath(scan, root)).as_posix() for scan in volumes["scan"]]
    shards = [record["shard"] for record in ordered if record["shard"] is not None]
    finish_cache(folder, volumes, shards, {**dataclasses.asdict(how), "key": key})
    write_whole(folder / "inventory.csv", inventory(volumes).to_csv(index=False).encode())
    return failures


def _jobs(table: pd.DataFrame, how: Standardising) -> Iterator[Job]:
    settings = json.dumps(dataclasses.asdict(how), sort_keys=True)
    for number, start in enumerate(range(0, len(table), SCANS_PER_SHARD)):
        part = table.iloc[start : start + SCANS_PER_SHARD]
        digest = hashlib.sha256(settings.encode())
        for scan in part["scan"]:
            status = Path(scan).stat()
            digest.update(f"{scan}|{status.st_size}|{status.st_mtime_ns}\n".encode())
        yield Job(number, tuple(range(start, start + len(part))), tuple(part["scan"]), digest.hexdigest())


def _run(
    jobs: Sequence[Job], folder: Path, how: Standardising, workers: int, standardise_one: Standardise
) -> Iterator[tuple[Job, dict]]:
    if workers == 1 or len(jobs) < 2:
        for job in jobs:
            yield job, _make_shard(job, folder, how, standardise_one)
        return
    # Spawned, since torch and ITK have threads that a forked child would wait for in vain.
    pool = ProcessPoolExecutor(min(workers, len(jobs)), multiprocessing.get_context("spawn"), _one_thread)
    try:
        futures = {pool.submit(_make_shard, job, folder, how, standardise_one): job for job in jobs}
        for future in as_completed(futures):
            yield futures[future], future.result()
    except BrokenProcessPool:
        raise CacheError(
            "A worker process was killed, perhaps for want of memory; run the command again with fewer --workers: "
            "finished shards are kept."
        ) from None
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _one_thread() -> None:
    import SimpleITK as sitk
    import torch

    torch.set_num_threads(1)
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)


def _make_shard(job: Job, folder: Path, how: Standardising, standardise_one: Standardise) -> dict:
    volumes, rows, facts, failed = [], [], [], []
    for row, scan in zip(job.rows, job.scans, strict=True):
        try:
            volume, fact = standardise_one(Path(scan), how)
        except BrainIACError as error:
            failed.append({"row": row, "reason": str(error)})
            continue
        volumes.append(volume)
        rows.append(row)
        facts.append(fact)
    shard = write_shard(folder, job.number, np.stack(volumes)) if volumes else None
    record = {"key": job.key, "shard": shard, "rows": rows, "facts": facts, "failed": failed}
    write_whole(_record_path(folder, job.number), json.dumps(record).encode())
    return record


def _record_path(folder: Path, number: int) -> Path:
    return folder / f"shard-{number:05d}.json"


def _failures(folder: Path, table: pd.DataFrame, records: Sequence[dict]) -> pd.DataFrame:
    rows = [(table["scan"].iloc[one["row"]], one["reason"]) for record in records for one in record.get("failed", ())]
    failures = pd.DataFrame(rows, columns=["scan", "reason"])
    if len(failures):
        write_whole(folder / "failures.csv", failures.to_csv(index=False).encode())
    return failures


def main(argv: list[str]) -> int:
    """Prepare a cache from the command line."""
    parser = argparse.ArgumentParser(prog="python -m Training prepare", description=__doc__.splitlines()[0])
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--manifest", type=Path, help="CSV with at least scan, patient, dataset")
    source.add_argument("--bids", type=Path, help="BIDS folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cache; run again to go on")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="processes")
    parser.add_argument("--size", type=int, nargs=3, default=(128, 128, 128), metavar=("X", "Y", "Z"))
    parser.add_argument("--steps", choices=STEPS, default="standard", help="'stored': scans are standardised already")
    parser.add_argument("--brain-extraction", default="auto", help="as 'brainiac analyze --help' lists them")
    parser.add_argument("--clip-percentiles", type=float, nargs=2, metavar=("LOW", "HIGH"), help="before min-max")
    parser.add_argument("--seed", type=int, default=0, help="of the registration's sample points")
    options = parser.parse_args(argv)
    how = Standardising(
        size=tuple(options.size),
        steps=options.steps,
        brain_extraction=options.brain_extraction,
        clip_percentiles=tuple(options.clip_percentiles) if options.clip_percentiles else None,
        seed=options.seed,
    )
    started = time.monotonic()

    def report(done: int, of: int) -> None:
        print(f"{done} of {of} scans, {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)

    try:
        table = read_manifest(options.manifest) if options.manifest else manifest_of_bids(options.bids)
        refuse_overlaps(table, str(options.manifest or options.bids))
        failures = prepare(table, options.out, how, workers=max(1, options.workers), report=report)
    except BrainIACError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("prepare: stopped; finished shards are kept, run the command again to go on.", file=sys.stderr)
        return 130
    print(as_markdown(pd.read_csv(options.out / "inventory.csv", keep_default_na=False, dtype=str)))
    for first, second in _repeated(options.out):
        print(f"prepare: warning: '{first}' and '{second}' hold the same image.", file=sys.stderr)
    for failure in failures.itertuples():
        print(f"prepare: left out: {failure.reason}", file=sys.stderr)
    return 1 if len(failures) else 0


def _repeated(folder: Path) -> list[tuple[str, str]]:
    from Training.data.cache import Cache

    table = Cache(folder, verify=False).table
    return [(table["scan"][first], table["scan"][second]) for first, second in repeated_images(table)]
