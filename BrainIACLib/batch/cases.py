"""The scans or studies of a cohort, each under the name that its results will have: BIDS entities, unique and stable.

A name depends on its own row only, so that a manifest can grow, shrink or be sorted between two runs.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from BrainIACLib.errors import ManifestError
from BrainIACLib.manifests import Row, absolute_places, bids_scans, collecting_later, is_bids, read_manifest
from BrainIACLib.scans.formats import IMAGE_SUFFIXES, is_dicom, suffix, suffix_of_name
from BrainIACLib.sequences import ALL_NAMES, FLAIR, OTHER, T1, T1CE, T2

STUDY = "study"  # end of the id of a study
LOOKED_FOR = 100  # scans at most, before anything starts
LONG = 12  # digits of a hash that alone tells the studies of a large cohort apart
UNKNOWN_SUFFIX = "MRI"  # no suffix of BIDS: it stands in .bidsignore
NO_LETTERS = re.compile(r"[^A-Za-z0-9]")
SUFFIX_OF = {T1.name: "T1w", T2.name: "T2w", FLAIR.name: "FLAIR", T1CE.name: "T1w"}


class BatchCase(NamedTuple):  # a cohort may have a million
    """``id`` is the path of the results below the derivatives, without entities of their own and the file's end:
    ``sub-01/ses-1/anat/sub-01_ses-1_T1w``. ``facts`` are those of the manifest; ``others`` are the further files of a
    study."""

    id: str
    path: str
    facts: dict[str, str]
    others: tuple[str, ...] = ()

    @property
    def paths(self) -> tuple[str, ...]:
        """All that it is read from."""
        return (self.path, *self.others)

    @property
    def folder(self) -> str:
        """Of the results, below the derivatives."""
        return self.id.rsplit("/", 1)[0]

    @property
    def entities(self) -> str:
        """``sub-01_ses-1``."""
        return self.id.rsplit("/", 1)[1].rsplit("_", 1)[0]

    @property
    def suffix(self) -> str:
        """``T1w``."""
        return self.id.rsplit("_", 1)[1]


@collecting_later()
def cases_of(source: Path, labels: Collection[str] = ()) -> list[BatchCase]:
    """The cases of a manifest (a file), of a BIDS data set, or of any other folder.

    Parameters
    ----------
    labels : of the participants wanted of a BIDS data set; all if empty.

    Raises
    ------
    ManifestError : a manifest with rows that contradict each other, two cases of one name, or nothing that could be a
        scan.
    """
    if source.is_dir() and (is_bids(source) or labels):
        cases = [BatchCase(_without_end(row.facts["scan"]), row.place, row.facts) for row in bids_scans(source, labels)]
    else:
        rows = _some(source, _rows_of_folder(source)) if source.is_dir() else read_manifest(source)
        places = absolute_places(rows)
        cases = [BatchCase(_id(row.facts), place, row.facts) for row, place in zip(rows, places, strict=True)]
    return _named_apart(source, cases)


@collecting_later()
def studies_of(source: Path, labels: Collection[str] = ()) -> list[BatchCase]:
    """The studies of a manifest (rows of one dataset, patient and session), of a BIDS data set (the anatomical images
    of a session), or of another folder (each folder, zip or image file directly in it). Arguments as ``cases_of``.

    ``facts`` are what the rows of a study agree in; ``files`` in it, as JSON, lists name and sequence of each file.

    Raises
    ------
    ManifestError : as ``cases_of``.
    """
    of_bids = source.is_dir() and (is_bids(source) or bool(labels))
    if of_bids:
        rows = bids_scans(source, labels)
    else:
        rows = _some(source, _rows_directly_in(source)) if source.is_dir() else read_manifest(source)
    groups: dict[tuple[str, str, str], list[Row]] = {}
    for number, row in enumerate(rows):
        dataset, patient, session = (row.facts.get(name, "") for name in ("dataset", "patient", "session"))
        groups.setdefault((dataset, patient, session) if patient else ("", "", str(number)), []).append(row)
    return _named_apart(source, [_study(group, of_bids) for group in groups.values()])


def told_absent(source: Path, cases: Sequence[BatchCase]) -> str:
    """A sentence where none of ``LOOKED_FOR`` scans across the cohort is there, which is the fault of a path or of a
    drive; "" where one is."""
    some = cases[:: -(-len(cases) // LOOKED_FOR) or 1]  # a site may lie on a drive of its own
    if not some or any(os.path.exists(path) for case in some for path in case.paths):
        return ""
    many = "its scan" if len(cases) == 1 else f"any of {len(some)} scans that were looked for"
    return (
        f"'{source}' does not lead to {many}: there is no '{some[0].path}'. Paths are relative to the folder of the "
        "manifest; correct them, or connect the drive."
    )


def known_age(facts: Mapping[str, str]) -> float | None:
    """At the scan, years; None where the manifest says none that a person can have."""
    try:
        age = float(facts.get("age_years", ""))
    except ValueError:
        return None
    return age if 0 <= age <= 130 else None


def not_understood(cases: Sequence[BatchCase]) -> list[str]:
    """A sentence for ages and one for sequences that the manifest says and that cannot be used."""
    checks: tuple[tuple[str, Callable[[str], bool], str], ...] = (
        ("age_years", lambda said: known_age({"age_years": said}) is not None, "no number of years from 0 to 130"),
        ("sequence", lambda said: said in (*ALL_NAMES, OTHER), f"none of {', '.join(ALL_NAMES)}"),
    )
    sentences = []
    for name, is_known, what in checks:
        unknown = {said for said in {case.facts.get(name, "") for case in cases} - {""} if not is_known(said)}
        if unknown:
            those = [case for case in cases if case.facts.get(name) in unknown]
            sentences.append(
                f"The column '{name}' is {what} for {len(those)} of {len(cases)}, such as '{those[0].facts[name]}' for "
                f"'{those[0].facts['scan']}'; it is not used there."
            )
    return sentences


def _named_apart(source: Path, cases: list[BatchCase]) -> list[BatchCase]:
    """Results of one case would take the place of the other's."""
    first: dict[str, BatchCase] = {}
    for case in cases:
        other = first.setdefault(case.id, case)
        if other is not case:
            raise ManifestError(
                f"'{other.path}' and '{case.path}' of '{source}' would both be called '{case.id}'; spell patient and "
                "session of one person in one way, or remove one of them."
            )
    return cases


