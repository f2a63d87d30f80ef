"""What lies in a folder or zip of any nesting, sorted into the series of one study; each header is read once."""

from __future__ import annotations

import contextlib
import dataclasses
import string
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from BrainIACLib.job import Job
from BrainIACLib.ordinary_file import check_ordinary
from BrainIACLib.scans.archives import unpacked
from BrainIACLib.scans.dicom_headers import find_series
from BrainIACLib.scans.dicom_slices import Series
from BrainIACLib.scans.dicom_values import number_of
from BrainIACLib.scans.formats import IMAGE_SUFFIXES, recognise, suffix
from BrainIACLib.scans.reading import explained, files_below
from BrainIACLib.scans.scan import Refused
from BrainIACLib.studies import header_facts, identity
from BrainIACLib.studies.header_facts import HeaderFacts, facts_of
from BrainIACLib.studies.header_rules import class_of
from BrainIACLib.studies.identity import Identity, identity_of
from BrainIACLib.studies.parts import Part, parts_of
from BrainIACLib.studies.series import FoundSeries
from BrainIACLib.studies.setting_aside import is_derived, reason_to_set_aside
from BrainIACLib.studies.sidecar import facts_beside, files_beside

if TYPE_CHECKING:
    from pydicom import Dataset


@dataclass(frozen=True)
class OpenStudy:
    """The series of one study of one person, and what was seen on the way. Files of a zip exist while it is open."""

    path: Path
    identity: Identity
    series: tuple[FoundSeries, ...]
    notes: tuple[str, ...]  # sentences for the report


@dataclass
class _Seen:
    """What the one pass over all headers collects."""

    facts: dict[tuple[Path, int], HeaderFacts] = field(default_factory=dict)
    identities: dict[str, Identity] = field(default_factory=dict)  # by SeriesInstanceUID
    descriptions: dict[str, str] = field(default_factory=dict)
    numbers: dict[str, float | None] = field(default_factory=dict)

    def look(self, file: Path, header: Dataset) -> None:
        uid = str(header.get("SeriesInstanceUID") or "")
        if uid not in self.identities:
            self.identities[uid] = identity_of(header)
            self.numbers[uid] = number_of([header], "SeriesNumber", None)
            self.descriptions[uid] = str(header.get("SeriesDescription") or header.get("ProtocolName") or "")
        if header.get("Rows"):
            self.facts.update({(file, frame): facts for frame, facts in enumerate(facts_of(header))})


@contextlib.contextmanager
def open_study(paths: Sequence[Path], study: str | None = None, job: Job | None = None) -> Iterator[OpenStudy]:
    """The study in ``paths``: one folder or zip (also zips inside it), or files of one person.

    Parameters
    ----------
    study : which one, where there are several: its pseudonym or StudyInstanceUID. Else the one with most MR images.

    Raises
    ------
    ScanError : nothing there can be read as a scan, or there is no such study.
    """
    job, path = job or Job(), paths[0]
    with contextlib.ExitStack() as stack:
        with explained(path):
            files, broken = _files_of(paths, stack)
            job.report("reading headers", 0.0)
            seen = _Seen()
            found, left_out = find_series(_counted(files, job), [*header_facts.TAGS, *identity.TAGS], seen.look)
            notes = [*broken, *left_out]
            if found:
                known, chosen, said = _one_study(found, seen, study)
                series = _number(_dicom_rows(chosen, seen))
                notes += said
            else:
                known, series = Identity(), _file_rows(files)
            if not series:
                raise Refused("holds no scan; give a folder or zip with DICOM or NIfTI files.")
            notes += _other_files(files, found, series)
        yield OpenStudy(path, known, tuple(series), tuple(notes))


def _files_of(paths: Sequence[Path], stack: contextlib.ExitStack) -> tuple[list[Path], list[str]]:
    """All files below ``paths``, those of zips unpacked; and a sentence for each zip that cannot be."""
    files: list[Path] = []
    broken: list[str] = []
    waiting = [(path, True) for path in paths]
    while waiting:
        path, named = waiting.pop(0)
        if named:
            check_ordinary(path)  # speaks up where it does not exist
        if path.is_dir():
            waiting += [(file, False) for file in files_below(path)]
        elif _is_zip(path, named):
            try:
                waiting += [(file, False) for file in stack.enter_context(unpacked(path)).values()]
            except Refused as reason:
                if named:
                    raise
                broken.append(f"One file inside {reason}")
        else:
            files.append(path)
    return files, broken


def _is_zip(path: Path, named: bool) -> bool:
    with path.open("rb") as stream:
        return stream.read(4) == b"PK\x03\x04" and (named or suffix(path) in (".zip", ""))


def _counted(files: Sequence[Path], job: Job) -> Iterator[Path]:
    for number, file in enumerate(files):
        if number % 50 == 0:
            job.report("reading headers", number / len(files))
        yield file


