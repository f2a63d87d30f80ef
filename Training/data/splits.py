"""Splits by patient, and the check that no person or image stands on both sides of one (PROTOCOL P-02, C-08, C-09)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import pandas as pd

from BrainIACLib.errors import ManifestError

OTHER_NAME = "same_person_as"  # optional column: ids of the same person in other datasets, separated by ";" (C-09)
IMAGE = "image_sha256"  # column that ``prepare`` adds: hash of the voxels, whatever the file is called


@dataclass(frozen=True)
class Overlap:
    """Two rows of a table that must not be in different roles. ``kind`` is "patient" or "image"."""

    kind: str
    first: int
    second: int
    first_role: str
    second_role: str
    name: str


def persons(table: pd.DataFrame, *, by_image: bool = True) -> pd.Series:
    """A name per person, one for all rows that are joined directly or in a chain by ``patient``, ``same_person_as`` or,
    unless ``by_image`` is False, by equal voxels: who shares an image is one person, whatever the names (C-09)."""
    parents: dict[str, str] = {}

    def root(name: str) -> str:
        while parents.setdefault(name, name) != name:
            name = parents[name]
        return name

    def join(name: str, other: str) -> None:
        first, second = sorted((root(name), root(other)))
        parents[second] = first

    others = table[OTHER_NAME] if OTHER_NAME in table else pd.Series("", index=table.index)
    for patient, names in zip(table["patient"], others, strict=True):
        for other in filter(None, names.split(";")):
            join(patient, other)
    if by_image and IMAGE in table:
        for first, second in repeated_images(table.reset_index(drop=True)):
            join(table["patient"].iloc[first], table["patient"].iloc[second])
    return table["patient"].map(root)


def overlaps(table: pd.DataFrame) -> list[Overlap]:
    """Every person and every image that stands in more than one role.

    An image is compared by the hash of its voxels where the table has one, so a copy under another name is found. Rows
    without a role are no part of any split, and are not looked at.
    """
    found = []
    used = table[table["role"] != ""]
    keys = {"patient": persons(table, by_image=False)[used.index]} | ({"image": used[IMAGE]} if IMAGE in used else {})
    for kind, names in keys.items():
        for name, rows in used[names != ""].groupby(names[names != ""], sort=False):
            roles = rows["role"].drop_duplicates()
            first, *others = roles.items()
            found += [Overlap(kind, int(first[0]), int(row), first[1], role, str(name)) for row, role in others]
    return found


def refuse_overlaps(table: pd.DataFrame, name: str) -> None:
    """Raise ManifestError if ``overlaps`` finds any."""
    found = overlaps(table)
    if found:
        one = found[0]
        what = f"the patient '{one.name}'" if one.kind == "patient" else "the same image"
        scans = f"'{table['scan'][one.first]}' and '{table['scan'][one.second]}'"
        raise ManifestError(
            f"'{name}' leaks: {what} is in the role {one.first_role} and in the role "
            f"{one.second_role} ({scans}; {len(found)} such cases in all). Give each person one role."
        )


def repeated_images(table: pd.DataFrame) -> list[tuple[int, int]]:
    """Pairs of rows with equal voxels: the same image under two names, within a role or across roles."""
    known = table[IMAGE][table[IMAGE] != ""]
    first = dict(zip(known[::-1], known.index[::-1], strict=True))
    return [(int(first[digest]), int(row)) for row, digest in known[known.duplicated()].items()]


def split_by_patient(
    table: pd.DataFrame, shares: Mapping[str, float], seed: int, stratify: str | None = None
) -> pd.Series:
    """A role for every row, such that all scans of a person get the same one.

    Parameters
    ----------
    shares : role -> share of the persons; they add up to 1. Counts are rounded so that they add up, too.
    stratify : column whose value (of a person's first row) is spread evenly over the roles.

    Raises
    ------
    ManifestError : fewer persons than roles.
    """
    names = persons(table)
    firsts = table.groupby(names, sort=True).first()
    if len(firsts) < len(shares):
        raise ManifestError(f"{len(firsts)} patients cannot be divided into {len(shares)} roles; add scans.")
    if abs(sum(shares.values()) - 1) > 1e-9:
        raise ValueError(f"the shares add up to {sum(shares.values())}, not 1")
    rng = np.random.default_rng(seed)
    order = firsts.index.to_numpy()[rng.permutation(len(firsts))]
    if stratify is not None:  # sorted by class, each class in random order, and then dealt out evenly
        order = order[np.argsort(firsts.loc[order, stratify].astype(str).to_numpy(), kind="stable")]
    role_of = dict(zip(order, _dealt(len(order), shares), strict=True))
    return names.map(role_of).rename("role")


def _dealt(count: int, shares: Mapping[str, float]) -> list[str]:
    """Roles for ``count`` persons in a row such that every stretch of the row has about the right shares."""
    given = dict.fromkeys(shares, 0)
    dealt = []
    for number in range(1, count + 1):
        role = max(shares, key=lambda name: shares[name] * number - given[name])
        given[role] += 1
        dealt.append(role)
    return dealt
