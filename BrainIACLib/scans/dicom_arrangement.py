"""From the slices of a DICOM series to those of one volume, in order: what belongs together, what is missing.

Headers are written by people and machines, so equal things are not written equally: numbers that differ by rounding are
one number, and what a single slice lacks or words otherwise is taken from the others. What may be another image (an
echo, a b-value, a phase image) stays apart.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from BrainIACLib.scans.dicom_slices import Slice
from BrainIACLib.scans.scan import Refused
from BrainIACLib.scans.usability import choose_frame

SAME_ORIENTATION = 0.01  # difference of direction cosines, 0.6 degrees
SAME_POSITION_MM = 0.05
SAME_SPACING = 1e-3  # relative; a quarter of a millimeter over a head
SAME_ECHO_MS = 0.05
SAME_B_VALUE = 0.5  # s/mm2
UNEVEN_MM, UNEVEN_FRACTION = 0.2, 0.05  # tolerated distance of a slice from its even place; GE rounds to 0.1 mm
FILLED_IN = 0.02  # of all slices may be missing, one at a place, and are then filled in from their neighbors
DEVIANT = 0.1  # of all slices may word their image type differently
_OTHER_IMAGE = {"P", "R", "I", "PHASE", "REAL", "IMAGINARY", "PHASE MAP", "ADC", "FA", "TRACEW", "T2 MAP", "T1 MAP"}
_OTHER_IMAGE |= {
    "WATER",
    "FAT",
    "IN_PHASE",
    "OUT_PHASE",
    "W",
    "F",
    "IP",
    "OP",
    "MIP",
    "PROJECTION IMAGE",
    "SUBTRACTION",
}


@dataclass(frozen=True)
class Arrangement:
    """``slices`` of one volume, sorted along their normal; behind those at the indices ``gaps`` one is missing."""

    slices: list[Slice]
    gaps: tuple[int, ...]
    warnings: tuple[str, ...]

    @property
    def count(self) -> int:
        """Slices of the whole volume, the missing ones included."""
        return len(self.slices) + len(self.gaps)


def arrange(slices: Sequence[Slice], frame: int | None) -> Arrangement:
    """The slices of one volume, sorted by their position along the normal.

    Raises
    ------
    Refused : slices without a place, of several orientations or sizes, at uneven distances, missing, or doubled.
    """
    slices, warnings = _completed(slices)
    orientations: list[np.ndarray] = []
    for piece in slices:
        if not any(np.abs(known - piece.orientation).max() < SAME_ORIENTATION for known in orientations):
            orientations.append(np.array(piece.orientation))
    if len(orientations) > 1:
        raise Refused(
            f"has slices in {len(orientations)} different directions: a localizer or a projection; "
            "give a 3D scan of the brain."
        )
    spacings = np.array([piece.spacing for piece in slices])
    middle = np.median(spacings, axis=0)
    if len({piece.size for piece in slices}) > 1 or (np.abs(spacings - middle) > SAME_SPACING * middle).any():
        raise Refused("mixes slices of different matrix or pixel sizes; export one scan at a time.")
    slices = [dataclasses.replace(piece, spacing=tuple(middle.tolist())) for piece in slices]
    places = _group_by_place(_same_contrasts(slices))
    gaps, missing = _gaps([place[0].height for place in places])
    chosen, odd = _one_volume(places, frame)
    if len(chosen) < len(places):  # the wanted one of several images lacks there
        gaps, missing = _gaps([piece.height for piece in chosen])
        missing = missing or (f"This volume of the series lacks {len(places) - len(chosen)} of its outermost slices.",)
    return Arrangement(chosen, gaps, (*warnings, *missing, *odd))


def _completed(slices: Sequence[Slice]) -> tuple[list[Slice], tuple[str, ...]]:
    """The slices that have a place, with what a few of them lack taken from the others, and what was left out."""
    shared: dict[str, Any] = {}  # attributes of several types, handed on as they are
    for name in ("orientation", "spacing", "thickness", "echo_time", "b_value"):
        values = Counter(getattr(piece, name) for piece in slices)
        lacking = values.pop(None, 0)
        if lacking and len(values) == 1 and lacking <= max(1, DEVIANT * len(slices)):
            shared[name] = next(iter(values))
    filled = [
        dataclasses.replace(piece, **{name: value for name, value in shared.items() if getattr(piece, name) is None})
        for piece in slices
    ]
    placed = [piece for piece in filled if piece.is_placed]
    lost = len(filled) - len(placed)
    if lost > max(1, FILLED_IN * len(filled)) or not placed:
        raise Refused(
            "has images without a position in space: a screenshot, slices tiled into a grid, or a copy of one; give "
            "the MR series as the scanner stored it."
        )
    warnings: tuple[str, ...] = (f"{lost} of its images say no position and were left out.",) if lost else ()
    if shared:
        warnings += ("A few of its DICOM headers are incomplete; what they lack was taken from the others.",)
    return placed, warnings


def _same_contrasts(slices: Sequence[Slice]) -> list[Slice]:
    """Echo times and b-values that differ by rounding become equal."""
    echoes = _rounded([piece.echo_time for piece in slices], SAME_ECHO_MS)
    b_values = _rounded([piece.b_value for piece in slices], SAME_B_VALUE)
    return [
        dataclasses.replace(piece, echo_time=echoes[piece.echo_time], b_value=b_values[piece.b_value])
        for piece in slices
    ]


def _rounded(values: Sequence[float | None], tolerance: float) -> dict[float | None, float | None]:
    """For each value the first of those that follow one another within ``tolerance``."""
    names: dict[float | None, float | None] = {None: None}
    known = sorted({value for value in values if value is not None})
    for before, value in zip([None, *known], known, strict=False):
        names[value] = names[before] if before is not None and value - before <= tolerance else value
    return names


def _group_by_place(slices: Sequence[Slice]) -> list[list[Slice]]:
    """Slices at the same place together, sorted by place."""
    places: list[list[Slice]] = []
    for piece in sorted(slices, key=lambda one: one.height):
        if places and piece.height - places[-1][0].height < SAME_POSITION_MM:
            places[-1].append(piece)
        else:
            places.append([piece])
    return places


def _gaps(heights: Sequence[float]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    """The indices behind which one slice is missing and is to be filled in, and a warning.

    Raises
    ------
    Refused : uneven distances, or too much missing; it says which slices.
    """
    if len(heights) < 3:
        return (), ()
    steps = np.diff(heights)
    step = float(np.median(steps[steps < 1.5 * steps.min()]))
    multiples = np.maximum(np.round(steps / step), 1).astype(int)
    first_guess = np.concatenate([[0], np.cumsum(multiples)])
    step, start = np.polyfit(first_guess, heights, 1)
    uneven = np.abs(heights - (start + step * first_guess)).max()
    if uneven > max(UNEVEN_MM, UNEVEN_FRACTION * step):
        raise Refused(
            f"has slices at uneven distances ({steps.min():.2f} to {steps.max():.2f} mm), so slices are missing or "
            "several scans are mixed; export the series again."
        )
    missing = multiples - 1
    total = int(missing.sum())
    if not total:
        return (), ()
    where = ", ".join(f"{missing[i]} after slice {i + 1}" for i in np.flatnonzero(missing)[:5])
    said = f"lacks {total} of {len(heights) + total} slices ({where}{', ...' if np.count_nonzero(missing) > 5 else ''}"
    if missing.max() > 1 or total > FILLED_IN * (len(heights) + total):
        raise Refused(f"{said}, counted by position); export or copy the whole series again.")
    return tuple(np.flatnonzero(missing).tolist()), (
        f"The series {said}, counted by position); they were filled in from their neighbors, so doubt what is seen "
        "there, and copy the whole series again if you can.",
    )


def _one_volume(places: list[list[Slice]], frame: int | None) -> tuple[list[Slice], tuple[str, ...]]:
    """One slice of each place: the ``frame``-th by contrast and time; and a warning if their wording differs.

    Where single places have fewer images than the others, the image that is wanted is known by its contrast, or by its
    time; a place that lacks it is left out.
    """
    counts = Counter(len(place) for place in places)
    usual = counts.most_common(1)[0][0]
    ordered = [sorted(place, key=lambda piece: (*piece.contrast, *piece.order)) for place in places]
    whole = next(place for place in ordered if len(place) == usual)
    number = choose_frame(usual, frame, _describe(whole))
    if len(counts) == 1:
        chosen = [place[number] for place in ordered]
    else:
        chosen = _matching(ordered, usual, whole, number)
    if len({piece.contrast[1:] for piece in chosen}) > 1 or not _same_image_type([one.image_type for one in chosen]):
        raise Refused(
            "mixes images of different contrast (echo time, b-value or image type) in one series that cannot be "
            "told apart by position; export one scan at a time."
        )
    differ = len({piece.image_type for piece in chosen}) > 1
    return chosen, ("A few of its DICOM headers word the image type differently.",) if differ else ()


def _matching(ordered: list[list[Slice]], usual: int, whole: Sequence[Slice], number: int) -> list[Slice]:
    """Of each place the image that is like the ``number``-th of a ``whole`` place, where it is there.

    Raises
    ------
    Refused : more than a few places differ, or nothing in the headers tells which image lacks.
    """
    odd = [place for place in ordered if len(place) != usual]
    if len(odd) <= max(1, FILLED_IN * len(ordered)) and all(len(place) < usual for place in odd):
        for tell in (_contrast_of, _time_of):
            if len({tell(piece) for piece in whole}) == usual:
                found = [[piece for piece in place if tell(piece) == tell(whole[number])] for place in ordered]
                if all(len(fitting) <= 1 for fitting in found) and sum(map(len, found)) >= len(ordered) - len(odd):
                    return [fitting[0] for fitting in found if fitting]
    few, many = min(map(len, ordered)), max(map(len, ordered))
    raise Refused(
        f"has {few} to {many} images at each of its {len(ordered)} slice positions, so some are missing or several "
        "scans are mixed; export the series again."
    )


def _contrast_of(piece: Slice) -> Hashable:
    return piece.contrast


def _time_of(piece: Slice) -> Hashable:
    """The numbers of the time point; not those of the instance, which differ from slice to slice."""
    return piece.order[:4]


def _same_image_type(image_types: Sequence[Hashable]) -> bool:
    """Whether nearly all are equal, and none of the others has or lacks the name of another kind of image."""
    (usual, count), *_ = Counter(image_types).most_common(1)
    if count < (1 - DEVIANT) * len(image_types):
        return False
    words = set(str(usual).split("\\"))
    return not any((words ^ set(str(other).split("\\"))) & _OTHER_IMAGE for other in set(image_types))


def _describe(place: Sequence[Slice]) -> str:
    """What distinguishes the images at one place, for the person who has to choose."""
    for name, unit in (("echo_time", " ms"), ("b_value", " s/mm²"), ("image_type", "")):
        values = [getattr(piece, name) for piece in place]
        if len(set(values)) > 1 and None not in values:
            shown = [f"{value:g}{unit}" if isinstance(value, float) else value for value in values[:12]]
            return f" ({name.replace('_', ' ')} {', '.join(shown)}{', ...' if len(values) > 12 else ''})"
    return ""


def stack_matrix(arrangement: Arrangement) -> np.ndarray:
    """Voxel index (column, row, slice) -> LPS mm, 4x4 (PS3.3 C.7.6.2.1.1)."""
    first, last = arrangement.slices[0], arrangement.slices[-1]
    assert first.spacing is not None  # an arrangement holds slices that are placed
    between_rows, between_columns = first.spacing
    row, column = first.axes
    matrix = np.eye(4)
    matrix[:3, 0] = row * between_columns
    matrix[:3, 1] = column * between_rows
    matrix[:3, 2] = (last.at - first.at) / max(arrangement.count - 1, 1)
    matrix[:3, 3] = first.at
    return matrix


def filled_in(values: np.ndarray, gaps: Sequence[int]) -> np.ndarray:
    """``values`` (slice, row, column) with the mean of its neighbors in each gap."""
    if not gaps:
        return values
    between = [(values[gap] + values[gap + 1]) / 2 for gap in gaps]
    return np.insert(values, [gap + 1 for gap in gaps], between, axis=0)
