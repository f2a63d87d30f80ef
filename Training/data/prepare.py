"""``python -m Training prepare``: the scans of a manifest, standardized in parallel, as a cache; resumable.

Each scan is one job, whose volume is kept in a file of its own until its shard is written. A shard counts as done once
its ``.json`` lies beside it, which is written after it and names the rows, files and settings it was made from. So a
killed run loses the scans that were in work and no others, and changed scans are made anew. What lies on the disk is
believed by its sha256 alone. The same holds for a finished cache whose manifest was edited: labels and roles follow,
new scans are standardized, those that are gone are left out, and what is there already is copied. Until all of that is
done the old cache stays whole. Scans that cannot be used are left out, listed in ``failures.csv`` and tried again by
the next run; the exit status is then 1.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from filelock import FileLock, Timeout

from BrainIACLib.errors import BrainIACError, CacheError
from BrainIACLib.foreign_text import spreadsheet_cell
from BrainIACLib.publishing import write_bytes
from Training.data.bids import manifest_of_bids
from Training.data.cache import INDEX, Cache, finish_cache, make_folder
from Training.data.inventory import as_markdown, inventory
from Training.data.kitchen import Kitchen
from Training.data.manifest import label_columns, near_names, read_manifest
from Training.data.scan_files import Standardise, standardised
from Training.data.shards import Job, Known, jobs_of, known_volumes, remove_others
from Training.data.splits import refuse_overlaps, repeated_images
from Training.data.standardising import STEPS, Standardising, standardised_volume, standardising_of

LOCK = ".lock"
MADE_FROM = "made-from.json"  # beside a finished cache: what it was made from, to notice an edited manifest


def prepare(
    table: pd.DataFrame,
    folder: Path,
    how: Standardising,
    *,
    workers: int = 1,
    standardise_one: Standardise = standardised_volume,
    report: Callable[[int, int], None] = lambda done, of: None,
) -> pd.DataFrame:
    """Make, go on with, or bring up to date the cache of a manifest (absolute paths in ``scan``).

    Returns
    -------
    What failed: columns ``scan`` and ``reason``; empty if nothing did.

    Raises
    ------
    ManifestError : a person or an image is in two roles (found once the images are read). Shards stay.
    CacheError : the folder holds the cache of something else, the disk is full, a worker died, every scan failed, or
        another process is at it.
    """
    make_folder(folder)
    try:
        with FileLock(folder / LOCK, timeout=0):
            return _prepare(table, folder, how, workers, standardise_one, report)
    except Timeout:
        raise CacheError(f"Another process is preparing '{folder}'; wait for it, or choose another folder.") from None


def _prepare(
    table: pd.DataFrame,
    folder: Path,
    how: Standardising,
    workers: int,
    standardise_one: Standardise,
    report: Callable[[int, int], None],
) -> pd.DataFrame:
    _refuse_other_settings(folder, how)
    jobs = list(jobs_of(table, how))
    known = known_volumes(folder, jobs)
    _refuse_other_scans(folder, known, jobs)
    records = {job.number: record for job in jobs if (record := job.done(folder)) is not None}
    done = sum(len(jobs[number].rows) for number in records)
    report(done, len(table))
    kitchen = Kitchen(folder, known, [job for job in jobs if job.number not in records])
    for job in kitchen.complete():
        records[job.number] = kitchen.shard(job)
    for key, reason in standardised(kitchen.needed(), folder, how, workers, standardise_one):
        done += 1
        report(done, len(table))
        for job in kitchen.take(key, reason):
            records[job.number] = kitchen.shard(job)
    ordered = [records[number] for number in range(len(jobs))]
    failures = _failures(folder, table, ordered)
    kept = [(row, facts) for record in ordered for row, facts in zip(record["rows"], record["facts"], strict=True)]
    if not kept:
        raise CacheError(f"No scan could be used: {failures['reason'].iloc[0]} '{folder / 'failures.csv'}' says why.")
    volumes = table.iloc[[row for row, _ in kept]].reset_index(drop=True)
    volumes = pd.concat([volumes, pd.DataFrame([facts for _, facts in kept])], axis=1)
    refuse_overlaps(volumes, str(folder))
    volumes["scan"] = _short_names(volumes["scan"])
    shards = [record["shard"] for record in ordered if record["shard"] is not None]
    finish_cache(folder, volumes, shards, dataclasses.asdict(how))
    write_bytes(inventory(volumes).to_csv(index=False).encode(), folder / "inventory.csv")
    write_bytes(json.dumps(_made_from(table, jobs)).encode(), folder / MADE_FROM)
    remove_others(folder, {shard["file"] for shard in shards} | {job.record_name for job in jobs})
    return failures


def cache_of_manifest(
    manifest: Path,
    folder: Path,
    *,
    how: Standardising | None = None,
    workers: int = 1,
    alone: bool = True,
    standardise_one: Standardise = standardised_volume,
) -> Path:
    """The finished cache ``folder``, first made from the manifest, or brought up to date where that was edited since.

    Parameters
    ----------
    how : settings; by default those of the cache, or where there is none yet the usual ones.
    alone : False in one of several processes of a training, which must not all prepare: an old cache is then refused.

    Raises
    ------
    ManifestError, CacheError : as ``read_manifest`` and ``prepare``.
    """
    how = how or settings_of(folder) or Standardising()
    table = read_manifest(manifest)
    refuse_overlaps(table, str(manifest))
    finished = (folder / INDEX).exists()
    if finished:
        _refuse_other_settings(folder, how)
        if _text(folder / MADE_FROM) == json.dumps(_made_from(table, list(jobs_of(table, how)))):
            return folder
    edited = f"'{manifest}' was edited since '{folder}' was made from it, or another brain extraction is installed"
    state = edited if finished else f"'{folder}' is not prepared"
    if not alone:
        otherwise = " (or give --cache alone to take it as it is)" if finished else ""
        raise CacheError(
            f"{state}; first run: python -m Training prepare --manifest {manifest} --out {folder}{otherwise}."
        )
    print(f"{state}: preparing it.", file=sys.stderr, flush=True)
    failures = prepare(table, folder, how, workers=workers, standardise_one=standardise_one, report=_reporter())
    _tell(folder, failures)
    return folder


def settings_of(folder: Path) -> Standardising | None:
    """The settings of a finished cache that ``prepare`` made; None where there is no finished cache."""
    if not (folder / INDEX).exists():
        return None
    try:
        return standardising_of(json.loads((folder / INDEX).read_text(encoding="utf-8"))["preprocessing"])
    except (OSError, ValueError, KeyError, TypeError):
        raise CacheError(f"'{folder}' holds a cache that was not prepared from a manifest; choose another.") from None


def _refuse_other_settings(folder: Path, how: Standardising) -> None:
    before = settings_of(folder)
    differing = [
        f"{field.name} is {getattr(before, field.name)} there and {getattr(how, field.name)} here"
        for field in dataclasses.fields(Standardising)
        if before is not None and getattr(before, field.name) != getattr(how, field.name)
    ]
    if differing:
        raise CacheError(f"'{folder}' holds a cache of other settings ({'; '.join(differing)}); choose another folder.")


def _refuse_other_scans(folder: Path, known: dict[str, Known], jobs: Sequence[Job]) -> None:
    """An edit keeps most scans: whatever keeps fewer than half is taken for another manifest, and loses nothing."""
    if not known and (folder / INDEX).exists():
        raise CacheError(
            f"'{folder}' holds a cache without records of the scans that it was made from (an older version made it, "
            "or they were deleted), so it cannot be brought up to date; delete it, or choose another folder."
        )
    wanted = {key for job in jobs for key in job.scan_keys}
    same = sum(key in wanted for key in known)
    if 2 * same < len(known):
        raise CacheError(
            f"'{folder}' holds {len(known)} volumes of other scans or settings, and only {same} of them are of the "
            "manifest's scans as these are now (same content and brain extraction); choose another folder."
        )


def _made_from(table: pd.DataFrame, jobs: Sequence[Job]) -> dict[str, str]:
    """``scans`` changes with a file, the settings, the network that extracts the brain or the order; ``labels`` with
    any other cell of the manifest."""
    cells = table.drop(columns="scan").to_csv(index=False)
    return {
        "scans": hashlib.sha256("".join(job.key for job in jobs).encode()).hexdigest(),
        "labels": hashlib.sha256(cells.encode()).hexdigest(),
    }


def _failures(folder: Path, table: pd.DataFrame, records: Sequence[dict]) -> pd.DataFrame:
    rows = [(table["scan"].iloc[one["row"]], one["reason"]) for record in records for one in record["failed"]]
    failures = pd.DataFrame(rows, columns=["scan", "reason"])
    if len(failures):
        write_bytes(failures.map(spreadsheet_cell).to_csv(index=False).encode(), folder / "failures.csv")
    else:
        (folder / "failures.csv").unlink(missing_ok=True)  # of an earlier run
    return failures


def _short_names(scans: pd.Series) -> list[str]:
    """The paths below the folder that all have in common: no folder of this machine."""
    try:
        root = os.path.commonpath([str(Path(scan).parent) for scan in scans])
    except ValueError:  # on several drives of Windows
        return [Path(scan).as_posix() for scan in scans]
    return [Path(os.path.relpath(scan, root)).as_posix() for scan in scans]


def _text(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.is_file() else ""


def _reporter() -> Callable[[int, int], None]:
    """One line a scan, but not more than one a second; the last is always told."""
    started = time.monotonic()
    told = -np.inf

    def report(done: int, of: int) -> None:
        nonlocal told
        if done == of or time.monotonic() - told >= 1:
            told = time.monotonic()
            print(f"{done} of {of} scans, {told - started:.0f} s", file=sys.stderr, flush=True)

    return report


def _tell(folder: Path, failures: pd.DataFrame) -> None:
    """What a person should know about a cache that was just made."""
    table = Cache(folder, verify=False).table
    for first, second in repeated_images(table):
        print(
            f"prepare: warning: '{table['scan'][first]}' and '{table['scan'][second]}' hold the same image.",
            file=sys.stderr,
        )
    for sentence in near_names(table, label_columns()):
        print(f"prepare: {sentence}", file=sys.stderr)
    for failure in failures.itertuples():
        print(f"prepare: left out: {failure.reason}", file=sys.stderr)


def main(argv: list[str]) -> int:
    """Prepare a cache from the command line."""
    parser = argparse.ArgumentParser(
        prog="python -m Training prepare",
        description=__doc__.splitlines()[0],
        epilog="Settings that are not given are those of the cache, where there is one.",
    )
    source = parser.add_mutually_exclusive_group(required=True)
    source.add_argument("--manifest", type=Path, help="CSV with at least scan, patient, dataset")
    source.add_argument("--bids", type=Path, help="BIDS folder")
    parser.add_argument("--out", type=Path, required=True, help="folder of the cache; run again to go on")
    parser.add_argument("--workers", type=int, default=max(1, (os.cpu_count() or 1) // 2), help="processes")
    parser.add_argument("--size", type=int, nargs=3, metavar=("X", "Y", "Z"), help="in voxels, default 128 128 128")
    parser.add_argument("--steps", choices=STEPS, help="'stored': scans are standardized already; default 'standard'")
    parser.add_argument("--brain-extraction", help="as 'brainiac analyze --help' lists them, default auto")
    parser.add_argument("--clip-percentiles", type=float, nargs=2, metavar=("LOW", "HIGH"), help="before min-max")
    parser.add_argument("--seed", type=int, help="of the registration's sample points, default 0")
    options = parser.parse_args(argv)
    names = [field.name for field in dataclasses.fields(Standardising)]
    given = {name: value for name in names if (value := getattr(options, name)) is not None}
    given = {name: tuple(value) if isinstance(value, list) else value for name, value in given.items()}
    try:
        how = dataclasses.replace(settings_of(options.out) or Standardising(), **given)
        table = read_manifest(options.manifest) if options.manifest else manifest_of_bids(options.bids)
        refuse_overlaps(table, str(options.manifest or options.bids))
        failures = prepare(table, options.out, how, workers=max(1, options.workers), report=_reporter())
    except BrainIACError as error:
        print(f"prepare: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("prepare: stopped; finished scans are kept, run the command again to go on.", file=sys.stderr)
        return 130
    print(as_markdown(pd.read_csv(options.out / "inventory.csv", keep_default_na=False, dtype=str)))
    _tell(options.out, failures)
    return 1 if len(failures) else 0
