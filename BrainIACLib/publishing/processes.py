"""Which process made a file, written into its name, and whether that process is gone."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import sys


def this_process() -> str:
    """Of the computer and the process, without a dot or a space: "1f3a9c02-4711"."""
    return f"{_computer()}-{os.getpid()}"


def is_gone(process: str) -> bool:
    """True only where ``process``, as ``this_process`` called it, was of this computer and runs no more."""
    computer, _, number = process.partition("-")
    return computer == _computer() and number.isdecimal() and not _runs(int(number))


@functools.cache
def _computer() -> str:
    """Also of the container: process numbers of one mean nothing in another, which may have the same host name."""
    try:
        numbering = os.readlink("/proc/self/ns/pid")
    except OSError:
        numbering = ""
    return hashlib.sha256(f"{socket.gethostname()} {numbering}".encode()).hexdigest()[:8]


def _runs(number: int) -> bool:
    if sys.platform == "win32":  # where os.kill(number, 0) would end it
        import ctypes

        kernel, exit_code = ctypes.windll.kernel32, ctypes.c_ulong()
        handle = kernel.OpenProcess(0x1000, False, number)  # PROCESS_QUERY_LIMITED_INFORMATION
        if not handle:
            return kernel.GetLastError() == 5  # ERROR_ACCESS_DENIED: it runs, and is not ours
        kernel.GetExitCodeProcess(handle, ctypes.byref(exit_code))
        kernel.CloseHandle(handle)
        return exit_code.value == 259  # STILL_ACTIVE
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True