def _one_study(found: Sequence[Series], seen: _Seen, wanted: str | None) -> tuple[Identity, list[Series], list[str]]:
    """The series of one study, and what to say where there are more."""
    groups: dict[str, list[Series]] = {}
    for series in found:
        groups.setdefault(seen.identities[series.uid].study_uid, []).append(series)
    identities = {uid: seen.identities[members[0].uid] for uid, members in groups.items()}
    if wanted is not None:
        fitting = [uid for uid, one in identities.items() if wanted in (uid, one.pseudonym)]
        if not fitting:
            names = ", ".join(one.pseudonym for one in identities.values())
            raise Refused(f"holds no study {wanted}; choose one of these: {names}.", "--study NAME")
        chosen = fitting[0]
    else:
        chosen = max(
            groups, key=lambda uid: sum(len(series.slices) for series in groups[uid] if series.modality == "MR")
        )
    persons = {seen.identities[series.uid].person for series in groups[chosen]}
    if len(persons) > 1:
        raise Refused(f"holds one study under {len(persons)} patient identities; give the files of one person.")
    said = []
    if len(groups) > 1:
        people = len({one.person for one in identities.values()})
        others = ", ".join(one.pseudonym for uid, one in identities.items() if uid != chosen)
        said.append(
            f"There are {len(groups)} studies of {people} {'person' if people == 1 else 'people'} in it. Only "
            f"{identities[chosen].pseudonym} is analyzed here; the others need a report of their own (on the command "
            f"line with --study): {others}."
        )
    aged = next((seen.identities[one.uid] for one in groups[chosen] if seen.identities[one.uid].age_years), None)
    return aged or identities[chosen], groups[chosen], said


def _dicom_rows(chosen: Sequence[Series], seen: _Seen) -> list[FoundSeries]:
    rows = []
    for series in chosen:
        number = seen.numbers.get(series.uid)
        whole = next(iter(_own(series, seen)), None)
        reason = reason_to_set_aside(series, whole)
        parts = [Part(series, whole, 1)] if _is_final(reason) else parts_of(series, seen.facts)
        for part in parts:
            rows.append(
                FoundSeries(
                    key="" if number is None else str(int(number)),
                    dicom=part.series,
                    file=None,
                    facts=part.facts,
                    header=class_of(part.facts) if part.facts else None,
                    size=part.series.summary().size,
                    spacing=_spacing(part.series),
                    repeats=part.repeats,
                    derived=part.facts is not None and is_derived(part.facts),
                    set_aside=reason if _is_final(reason) else reason_to_set_aside(part.series, part.facts),
                    description=seen.descriptions.get(series.uid, ""),
                )
            )
    return rows


def _is_final(reason: str) -> bool:
    """Of the whole series; a derived map may stand beside an image in one series."""
    return bool(reason) and not reason.startswith(("derived", "a phase"))


def _own(series: Series, seen: _Seen) -> Iterator[HeaderFacts]:
    return (seen.facts[key] for piece in series.slices if (key := (piece.file, piece.frame)) in seen.facts)


def _spacing(series: Series) -> tuple[float, float, float] | None:
    found = series.summary().spacing
    if found is None or found[2] > 0 or not series.slices[0].thickness:
        return found
    return found[0], found[1], float(series.slices[0].thickness)


def _number(rows: Sequence[FoundSeries]) -> list[FoundSeries]:
    """The rows by series number and time, each with a key of its own: "3", or "3a", "3b" where there are several."""
    ordered = sorted(rows, key=lambda row: (int(row.key or 1_000_000), row.facts.time if row.facts else ""))
    counts = Counter(row.key for row in ordered)
    used: Counter[str] = Counter()
    named = []
    for position, row in enumerate(ordered, start=1):
        key = row.key or f"n{position}"
        if row.key and counts[row.key] > 1:
            letter = string.ascii_lowercase[min(used[row.key], 25)]
            key = f"{row.key}{letter}" if used[row.key] < 26 else f"{row.key}z{used[row.key]}"
            used[row.key] += 1
        named.append(dataclasses.replace(row, key=key))
    return named


def _file_rows(files: Sequence[Path]) -> list[FoundSeries]:
    """One row for each NIfTI, NRRD or MetaImage file."""
    images = [file for file in files if suffix(file) in IMAGE_SUFFIXES or (len(files) == 1 and _known(file))]
    rows = []
    for number, file in enumerate(images, start=1):
        facts = facts_beside(file)
        header = class_of(facts) if facts else None
        rows.append(FoundSeries(str(number), None, file, facts, header, description=file.name))
    return rows


def _known(file: Path) -> bool:
    try:
        recognise(file)
    except Refused:
        return False
    return True


def _other_files(files: Sequence[Path], found: Sequence[Series], rows: Sequence[FoundSeries]) -> list[str]:
    used = {file for series in found for file in series.files}
    for row in rows:
        if row.file:
            used.update((row.file, *files_beside(row.file)) if row.facts else (row.file,))
    images = sum(suffix(file) in IMAGE_SUFFIXES for file in files if file not in used)
    said = []
    if found and images:
        said.append(f"{images} NIfTI or other image files lie beside the DICOM files and were not read.")
    others = len(files) - len(used & set(files)) - (images if found else 0)
    if others:
        said.append(f"{others} other files are no images of this study and were not read.")
    return said
