"""Persons of whom DLMUSE's volumes are known but no scan is here: what the network would most likely say of them.

Healthy adults of two more scanners, up to 86 years, are in DLMUSE's table of three sites. Of a third of the table there
is a scan as well; ridge regression on these says how the network's numbers follow DLMUSE's regions. Each translated
person gets the errors of one of them on top (of folds that did not fit it): without them a head would trust a number
more than it deserves when it comes from a scan. No age takes part.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from Training.starter.anatomy.reference import THREE_SITES, person_of

PENALTIES = np.logspace(0, 4, 17)
FOLDS, SEED = 10, 20268
INTRACRANIAL, LAST_REGION = "702", 207  # of NiChart's numbers; regions are 1 to 207, sums are above


@dataclass(frozen=True)
class Regions:
    """n persons of the table. ``values`` : (n, d), log intracranial volume and logs of the regions' shares of it."""

    persons: np.ndarray
    sites: np.ndarray
    ages: np.ndarray
    values: np.ndarray

    def rows(self, keep: np.ndarray) -> Regions:
        """Some of the persons."""
        return Regions(self.persons[keep], self.sites[keep], self.ages[keep], self.values[keep])


@dataclass(frozen=True)
class Translated:
    """``values`` : (n, d) of the network's numbers. ``followed`` : (d,) of each, the share of its variance in persons
    whom the folds did not fit that DLMUSE's regions tell."""

    regions: Regions
    values: np.ndarray
    followed: np.ndarray


def regions_of(data: Path) -> Regions:
    """The persons with an age of the table of three sites."""
    with (data / THREE_SITES).open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["Age"]]
    names = [name for name in rows[0] if name.isdigit() and int(name) <= LAST_REGION]
    volumes = np.array([[float(row[name]) for name in names] for row in rows])
    whole = np.array([float(row[INTRACRANIAL]) for row in rows])
    there = (volumes > 0).all(axis=0)  # a region that somebody lacks has no logarithm
    persons = np.array([row["ID"].removesuffix("-T1") for row in rows])
    return Regions(
        persons,
        sites=np.array([person.split("-")[1] for person in persons]),
        ages=np.array([float(row["Age"]) for row in rows]),
        values=np.column_stack([np.log(whole), np.log(volumes[:, there] / whole[:, None])]),
    )


def translate(regions: Regions, seen: dict[str, np.ndarray]) -> Translated:
    """Everybody in ``regions`` without a scan.

    Parameters
    ----------
    seen : person -> (d,) numbers of the network, of persons with a scan.
    """
    both = np.isin(regions.persons, list(seen))
    known, others = regions.rows(both), regions.rows(~both)
    numbers = np.stack([seen[person] for person in known.persons])
    rng = np.random.default_rng(SEED)
    fold = rng.permutation(len(numbers)) % FOLDS
    errors = np.zeros((len(PENALTIES), *numbers.shape))
    for number in range(FOLDS):
        out = fold == number
        for i, penalty in enumerate(PENALTIES):
            errors[i, out] = numbers[out] - _ridge(known.values[~out], numbers[~out], penalty, known.values[out])
    spread = ((numbers - numbers.mean(axis=0)) ** 2).sum(axis=0)
    unexplained = (errors**2).sum(axis=1) / spread
    best = int(unexplained.mean(axis=1).argmin())
    values = _ridge(known.values, numbers, PENALTIES[best], others.values)
    values = values + errors[best][rng.integers(len(numbers), size=len(values))]
    return Translated(others, values, 1 - unexplained[best])


def seen_by(scans, values: np.ndarray) -> dict[str, np.ndarray]:
    """IXI person -> numbers, from scans and their (n, d) numbers."""
    return {person_of(scan.file): row for scan, row in zip(scans, values, strict=True) if scan.study == "IXI"}


def _ridge(x: np.ndarray, y: np.ndarray, penalty: float, asked: np.ndarray) -> np.ndarray:
    """What ridge regression of y (n, d) on standardized x says to ``asked``; in its dual form, as n is small."""
    middle, scale = x.mean(axis=0), x.std(axis=0) + 1e-9
    x, asked = (x - middle) / scale, (asked - middle) / scale
    dual = np.linalg.solve(x @ x.T + penalty * np.eye(len(x)), y - y.mean(axis=0))
    return asked @ (x.T @ dual) + y.mean(axis=0)
