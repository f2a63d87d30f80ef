"""Who is the same person: names in other spellings, the same image, the same or nearly the same embedding."""

from __future__ import annotations

import re
import unicodedata

import numpy as np

from BrainIACLib.embeddings.table import EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.head_training.decisions import STUDY
from BrainIACLib.head_training.report import NearDuplicate
from BrainIACLib.statistics.principal_space import space_of

NEIGHBORS = 10  # people around a person, whose nearest neighbors say what is typical there
LEAST_SHARE, MOST_SHARE = 0.3, 0.7  # of the typical distance, below which two cases are taken for one person
FALSE_PAIRS = 0.5  # at most, expected in a cohort of different people
ROWS = 1000  # distances are computed in pieces of so many people


def same_name(text: str) -> str:
    """One form of all spellings of a name: case, width, blanks and separators aside, of a number its zeros.

    >>> {same_name(name) for name in ("sub-01", "SUB-01", "sub_01 ")}
    {'sub-01'}
    >>> same_name("007"), same_name("7.0")
    ('7', '7')
    """
    plain = re.sub(r"[\s_.\-]+", "-", unicodedata.normalize("NFKC", text).casefold().strip()).strip("-")
    number = re.fullmatch(r"0*(\d+)(-0+)?", plain)
    return number[1] if number else plain


def people_of(table: EmbeddingTable, labels: np.ndarray, known: np.ndarray, notes: list[str]) -> np.ndarray:
    """(n,) number of each row's person; the same image or the very same embedding makes two people one.

    Parameters
    ----------
    labels : (n,) of the rows, which must not differ between copies of one image.
    known : (n,) whether the cell of the patient says anything.
    notes : gets what was found.
    """
    names = np.array([same_name(text) if there else "" for text, there in zip(_patients(table), known, strict=True)])
    patients = np.array(names_of(table, known))
    if (names == "").any():
        notes.append(
            "Scans without a patient are taken for different people, those of one study for one; if they are not, the "
            "figures are too good."
        )
    spellings: dict[str, set[str]] = {}
    for name, text in zip(names, _patients(table), strict=True):
        if name:
            spellings.setdefault(name, set()).add(text)
    several = [sorted(texts) for texts in spellings.values() if len(texts) > 1]
    if several:
        named = "; ".join(" = ".join(f"'{text}'" for text in texts) for texts in several[:3])
        notes.append(f"{len(several)} patients are spelled in several ways and count as one each: {named}.")
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


def names_of(table: EmbeddingTable, known: np.ndarray) -> list[str]:
    """Of each row's person, in one spelling; without a patient (``known``), the scans of one study are one person's."""
    studies = table.columns.get(STUDY, np.full(len(table), ""))
    without = [f"study {study}" if study else f"scan {row}" for row, study in enumerate(studies)]
    rows = zip(_patients(table), known, without, strict=True)
    return [same_name(text) if there else instead for text, there, instead in rows]


def _patients(table: EmbeddingTable) -> list[str]:
    return table.columns["patient"].tolist()


def near_duplicates(embeddings: np.ndarray, groups: np.ndarray, names: tuple[str, ...]) -> list[NearDuplicate]:
    """Pairs of cases of different people that lie suspiciously near each other, nearest first.

    People are as far apart as their nearest two cases. A pair is named if its distance is below a share of what is
    typical: the median distance to the nearest neighbor among the ten people around either, or the distance of both to
    their second-nearest person. The share is the one that
    leaves half a pair to be expected among so many different people, since nearest-neighbor distances of
    ``n`` cases in ``m`` dimensions fall below ``share`` of their median with probability ``1 - 2 ** -(share ** m)``;
    ``m`` is the cohort's own (Facco and others, Scientific Reports 7, 2017: from the ratio of the second to the first
    neighbor's distance). A copy that was cropped, resampled or given noise is found so; a second scan of the same
    person is, where it lies nearer than people do.
    """
    space = space_of(embeddings)
    order = np.argsort(groups, kind="stable")
    points = (space.coordinates / np.sqrt(len(space.mean)))[order]
    starts = np.unique(groups[order], return_index=True)[1]  # of each person's cases
    if len(starts) <= NEIGHBORS:
        return []
    near, distances = _nearest_people(points, starts)
    nearest, second = distances[:, 0], distances[:, 1]
    if not (nearest > 0).all():
        return []  # copies that count as one person already
    share = _share(nearest, second)
    around = np.median(nearest[near], axis=1)
    cases_of = np.split(order, starts[1:])
    pairs = []
    for one, other in enumerate(near[:, 0].tolist()):
        if near[other, 0] != one or other < one:
            continue
        typical = max(min(around[one], around[other]), min(second[one], second[other]))
        if nearest[one] < share * typical:
            first, copy = _closest_cases(embeddings / space.scale, cases_of[one], cases_of[other])
            pairs.append(NearDuplicate(names[first], names[copy], float(nearest[one]), float(typical)))
    return sorted(pairs, key=lambda pair: pair.distance / pair.typical)


def _nearest_people(points: np.ndarray, starts: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(people, 10) numbers and distances of the nearest other people, nearest first: by their nearest two cases.

    Parameters
    ----------
    points : (n, r), the cases of a person together; ``starts``: (people,) the first of each.
    """
    squares, ends = (points**2).sum(axis=1), np.append(starts[1:], len(points))
    near = np.empty((len(starts), NEIGHBORS), int)
    distances = np.empty((len(starts), NEIGHBORS))
    for first in range(0, len(starts), ROWS):
        people = np.arange(first, min(first + ROWS, len(starts)))
        cases = slice(starts[people[0]], ends[people[-1]])
        table = squares[cases, None] + squares - 2 * points[cases] @ points.T
        table = np.minimum.reduceat(np.minimum.reduceat(table, starts, axis=1), starts[people] - cases.start, axis=0)
        table[np.arange(len(people)), people] = np.inf
        order = np.argpartition(table, NEIGHBORS - 1, axis=1)[:, :NEIGHBORS]
        found = np.take_along_axis(table, order, axis=1)
        rank = np.argsort(found, axis=1)
        near[people] = np.take_along_axis(order, rank, axis=1)
        distances[people] = np.sqrt(np.maximum(np.take_along_axis(found, rank, axis=1), 0))
    return near, distances


def _closest_cases(scaled: np.ndarray, ours: np.ndarray, theirs: np.ndarray) -> tuple[int, int]:
    """The two cases that make two people near; of (n, d) scaled embeddings, given by their rows."""
    squares = ((scaled[ours][:, None] - scaled[theirs]) ** 2).sum(axis=2)
    one, other = np.unravel_index(squares.argmin(), squares.shape)
    return int(ours[one]), int(theirs[other])


def _share(nearest: np.ndarray, second: np.ndarray) -> float:
    """The share of a typical distance below which ``FALSE_PAIRS`` pairs are to be expected by chance."""
    # the median, not the mean of the source: copies would lower it and hide each other
    dimension = np.log(2) / max(float(np.log(np.median(second / nearest))), 1e-6)
    share = (FALSE_PAIRS / (np.log(2) * len(nearest))) ** (1 / dimension)
    return float(np.clip(share, LEAST_SHARE, MOST_SHARE))
