"""Whether the files that a scan is read from are still the same, without reading them."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path

from BrainIACLib.scans.formats import suffix

ALONE = (".nii.gz", ".nii", ".nrrd", ".mha", ".zip")  # of files, each a scan; looked at first, since most are
DETACHED = (".hdr", ".hdr.gz", ".img", ".img.gz", ".mhd", ".nhdr")


def input_state(path: str) -> str:
    """What changes whenever a file changes that the scan is read from: sizes and times.

    Of a detached header it is the whole folder that counts, of DICOM every file below or beside: more than is needed,
    so that a change is never missed.

    Raises
    ------
    OSError : there is no such file.
    """
    if path.endswith(ALONE):
        state = os.stat(path)
        return f"{state.st_size}|{state.st_mtime_ns}"
    if os.path.isdir(path):
        below = (os.path.join(parent, name) for parent, _, names in os.walk(path) for name in names)
        files: Sequence[str] = sorted(below)
    elif suffix(Path(path)) in (*DETACHED, "", ".dcm", ".ima"):
        os.stat(path)
        files = sorted(entry.path for entry in os.scandir(os.path.dirname(path) or ".") if entry.is_file())
    else:
        files = (path,)
    states = [os.stat(file) for file in files]
    text = "|".join(f"{file}:{state.st_size}:{state.st_mtime_ns}" for file, state in zip(files, states, strict=True))
    return hashlib.sha256(os.fsencode(text)).hexdigest()[:16]
