"""What the words of a command line ask: which scans make up one study, what each is called, where its results go."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from BrainIACLib.answers import missing_slots
from BrainIACLib.contracts import HeadContract
from BrainIACLib.errors import BrainIACError
from BrainIACLib.sequences import sequence_named

ANY = "any"  # the slot of a head that takes any sequence


@dataclass(frozen=True)
class Question:
    """One study to answer about: slot -> scan, and slot -> folder for its results where they are written."""

    paths: Mapping[str, Path]
    folders: Mapping[str, Path] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """The names of its scans."""
        return ", ".join(path.name for path in self.paths.values())

    @property
    def names(self) -> dict[str, str]:
        """slot -> name of the scan in the study and in results."""
        one = len(self.paths) == 1
        return {slot: scan_name(path) if one else slot for slot, path in self.paths.items()}

    def to_json(self) -> dict[str, object]:
        """The fields that say what was asked about; ``file`` where it is one scan."""
        files = {slot: str(path) for slot, path in self.paths.items()}
        one = {"file": next(iter(files.values()))} if len(files) == 1 else {}
        return {**one, "files": files}


def questions_of(
    texts: Sequence[str],
    head: HeadContract | None,
    out: Path | None,
    accept_missing: bool,
    report: Callable[[Question, BrainIACError], None],
) -> list[Question]:
    """The studies that the arguments of a command name, ``FILE`` or ``SLOT=FILE``.

    A head of one slot answers each scan by itself; one of several takes all scans as one study.

    Parameters
    ----------
    head : of the model that will answer; None: it has none.
    out : folder for results; None: none are written.
    report : told of an argument that names no scan of this head; the others are answered.

    Raises
    ------
    BrainIACError : scans that are missing, or that are not named by slot, before anything is computed.
    """
    slots = head.slots if head else (ANY,)
    if head is not None and len(slots) > 1:
        return [_study(texts, head, out, accept_missing)]
    paths = []
    for text in texts:
        named, path = _slot_and_path(text, slots)
        if named not in ("", slots[0]) and slots[0] != ANY:
            error = BrainIACError(f"The task takes {slots[0]}, not {named}; name the scan as {slots[0]}={path}.")
            report(Question({named: path}), error)
        else:
            paths.append(path)
    paths = each_once(paths)  # their results would be in each other's way
    folders = result_folders(paths, out) if out else {}
    return [Question({slots[0]: path}, {slots[0]: folders[path]} if out else {}) for path in paths]


def _study(texts: Sequence[str], head: HeadContract, out: Path | None, accept_missing: bool) -> Question:
    parts = [_slot_and_path(text, head.slots) for text in texts]
    slots = [slot for slot, _ in parts]
    if any(slot not in head.slots for slot in slots) or len(set(slots)) < len(slots):
        wanted = " ".join(f"{slot}=FILE" for slot in head.slots)
        if head.missing_policy == "refuse":
            raise BrainIACError(
                f"This task takes several scans; name each once, like this: {wanted} (with --accept-missing, those "
                "that you have)."
            )
        raise BrainIACError(f"This task takes several scans; name those that you have once, like this: {wanted}.")
    paths = {slot: path for known in head.slots for slot, path in parts if slot == known}
    missing_slots(head, paths, accept_missing)  # before the minutes of preprocessing
    return Question(paths, {slot: out if len(paths) == 1 else out / slot for slot in paths} if out else {})


def _slot_and_path(text: str, slots: Sequence[str]) -> tuple[str, Path]:
    """A file whose own name holds a "=" is taken as it is."""
    slot, _, path = text.partition("=")
    is_named = path and (slot in (ANY, *slots) or sequence_named(slot)) and not os.path.exists(text)
    return (slot, Path(path)) if is_named else ("", Path(text))


def scan_name(path: Path) -> str:
    """What a scan is called in results: its file's or folder's name without the suffix of its format.

    >>> scan_name(Path("study/sub-01.T1.nii.gz"))
    'sub-01.T1'
    """
    from BrainIACLib.scans.formats import suffix

    name = path.absolute().name
    return name[: len(name) - len(suffix(path))] or "scan"


def each_once(paths: Sequence[Path]) -> list[Path]:
    """The paths without those that are an earlier one, written in another way. Links are names of their own."""
    places: dict[str, Path] = {}
    for path in paths:
        places.setdefault(os.path.abspath(path), path)
    return list(places.values())


def result_folders(scans: Sequence[Path], out: Path) -> dict[Path, Path]:
    """One scan writes into ``out`` itself; several into one folder each, named after the file, numbered where equal."""
    if len(scans) == 1:
        return {scans[0]: out}
    folders: dict[Path, Path] = {}
    for path in scans:
        stem = scan_name(path)
        candidates = (out / (stem if number == 1 else f"{stem}_{number}") for number in range(1, len(scans) + 1))
        folders.setdefault(path, next(folder for folder in candidates if folder not in folders.values()))
    return folders
