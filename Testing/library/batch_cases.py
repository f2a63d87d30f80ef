"""What the tests of the batch do with a case instead of analyzing it: importable by name, as children need it."""

from __future__ import annotations

import os
import re
import signal
import time
from pathlib import Path

from BrainIACLib.batch.cases import BatchCase
from BrainIACLib.errors import NotWritten, ScanError

COUNTED, DEATHS, TRIED = "counted.txt", "deaths.txt", "tried.txt"


def _note(case: BatchCase, name: str) -> None:
    with (Path(case.path).parent / "out" / name).open("a") as file:
        file.write(Path(case.path).name + "\n")


def counting(case: BatchCase) -> dict[str, object]:
    """Notes that it was done; a file that says "bad" fails."""
    path = Path(case.path)
    if not path.exists():
        raise ScanError(f"'{case.path}' does not exist.")
    if path.read_bytes() == b"bad":
        raise ScanError(f"'{case.path}' is bad.")
    _note(case, COUNTED)
    return {"size": path.stat().st_size}


def trying(case: BatchCase) -> dict[str, object]:
    """Notes every attempt; all fail while the output holds a file "trouble"."""
    _note(case, TRIED)
    if (Path(case.path).parent / "out" / "trouble").exists():
        raise ScanError("The license server does not answer.")
    return counting(case)


def seeing(case: BatchCase) -> dict[str, object]:
    """Says which graphics processors its process may use."""
    return {"gpu": os.environ.get("CUDA_VISIBLE_DEVICES", "")}


def waiting(case: BatchCase) -> dict[str, object]:
    """Takes a while, so that others are at work as well."""
    time.sleep(0.3)
    return counting(case)


def dying(case: BatchCase) -> dict[str, object]:
    """Ends its process, or has too little memory."""
    text, deaths = Path(case.path).read_bytes(), Path(case.path).parent / "out" / DEATHS
    before = deaths.read_text().split().count(Path(case.path).name) if deaths.is_file() else 0
    if text in (b"deadly", b"too large") or (text == b"deadly once" and not before):
        _note(case, DEATHS)
        if text == b"too large":
            raise MemoryError
        os.kill(os.getpid(), signal.SIGKILL)
    return counting(case)


def unwritable(case: BatchCase) -> dict[str, object]:
    """As where the disk is full from the fourth case on."""
    if len(list((Path(case.path).parent / "out").glob("done-*"))) >= 3:
        raise NotWritten("'out' cannot be written (No space left on device); free some space.")
    found = counting(case)
    (Path(case.path).parent / "out" / f"done-{Path(case.path).name}").touch()
    return found


def checked_names(out: Path) -> tuple[int, list[str]]:
    """How many files of a folder of derivatives have names by the BIDS schema, and which names it does not know, of
    those that .bidsignore does not name."""
    from bidsschematools.rules import regexify_filename_rules
    from bidsschematools.schema import load_schema

    schema = load_schema()
    groups = (schema.rules.files.deriv.imaging, schema.rules.files.raw.anat)
    rules = [rule["regex"] for group in groups for rule in regexify_filename_rules(group, schema, level=1)]
    patterns = [re.compile(rule) for rule in rules]
    ignored = [line.removeprefix("*").rstrip("*") for line in (out / ".bidsignore").read_text().split()]
    names = [
        path.relative_to(out).as_posix()
        for path in out.rglob("sub-*_*")
        if path.is_file() and not path.name.endswith(tuple(ignored)) and "_MRI." not in path.name
    ]
    return len(names), [name for name in names if not any(pattern.fullmatch(name) for pattern in patterns)]
