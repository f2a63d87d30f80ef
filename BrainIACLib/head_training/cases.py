"""From a table of scans to cases with labels: scans of a study joined, patients kept together, leaks found."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

import numpy as np

from BrainIACLib.embeddings.image_measures import MEASURES, measured_numbers
from BrainIACLib.embeddings.table import EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.head_training.labels import is_known, missing_named, refuse_missing_numbers
from BrainIACLib.head_training.patients import names_of, near_duplicates, people_of, same_name
from BrainIACLib.head_training.report import NearDuplicate
from BrainIACLib.head_training.targets import LEAST_PATIENTS, LEAST_PER_CLASS, Target, one_spelling, read_target
from BrainIACLib.sequences import STUDY_ORDER

ANY = "any"
DECISION, REJECTED = "decision", "reject"  # of the quality page of a batch
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
    columns: Mapping[str, np.ndarray]  # the table's other columns, one text a case
    measures: Mapping[str, np.ndarray]  # name of ``image_measures`` -> (n, k), as far as the table has them
    near_duplicates: tuple[NearDuplicate, ...] = ()

    def __len__(self) -> int:
        return len(self.embeddings)


def make_cases(
    table: EmbeddingTable,
    target: str,
    kind: str = "auto",
    event: str = "event",
    slots: Sequence[str] | None = None,
    missing: Sequence[str] | None = None,
    leave_out: Sequence[str] = (),
) -> Cases:
    """The cases that have a label, joined and checked.

    Parameters
    ----------
    slots : the sequences whose scans of one session are joined; None: joined where every scan has a sequence, no
        session has one twice, and all scans of a session have the same label; otherwise every scan is a case.
    missing : cells of the label that mean "no value"; None takes the usual words, and asks about the usual numbers.
    leave_out : classes whose cases are left out.

    Raises
    ------
    BrainIACError : no such column, embeddings of several encoders, one image with two labels, too few patients.
    """
    for name in (target, *((event,) if kind == "survival" else ())):
        if name not in table.columns:
            raise BrainIACError(
                f"The embedding table has no column '{name}' (it has {', '.join(table.further) or 'no further ones'}); "
                "add it to the manifest, or to a file of labels.",
                "--labels CSV",
            )
    notes: list[str] = []
    table = _usable(table, target, event if kind == "survival" else None, slots, missing, notes)
    if leave_out:
        table = _without_classes(table, target, leave_out, notes)
    labels = np.array(one_spelling(target, table.columns[target].tolist(), notes), dtype=np.str_)
    patients = people_of(table, labels, is_known(table.columns["patient"]), notes)
    _refuse_few(len(set(patients)))  # first: all else that a few cells may say is beside the point
    members, order, complete = _joined(table, labels, slots)
    texts = [str(labels[rows[0]]) for rows in members]
    events = [str(table.columns[event][rows[0]]) for rows in members] if kind == "survival" else None
    names = tuple(str(table.columns["scan"][rows[0]]) for rows in members)
    read = read_target(target, texts, kind, events, names)
    if missing is None:
        refuse_missing_numbers(target, texts)
    embeddings = np.array([_mean_over_slots(table, rows) for rows in members], np.float64)
    groups = np.unique(np.array([patients[rows[0]] for rows in members]), return_inverse=True)[1]
    pairs = near_duplicates(embeddings, groups, names)
    for pair in pairs:
        one, other = (groups[names.index(name)] for name in (pair.first, pair.second))
        groups[groups == other] = one
    groups = np.unique(groups, return_inverse=True)[1]
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
        embeddings=embeddings,
        target=read,
        groups=groups,
        names=names,
        scans=tuple(tuple(table.columns["scan"][rows]) for rows in members),
        slots=order,
        complete=complete,
        ages=np.array([_age(ages[rows[0]]) for rows in members]),
        preset=str(table.columns["preset"][0]),
        notes=tuple(notes),
        columns=_columns_of_cases(table, members, (target, event) if kind == "survival" else (target,)),
        measures={
            name: np.array([numbers[rows].mean(axis=0) for rows in members])
            for name in MEASURES
            if (numbers := measured_numbers(table.columns, name)) is not None
        },
        near_duplicates=tuple(pairs),
    )


NOT_COMPARED = (
    "scan",
    "sha256",
    "preprocessing_sha256",
    "model",
    "encoder_sha256",
    "preset",
    "patient",
    DECISION,
    *MEASURES,
)


def _columns_of_cases(table: EmbeddingTable, members: list[list[int]], learned: tuple[str, ...]) -> dict[str, Any]:
    """What else the table says of each case, and the folder of its scan, which often is a study or a class."""
    columns = {name: texts for name, texts in table.columns.items() if name not in (*NOT_COMPARED, *learned)}
    columns["warnings"] = np.where(table.columns["warnings"] == "", "none", "some")
    columns["folder of the scan"] = np.array([PurePath(scan).parent.as_posix() for scan in table.columns["scan"]])
    return {
        name: np.array([" + ".join(dict.fromkeys(texts[rows].tolist())) for rows in members], dtype=np.str_)
        for name, texts in columns.items()
    }


def _without_classes(table: EmbeddingTable, target: str, names: Sequence[str], notes: list[str]) -> EmbeddingTable:
    """Raises BrainIACError for a name that no case has."""
    labels = one_spelling(target, [*table.columns[target].tolist(), *names], [])
    cells, asked = np.array(labels[: len(table)]), labels[len(table) :]
    for name in asked:
        if not (cells == name).any():
            raise BrainIACError(
                f"No case has '{name}' in the column '{target}', so it cannot be left out; check the spelling."
            )
    out = np.isin(cells, asked)
    notes.append(f"{int(out.sum())} scans of the classes {', '.join(asked)} were left out as asked.")
    if out.all():
        raise BrainIACError(f"All cases of the column '{target}' were left out; leave out fewer classes.")
    return table.rows(np.flatnonzero(~out))


def _usable(
    table: EmbeddingTable,
    target: str,
    event: str | None,
    slots: Sequence[str] | None,
    missing: Sequence[str] | None,
    notes: list[str],
) -> EmbeddingTable:
    _check_one_recipe(table)
    keep = np.ones(len(table), bool)
    if DECISION in table.columns and target != DECISION:
        keep = np.char.lower(np.char.strip(table.columns[DECISION])) != REJECTED
        if not keep.all():
            notes.append(f"{int((~keep).sum())} scans were rejected by a person (column '{DECISION}') and left out.")
    for column in (target, event):
        if column is not None:
            known = is_known(table.columns[column], missing)
            keep &= known
            if said := missing_named(column, table.columns[column], known):
                notes.append(said)
    if slots is not None:
        of_slots = np.isin(table.columns["sequence"], list(slots))
        if not of_slots.any():
            present = ", ".join(sorted(set(table.columns["sequence"]) - {""})) or "none"
            raise BrainIACError(
                f"No scan of the table is a {' or '.join(slots)} (its column 'sequence' names: {present})."
            )
        keep &= of_slots
    if not keep.any():
        raise BrainIACError(
            f"No scan of the table has a value in the column '{target}'; fill it in, there or in a file of labels.",
            "--labels CSV",
        )
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
                f"The rows of the embedding table come from {what}: {', '.join(rows)}{rest}; embed all scans with "
                "the same options."
            )


def _joined(
    table: EmbeddingTable, labels: np.ndarray, slots: Sequence[str] | None
) -> tuple[list[list[int]], tuple[str, ...], bool]:
    """The rows of each case, the slots, and whether every case has them all."""
    sequences = table.columns["sequence"]
    sessions: dict[tuple[Any, ...], list[int]] = {}
    people = names_of(table, is_known(table.columns["patient"]))
    datasets = table.columns.get("dataset", np.full(len(table), ""))  # within which a patient is one person
    for row, patient in enumerate(people):
        sessions.setdefault((datasets[row], patient, same_name(table.columns["session"][row])), []).append(row)
    joinable = (sequences != "").all() and all(
        len(set(sequences[rows])) == len(rows) and len(set(labels[rows])) == 1 for rows in sessions.values()
    )
    several = max(map(len, sessions.values())) > 1
    if slots is not None:
        for rows in sessions.values():
            if len(set(labels[rows])) > 1:
                raise BrainIACError(
                    f"The scans of '{table.columns['scan'][rows[0]]}' and the other scans of its session differ "
                    "in label; correct the table."
                )
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


def _refuse_few(patients: int) -> None:
    if patients < LEAST_PATIENTS:
        raise BrainIACError(
            f"Only {patients} patients have a label; at least {LEAST_PATIENTS} are needed; label more patients."
        )


def _check_size(target: Target, groups: np.ndarray) -> None:
    _refuse_few(len(set(groups)))
    if target.events is not None and len(set(groups[target.events])) < LEAST_PER_CLASS:
        raise BrainIACError(
            f"Fewer than {LEAST_PER_CLASS} patients have an event; survival cannot be learned from them. Add "
            "patients with an event."
        )
    for number, name in enumerate(target.classes):
        count = len(set(groups[target.values == number]))
        if count < LEAST_PER_CLASS:
            raise BrainIACError(
                f"The class '{name}' has {count} patients; at least {LEAST_PER_CLASS} are needed in each class. "
                "Label more of them, or leave the class out.",
                f"--leave-out {name}",
            )


def _age(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")