def _study(rows: list[Row], of_bids: bool) -> BatchCase:
    names = dict.fromkeys(name for row in rows for name in row.facts)
    facts = {}
    for name in names:
        said = {row.facts[name] for row in rows if row.facts.get(name)}
        facts[name] = said.pop() if len(said) == 1 else ""
    subject, visit = _subject({**rows[0].facts, "dataset": ""} if of_bids else rows[0].facts)  # BIDS: one data set
    facts["scan"] = rows[0].facts["scan"] if len(rows) == 1 else "_".join([subject, *visit])
    facts["files"] = json.dumps([[row.facts["scan"], row.facts.get("sequence", "")] for row in rows])
    first, *others = absolute_places(rows)
    case_id = "/".join([subject, *visit, "anat", "_".join([subject, *visit, STUDY])])
    return BatchCase(case_id, first, facts, tuple(others))


def _some(source: Path, found: Iterator[Row]) -> list[Row]:
    rows = list(found)
    if not rows:
        raise ManifestError(
            f"'{source}' holds no scan: no NIfTI, NRRD or MetaImage file, and no folder of DICOM files."
        )
    return rows


def _rows_directly_in(folder: Path) -> Iterator[Row]:
    for place in sorted(folder.iterdir()):
        if not place.name.startswith(".") and (place.is_dir() or _is_image(place.name)):
            yield _row(folder, place)


def _rows_of_folder(folder: Path) -> Iterator[Row]:
    """Every image file, and every folder with DICOM files; the data of a ``.hdr`` is no scan of its own."""
    for parent, folders, names in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        place = Path(parent)
        images = [name for name in sorted(names) if _is_image(name) and not name.startswith(".")]
        for name in images:
            yield _row(folder, place / name)
        rest = [name for name in sorted(names) if name not in images and not name.startswith(".")]
        if rest and not images and _holds_dicom(place / rest[0]):
            yield _row(folder, place)


def _is_image(name: str) -> bool:
    return suffix(Path(name)) in (*IMAGE_SUFFIXES, ".zip")


def _holds_dicom(file: Path) -> bool:
    try:
        return is_dicom(file)
    except OSError:
        return False


def _row(folder: Path, path: Path) -> Row:
    scan = path.relative_to(folder).as_posix()
    return Row(0, str(path), {"scan": _storable(scan if scan != "." else folder.name)})


def _storable(text: str) -> str:
    """A file name that is no UTF-8, with the codes of its bytes."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")


def _subject(facts: dict[str, str]) -> tuple[str, list[str]]:
    """``sub-01`` and, where there is one, ``ses-1``; a patient is one person within a dataset only."""
    dataset, patient, session = facts.get("dataset", ""), facts.get("patient", ""), facts.get("session", "")
    name = patient.removeprefix("sub-")
    label = _label(f"{dataset} {name}" if dataset else name) if patient else f"x{_hash(facts['scan'], LONG)}"
    return f"sub-{label}", [f"ses-{_label(session.removeprefix('ses-'))}"] if session else []


def _id(facts: dict[str, str]) -> str:
    scan, (subject, visit) = facts["scan"], _subject(facts)
    name = _name(scan)
    stem = name[: len(name) - len(suffix_of_name(name))]
    taken = _letters(stem)[:24] + _hash(scan)
    sequence = facts.get("sequence", "")
    contrast = ["ce-contrast"] if sequence == T1CE.name else []
    file = "_".join([subject, *visit, f"acq-{taken}", *contrast, SUFFIX_OF.get(sequence, UNKNOWN_SUFFIX)])
    return "/".join([subject, *visit, "anat", file])


def _name(scan: str) -> str:
    """``Path(scan).name``."""
    name = os.path.basename(scan)
    return name if name not in ("", ".") else Path(scan).name


def _label(text: str) -> str:
    """Letters and digits only, as BIDS has it; where something was left out, different texts stay different."""
    plain = _letters(text)
    return plain if plain == text else plain + _hash(text)


def _letters(text: str) -> str:
    return text if text.isascii() and text.isalnum() else NO_LETTERS.sub("", text)


def _hash(text: str, digits: int = 6) -> str:
    return hashlib.sha256(text.encode("utf-8", "backslashreplace")).hexdigest()[:digits]


def _without_end(scan: str) -> str:
    return scan.removesuffix(".gz").removesuffix(".nii")
