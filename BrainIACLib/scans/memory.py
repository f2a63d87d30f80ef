"""Whether there is room for what a header asks for, before anything is allocated or unpacked."""

from __future__ import annotations

import ctypes
import os
import shutil
import sys
from pathlib import Path

from BrainIACLib.scans.scan import Refused

SPARED = 256 << 20  # bytes of memory or disk that are left to everybody else


def check_memory(needed: int) -> None:
    """``Refused`` if ``needed`` bytes are more than is free. Not asked for what every machine has."""
    free = free_memory() if needed > SPARED else None
    if free is not None and needed > free - SPARED:
        raise Refused(
            f"needs about {needed / 2**30:.1f} GiB of memory, and {max(free, 0) / 2**30:.1f} GiB are free; close other "
            "programs, or give a scan of fewer voxels."
        )


def check_disk(needed: int, folder: Path) -> None:
    """``Refused`` if ``needed`` bytes do not fit on the disk of ``folder``."""
    free = shutil.disk_usage(folder).free
    if needed > free - SPARED:
        raise Refused(
            f"unpacks to {needed / 2**30:.1f} GiB, and the disk for temporary files has {free / 2**30:.1f} GiB left; "
            "free some space there."
        )


def free_memory() -> int | None:
    """Bytes of memory that this process could still take without swapping; None where the system does not tell."""
    if sys.platform == "win32":
        return _free_on_windows(ctypes.windll.kernel32)
    try:
        lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
        free = next(1024 * int(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except (OSError, ValueError, IndexError, StopIteration):
        try:
            return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")  # macOS tells no more than this cheaply
        except (OSError, ValueError):
            return None
    limit = _number(Path("/sys/fs/cgroup/memory.max"))  # of a container
    used = _number(Path("/sys/fs/cgroup/memory.current"))
    return free if limit is None or used is None else min(free, limit - used)


def _number(file: Path) -> int | None:
    try:
        return int(file.read_text(encoding="ascii"))
    except (OSError, ValueError):
        return None


def _free_on_windows(kernel: ctypes.CDLL) -> int | None:
    class MemoryStatus(ctypes.Structure):  # MEMORYSTATUSEX
        _fields_ = (
            ("length", ctypes.c_ulong),
            ("load", ctypes.c_ulong),
            *((name, ctypes.c_ulonglong) for name in ("physical", "free", "page", "free_page", "virtual")),
            ("free_virtual", ctypes.c_ulonglong),
            ("extended", ctypes.c_ulonglong),
        )

    status = MemoryStatus(length=ctypes.sizeof(MemoryStatus))
    told = kernel.GlobalMemoryStatusEx(ctypes.byref(status))
    return int(status.free) if told else None
