"""Lead a process group, and end one: a launcher in front of the interpreter must not survive or shield it."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys

LONGEST_KILL = 10.0  # seconds


def lead_own_group() -> None:
    """Called by the worker first: its children, and nothing else, share its group."""
    if sys.platform != "win32":
        with contextlib.suppress(PermissionError):  # it leads one already
            os.setsid()


def end_group(pid: int) -> None:
    """End the process ``pid`` and everything that it started, at once; a process that is gone is no error."""
    if sys.platform == "win32":
        with contextlib.suppress(subprocess.TimeoutExpired):
            subprocess.run(
                ["taskkill", "/PID", str(pid), "/T", "/F"],
                capture_output=True,
                creationflags=subprocess.CREATE_NO_WINDOW,
                timeout=LONGEST_KILL,
            )
        return
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)
