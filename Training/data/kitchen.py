"""Which scans each shard still waits for, what became of the others, and the shard once it waits for none."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from BrainIACLib.errors import CacheError
from BrainIACLib.publishing import write_bytes
from Training.data.cache import write_shard
from Training.data.scan_files import read_scan, scan_file
from Training.data.shards import FinishedShards, Job, Known, size_of


class Kitchen:
    """The shards in the making: which scans each of them still waits for, and what became of the others."""

    def __init__(self, folder: Path, known: dict[str, Known], jobs: Sequence[Job]):
        self._folder, self._jobs = folder, jobs
        self._finished = FinishedShards(folder)
        wanted = {key for job in jobs for key in job.scan_keys}
        self._known = {key: one for key, one in known.items() if key in wanted and self._finished.is_sound(one.shard)}
        self._reasons: dict[str, str] = {}
        self._waiting = {job.number: set(job.scan_keys) - set(self._known) for job in jobs}

    def needed(self) -> list[tuple[str, str]]:
        """(path, key) of every scan that no finished shard holds."""
        return [
            (scan, key)
            for job in self._jobs
            for scan, key in zip(job.scans, job.scan_keys, strict=True)
            if key not in self._known
        ]

    def complete(self) -> list[Job]:
        """The shards that wait for nothing."""
        return [job for job in self._jobs if not self._waiting[job.number]]

    def take(self, key: str, reason: str) -> list[Job]:
        """A scan is done, or cannot be used; the shards that are complete by that."""
        if reason:
            self._reasons[key] = reason
        found = [job for job in self._jobs if key in self._waiting[job.number]]
        for job in found:
            self._waiting[job.number].discard(key)
        return [job for job in found if not self._waiting[job.number]]

    def shard(self, job: Job) -> dict:
        """Write a complete shard and its record, and remove the files of its scans."""
        record: dict = {"key": job.key, "settings": job.settings, "shard": None}
        record |= {"rows": [], "scan_keys": [], "sizes": [], "facts": [], "failed": []}
        volumes = []
        for row, scan, key in zip(job.rows, job.scans, job.scan_keys, strict=True):
            if key in self._reasons:
                record["failed"].append({"row": row, "reason": self._reasons[key]})
                continue
            kept = self._finished.volume(self._known[key]) if key in self._known else read_scan(self._folder, key)
            if kept is None:
                raise CacheError(f"'{scan_file(self._folder, key)}' was changed meanwhile; run the command again.")
            volumes.append(kept[0])
            record["rows"].append(row)
            record["scan_keys"].append(key)
            record["sizes"].append(size_of(scan))
            record["facts"].append(kept[1])
        if volumes:
            record["shard"] = write_shard(self._folder, job.number, np.stack(volumes))
        write_bytes(json.dumps(record).encode(), self._folder / job.record_name)
        for key in job.scan_keys:
            scan_file(self._folder, key).unlink(missing_ok=True)
        return record
