"""Who is the same person: names in other spellings, the same image, the same or nearly the same embedding."""

from __future__ import annotations

import re
import unicodedata

import numpy as np

from BrainIACLib.embeddings.table import EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.head_training.report import NearDuplicate
from BrainIACLib.statistics.principal_space import space_of

NEIGHBORS = 10  # around a case, whose nearest neighbors say what is typical there
LEAST_SHARE, MOST_SHARE = 0.3, 0.7  # of the typical distance, below which two cases are taken for one person
FALSE_PAIRS = 0.5  # at most, expected in a cohort of different people
ROWS = 1000  # distances are computed in pieces of so many rows


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
    patients = np.array([name or f"scan {row}" for row, name in enumerate(names)])
    if (names == "").any():
        notes.append(
            "Scans without a patient are taken for different people; if they are not, the figures are too good."
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


def _patients(table: EmbeddingTable) -> list[str]:
    return table.columns["patient"].tolist()


def near_duplicates(embeddings: np.ndarray, groups: np.ndarray, names: tuple[str, ...]) -> list[NearDuplicate]:
    """Pairs of cases of different people that lie suspiciously near each other, nearest first.

    A pair is named if its distance is below a share of what is typical: the median distance to the nearest neighbor
    among the ten cases around either, or the distance of both to their second-nearest case. The share is the one that
    leaves half a pair to be expected among so many different people, since nearest-neighbor distances of
    ``n`` cases in ``m`` dimensions fall below ``share`` of their median with probability ``1 - 2 ** -(share ** m)``;
    ``m`` is the cohort's own (Facco and others, Scientific Reports 7, 2017: from the ratio of the second to the first
    neighbor's distance). A copy that was cropped, resampled or given noise is found so; a second scan of the same
    person is, where it lies nearer than people do.
    """
    if len(embeddings) < NEIGHBORS:
        return []
    space = space_of(embeddings)
    points = space.coordinates / np.sqrt(len(space.mean))
    squares = (points**2).sum(axis=1)
    near = np.empty((len(points), NEIGHBORS), int)
    distances = np.empty((len(points), NEIGHBORS))
    for start in range(0, len(points), ROWS):
        part = slice(start, start + ROWS)
        table = squares[part, None] + squares - 2 * points[part] @ points.T
        table[groups[part, None] == groups] = np.inf
        order = np.argpartition(table, NEIGHBORS - 1, axis=1)[:, :NEIGHBORS]
        found = np.take_along_axis(table, order, axis=1)
        rank = np.argsort(found, axis=1)
        near[part] = np.take_along_axis(order, rank, axis=1)
        distances[part] = np.sqrt(np.maximum(np.take_along_axis(found, rank, axis=1), 0))
    if not np.isfinite(distances[:, :2]).all() or not (distances[:, 0] > 0).all():
        return []  # all cases of one or two people, or copies that count as one person already
    nearest, second = distances[:, 0], distances[:, 1]
    share = _share(nearest, second)
    around = np.median(np.where(np.isfinite(distances), nearest[near], np.nan), axis=1)
    pairs = []
    for one, other in enumerate(near[:, 0]):
        if near[other, 0] != one or other < one:
            continue
        typical = max(np.nanmin([around[one], around[other]]), min(second[one], second[other]))
        if nearest[one] < share * typical:
            pairs.append(NearDuplicate(names[one], names[other], float(nearest[one]), float(typical)))
    return sorted(pairs, key=lambda pair: pair.distance / pair.typical)


def _share(nearest: np.ndarray, second: np.ndarray) -> float:
    """The share of a typical distance below which ``FALSE_PAIRS`` pairs are to be expected by chance."""
    # the median, not the mean of the source: copies would lower it and hide each other
    dimension = np.log(2) / max(float(np.log(np.median(second / nearest))), 1e-6)
    share = (FALSE_PAIRS / (np.log(2) * len(nearest))) ** (1 / dimension)
    return float(np.clip(share, LEAST_SHARE, MOST_SHARE))
