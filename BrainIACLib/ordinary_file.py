"""A pipe or a device where a file is expected: opening one may wait for ever."""

from __future__ import annotations

import errno
import stat
from pathlib import Path


def check_ordinary(path: Path) -> None:
    """Return for a file or a folder.

    Raises
    ------
    OSError : there is nothing at ``path``, or it is a pipe, a socket or a device.
    ValueError : ``path`` cannot be the name of anything.
    """
    mode = path.stat().st_mode
    if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
        raise OSError(errno.EINVAL, "it is a pipe or a device, not a file", str(path))
