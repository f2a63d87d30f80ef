"""The shards of a cache in the making: what each is made from, and what the records on the disk say of those before."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from BrainIACLib.file_hash import file_sha256
from BrainIACLib.preprocessing.brain_extraction import network_version
from BrainIACLib.scans.input_state import ALONE, input_state
from Training.data.standardising import Standardising

SCANS_PER_SHARD = 32


@dataclasses.dataclass(frozen=True)
class Known:
    """Where the volume of a scan lies already, and what is known of it."""

    shard: dict
    place: int
    facts: dict


@dataclasses.dataclass(frozen=True)
class Job:
    """The rows of one shard. ``scan_keys`` change with a scan's file and the settings, ``key`` with any of them.

    ``settings`` is the hash of the settings, and of the network that extracts the brain.
    """

    number: int
    rows: tuple[int, ...]
    scans: tuple[str, ...]
    scan_keys: tuple[str, ...]
    settings: str

    @property
    def key(self) -> str:
        return hashlib.sha256("".join(self.scan_keys).encode()).hexdigest()

    @property
    def record_name(self) -> str:
        """Another one where other scans get this number, so that the record of before is there until all is done."""
        return f"shard-{self.number:05d}-{self.key[:8]}.json"

    def done(self, folder: Path) -> dict | None:
        """The record of the finished shard, or None; a scan that failed is tried again."""
        record = _read_record(folder / self.record_name)
        if not record or record["key"] != self.key or record["failed"]:
            return None
        return record if record["shard"] is None or _is_sound(folder, record["shard"]) else None


def jobs_of(table: pd.DataFrame, how: Standardising) -> Iterator[Job]:
    """The shards of a manifest."""
    settings = json.dumps(dataclasses.asdict(how), sort_keys=True)
    if how.steps == "standard":
        settings += f"\n{network_version(how.brain_extraction)}"
    short = _short(settings)
    for number, start in enumerate(range(0, len(table), SCANS_PER_SHARD)):
        scans = tuple(table["scan"].iloc[start : start + SCANS_PER_SHARD])
        keys = []
        for scan in scans:
            text = f"{settings}\n{scan}|{input_state(scan)}"
            keys.append(_short(text))
        yield Job(number, tuple(range(start, start + len(scans))), scans, tuple(keys), short)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def known_volumes(folder: Path, jobs: Sequence[Job]) -> dict[str, Known]:
    """By scan key, every volume of the shards in the folder, whichever manifest and table they were made for.

    A file of ``jobs`` whose time or place is new is compared by its content, if one of its size is known: data that
    were copied or moved are not standardized again.
    """
    known: dict[str, Known] = {}
    by_content: dict[tuple[str, int, str], str] = {}
    for path in sorted(folder.glob("shard-*.json")):
        record = _read_record(path)
        for place, key in enumerate(record["scan_keys"] if record else ()):
            facts = record["facts"][place]
            known[key] = Known(record["shard"], place, facts)
            if "settings" in record and record["sizes"][place] and "source_sha256" in facts:
                by_content[record["settings"], record["sizes"][place], facts["source_sha256"]] = key
    sizes = {(settings, size) for settings, size, _ in by_content}
    files = {key: (scan, job.settings) for job in jobs for scan, key in zip(job.scans, job.scan_keys, strict=True)}
    found = {}
    for key, (scan, settings) in files.items():
        size = size_of(scan)
        if key not in known and (settings, size) in sizes:
            before = by_content.get((settings, size, _content(scan)))
            found |= {key: before} if before else {}
    copied = {key: known[before] for key, before in found.items()}
    gone = set(found.values()) - set(files)
    return {key: volume for key, volume in known.items() if key not in gone} | copied


def size_of(scan: str) -> int:
    """Bytes of a scan that is one file; 0 of any other, which is known by its place and time alone."""
    try:
        return os.stat(scan).st_size if scan.endswith(ALONE) and os.path.isfile(scan) else 0
    except OSError:
        return 0


def _content(scan: str) -> str:
    try:
        return file_sha256(Path(scan))
    except OSError:  # whoever standardizes it will say so
        return ""


def _read_record(path: Path) -> dict | None:
    """What the ``.json`` beside a shard says, or None where it is not whole; the shard itself is not looked at."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        record["key"], record["scan_keys"], record["failed"], record["rows"], record["facts"], record["shard"]
        return record
    except (OSError, ValueError, KeyError, TypeError):
        return None


def remove_others(folder: Path, wanted: set[str]) -> None:
    """Shards and records of an earlier manifest."""
    for path in (*folder.glob("shard-*.npy"), *folder.glob("shard-*.json")):
        if path.name not in wanted:
            path.unlink(missing_ok=True)


def _is_sound(folder: Path, shard: dict) -> bool:
    """Whether a shard is what its record says, by its sha256."""
    try:
        return file_sha256(folder / shard["file"]) == shard["sha256"]
    except OSError:
        return False


class FinishedShards:
    """Volumes of finished shards; each is compared with its sha256 once, and one at a time is held."""

    def __init__(self, folder: Path):
        self._folder = folder
        self._sound: dict[str, bool] = {}
        self._name, self._volumes = "", np.empty(0)

    def is_sound(self, shard: dict) -> bool:
        """Whether the shard is what its record says."""
        if shard["file"] not in self._sound:
            self._sound[shard["file"]] = _is_sound(self._folder, shard)
        return self._sound[shard["file"]]

    def volume(self, known: Known) -> tuple[np.ndarray, dict]:
        """The volume and its facts, of a sound shard."""
        if known.shard["file"] != self._name:
            self._name = known.shard["file"]
            self._volumes = np.load(self._folder / self._name, allow_pickle=False)
        return self._volumes[known.place], known.facts
