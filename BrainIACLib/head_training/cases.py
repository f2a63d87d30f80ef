"""From a table of scans to cases with labels: scans of a study joined, patients kept together, leaks found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.embeddings.cohort import COMPUTED
from BrainIACLib.embeddings.table import FACTS, EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.head_training.targets import LEAST_PATIENTS, LEAST_PER_CLASS, Target, read_target
from BrainIACLib.manifests import read_rows
from BrainIACLib.sequences import STUDY_ORDER

ANY = "any"
ABSENT = ("", "nan", "na", "n/a", "#n/a", "<na>", "null")
TIMES = re.compile("time|surviv|(^|_)(months|weeks|days)$")


@dataclass(frozen=True)
class Cases:
    """What a head is trained on.

    ``embeddings``: (n, size), the mean over the scans of a case (P-18, U-03); ``groups``: (n,) number of the patient;
    ``names``: (n,) for reports; ``slots``: the scans that the head takes; ``ages``: (n,) years, NaN where unknown.
    """

    embeddings: np.ndarray
    target: Target
    groups: np.ndarray
    names: tuple[str, ...]
    scans: tuple[tuple[str, ...], ...]
    slots: tuple[str, ...]
    complete: bool  # every case has every slot
    ages: np.ndarray
    preset: str  # of the embeddings
    notes: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.embeddings)


def with_labels(table: EmbeddingTable, path: Path) -> EmbeddingTable:
    """The table with the columns of a CSV file, joined by ``scan``, or by ``patient`` (and ``session``).

    Raises
    ------
    BrainIACError : the file cannot be read, has no such column, or says two things of one scan.
    """
    names, rows = read_rows(path, "The file of labels")
    keys = ["scan"] if "scan" in names else [name for name in ("patient", "session") if name in names]
    if not keys or keys == ["session"]:
        raise BrainIACError(
            f"The file of labels '{path}' has no column 'scan' or 'patient' that says whose they are; its columns are "
            f"{', '.join(names) or 'none'}."
        )
    labels: dict[tuple, Mapping[str, str]] = {}
    for number, row in rows:
        if not row[keys[0]]:  # otherwise all scans without a patient would get this label
            raise BrainIACError(f"Line {number} of '{path}' has an empty '{keys[0]}'; fill it in or take the line out.")
        if labels.setdefault(tuple(row[key] for key in keys), row) is not row:
            raise BrainIACError(f"Line {number} of '{path}' gives labels to '{row[keys[0]]}' a second time.")
    of_rows = [labels.get(key, {}) for key in zip(*(table.columns[key] for key in keys), strict=True)]
    columns = {
        name: np.array([row.get(name, "") for row in of_rows], dtype=np.str_)
        for name in names
        if name not in keys and name not in COMPUTED
    }
    for name in set(columns) & set(FACTS):  # an empty cell takes nothing away, least of all who the patient is
        columns[name] = np.where(columns[name] == "", table.columns[name], columns[name])
    return EmbeddingTable({**table.columns, **columns}, table.embeddings)


def make_cases(
    table: EmbeddingTable, target: str, kind: str = "auto", event: str = "event", slots: Sequence[str] | None = None
) -> Cases:
    """The cases that have a label, joined and checked.

    Parameters
    ----------
    slots : the sequences whose scans of one session are joined; None: joined where every scan has a sequence, no
        session has one twice, and all scans of a session have the same label; otherwise every scan is a case.

    Raises
    ------
    BrainIACError : no such column, embeddings of several encoders, one image with two labels, too few patients.
    """
    for name in (target, *((event,) if kind == "survival" else ())):
        if name not in table.columns:
            raise BrainIACError(
                f"The embedding table has no column '{name}' (it has {', '.join(table.further) or 'no further ones'}); "
                "add it to the manifest or hand in --labels."
            )
    notes: list[str] = []
    table = _usable(table, target, event if kind == "survival" else None, slots, notes)
    labels = table.columns[target]
    patients = _groups(table, labels, notes)
    members, order, complete = _joined(table, labels, slots)
    texts = [labels[rows[0]] for rows in members]
    events = [table.columns[event][rows[0]] for rows in members] if kind == "survival" else None
    names = tuple(table.columns["scan"][rows[0]] for rows in members)
    read = read_target(target, texts, kind, events, names)
    groups = np.unique(np.array([patients[rows[0]] for rows in members]), return_inverse=True)[1]
    _check_size(read, groups)
    if read.kind == "regression" and event in table.columns and TIMES.search(target):
        notes.append(
            f"There is a column '{event}': if '{target}' holds times until an event, some of them censored, learn it "
            "as survival (kind 'survival')."
        )
    if max(map(len, members)) > 1:
        lacking = sum(len(set(table.columns["sequence"][rows])) < len(order) for rows in members)
        notes.append(
            f"The scans of a session were joined ({' + '.join(order)}): {len(table)} scans are {len(members)} cases, "
            f"{lacking} of which lack some."
        )
    ages = table.columns.get("age_years", np.full(len(table), ""))
    return Cases(
        embeddings=np.array([_mean_over_slots(table, rows) for rows in members], np.float64),
        target=read,
        groups=groups,
        names=names,
        scans=tuple(tuple(table.columns["scan"][rows]) for rows in members),
        slots=order,
        complete=complete,
        ages=np.array([_age(ages[rows[0]]) for rows in members]),
        preset=str(table.columns["preset"][0]),
        notes=tuple(notes),
    )


def _usable(table, target: str, event: str | None, slots, notes: list[str]) -> EmbeddingTable:
    _check_one_recipe(table)
    keep = _known(table.columns[target])
    if event is not None:
        keep &= _known(table.columns[event])
    if slots is not None:
        of_slots = np.isin(table.columns["sequence"], list(slots))
        if not of_slots.any():
            present = ", ".join(sorted(set(table.columns["sequence"]) - {""})) or "none"
            raise BrainIACError(
                f"No scan of the table is a {' or '.join(slots)} (its column 'sequence' names: {present})."
            )
        keep &= of_slots
    if not keep.any():
        raise BrainIACError(f"No scan of the table has a value in the column '{target}'.")
    if not keep.all():
        notes.append(f"{int((~keep).sum())} of {len(table)} scans were left out: no label, or not of these sequences.")
    return table.rows(np.flatnonzero(keep))


def _check_one_recipe(table: EmbeddingTable) -> None:
    """Numbers of different encoders or preprocessing cannot be compared: a head would learn the difference."""
    for column, what in (
        ("encoder_sha256", "different encoders"),
        ("preset", "different presets"),
        ("preprocessing_sha256", "different preprocessing (options, program versions or input format)"),
    ):
        kinds, first, counts = np.unique(table.columns[column], return_index=True, return_counts=True)
        if len(kinds) > 1:
            order = np.argsort(-counts, kind="stable")
            rows = [f"{counts[i]} rows like '{table.columns['scan'][first[i]]}'" for i in order[:3]]
            rest = f" and {len(kinds) - 3} more kinds" if len(kinds) > 3 else ""
            raise BrainIACError(
                f"The rows of the embedding table come from {what}: {', '.join(rows)}{rest}; run 'brainiac embed' once "
                "for all scans, with the same options."
            )


def _known(texts: np.ndarray) -> np.ndarray:
    """(n,) whether a cell says anything; what spreadsheets and pandas write for nothing must not become a class."""
    return ~np.isin(np.char.lower(np.char.strip(texts)), ABSENT)


def _groups(table: EmbeddingTable, labels: np.ndarray, notes: list[str]) -> np.ndarray:
    """(n,) number of the patient; the same image or the same embedding makes two patients one."""
    patients = np.array([p or f"scan {i}" for i, p in enumerate(table.columns["patient"])])
    if (table.columns["patient"] == "").any():
        notes.append(
            "Scans without a patient are taken for different people; if they are not, the figures are too good."
        )
    numbers = np.unique(patients, return_inverse=True)[1]
    for what, keys in (
        ("image", table.columns["sha256"]),
        ("embedding", np.array([row.tobytes() for row in np.ascontiguousarray(table.embeddings)], dtype=object)),
    ):
        first: dict[object, int] = {}
        merged = 0
        for row, key in enumerate(keys):
            other = first.setdefault(key, row)
            if what == "image" and labels[other] != labels[row]:
                raise BrainIACError(
                    f"'{table.columns['scan'][row]}' and '{table.columns['scan'][other]}' are the same image with the "
                    f"labels '{labels[row]}' and '{labels[other]}'; correct the manifest."
                )
            if numbers[other] != numbers[row]:
                numbers[numbers == numbers[row]] = numbers[other]
                merged += 1
        if merged:
            notes.append(f"{merged} scans have the same {what} as one of another patient: both count as one patient.")
    return numbers


def _joined(table: EmbeddingTable, labels: np.ndarray, slots) -> tuple[list[list[int]], tuple[str, ...], bool]:
    """The rows of each case, the slots, and whether every case has them all."""
    sequences = table.columns["sequence"]
    sessions: dict[tuple, list[int]] = {}
    for row in range(len(table)):
        patient = table.columns["patient"][row] or f"scan {row}"
        sessions.setdefault((patient, table.columns["session"][row]), []).append(row)
    joinable = (sequences != "").all() and all(
        len(set(sequences[rows])) == len(rows) and len(set(labels[rows])) == 1 for rows in sessions.values()
    )
    several = max(map(len, sessions.values())) > 1
    if slots is not None:
        for rows in sessions.values():
            if len(set(labels[rows])) > 1:
                raise BrainIACError(f"The scans of '{table.columns['scan'][rows[0]]}' and its session differ in label.")
    if slots is not None or (joinable and several):
        order = tuple(slots or sorted(set(sequences), key=_slot_rank))
        complete = all(set(sequences[rows]) == set(order) for rows in sessions.values())
        return list(sessions.values()), order, complete
    only = set(sequences)
    order = (only.pop(),) if len(only) == 1 and only != {""} else (ANY,)
    return [[row] for row in range(len(table))], order, True


def _slot_rank(sequence: str) -> tuple[int, str]:
    return (STUDY_ORDER.index(sequence) if sequence in STUDY_ORDER else len(STUDY_ORDER), sequence)


def _mean_over_slots(table: EmbeddingTable, rows: list[int]) -> np.ndarray:
    """Of the scans that are there; scans of one sequence are averaged first, so that each slot counts once."""
    sequences = table.columns["sequence"][rows]
    embeddings = table.embeddings[rows].astype(np.float64)
    return np.mean([embeddings[sequences == one].mean(axis=0) for one in dict.fromkeys(sequences)], axis=0)


def _check_size(target: Target, groups: np.ndarray) -> None:
    patients = len(set(groups))
    if patients < LEAST_PATIENTS:
        raise BrainIACError(f"Only {patients} patients have a label; at least {LEAST_PATIENTS} are needed.")
    if target.events is not None and len(set(groups[target.events])) < LEAST_PER_CLASS:
        raise BrainIACError(
            f"Fewer than {LEAST_PER_CLASS} patients have an event; survival cannot be learned from them."
        )
    for number, name in enumerate(target.classes):
        count = len(set(groups[target.values == number]))
        if count < LEAST_PER_CLASS:
            raise BrainIACError(
                f"The class '{name}' has {count} patients; at least {LEAST_PER_CLASS} are needed in each class."
            )


def _age(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
