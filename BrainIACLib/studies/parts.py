"""A DICOM series taken apart into the volumes that it mixes: echoes, b-values, magnitude and phase, stations."""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from BrainIACLib.scans.dicom_slices import Series, Slice
from BrainIACLib.studies.header_facts import HeaderFacts
from BrainIACLib.studies.header_rules import LEAST_WEIGHTING

MOST_PARTS = 6
OTHER_STATION_MM = 20.0  # in the plane, between images at the same height: the table was moved
Facts = Mapping[tuple[Path, int], HeaderFacts]


@dataclass(frozen=True)
class Part:
    """The images of a series that have one contrast."""

    series: Series
    facts: HeaderFacts | None
    repeats: int


def parts_of(series: Series, facts: Facts) -> list[Part]:
    """The contrasts of ``series``, the largest first where there are more than ``MOST_PARTS``, else as acquired."""
    groups: dict[tuple[Any, ...], list[Slice]] = {}
    for piece in series.slices:
        groups.setdefault(_contrast(facts.get((piece.file, piece.frame))), []).append(piece)
    kept = [station for group in groups.values() for station in _stations(group)]
    if len(kept) > MOST_PARTS:
        kept = sorted(kept, key=len, reverse=True)[:MOST_PARTS]
    weighted = any((one.b_value or 0) >= LEAST_WEIGHTING for one in _facts_of(series.slices, facts))
    parts = [_part(series, pieces, facts, weighted) for pieces in kept] or [Part(series, None, 1)]
    return sorted(parts, key=_order)


def _stations(pieces: list[Slice]) -> list[list[Slice]]:
    """The images apart whose planes lie beside each other, as those of a spine that is scanned in parts.

    A stack whose slices are shifted little by little is one: there, what lies elsewhere has another height too.
    """
    if not all(piece.is_placed for piece in pieces):
        return [pieces]
    stations: list[list[Slice]] = []
    for piece in pieces:
        place = next((one for one in stations if _apart(one[0], piece) < OTHER_STATION_MM), None)
        if place is None:
            stations.append([piece])
        else:
            place.append(piece)
    ranges = [(min(one.height for one in station), max(one.height for one in station)) for station in stations]
    beside = any(
        min(first[1], second[1]) - max(first[0], second[0]) > (first[1] - first[0]) / 2
        for first, second in itertools.pairwise(sorted(ranges))
    )
    return stations if beside else [pieces]


def _apart(first: Slice, second: Slice) -> float:
    """Distance in the plane of two images, mm."""
    between = second.at - first.at
    row, column = first.axes
    return float(np.hypot(between @ row, between @ column))


def _part(series: Series, pieces: Sequence[Slice], facts: Facts, weighted: bool) -> Part:
    own = _facts_of(pieces, facts)
    repeats = _repeats(pieces)
    first = None
    if own:
        first = dataclasses.replace(
            own[0], in_diffusion_series=weighted, temporal_positions=max(repeats, own[0].temporal_positions)
        )
    if weighted and first is not None:  # directions, not time points
        first = dataclasses.replace(first, temporal_positions=1)
    same = pieces[0]
    alike = [
        dataclasses.replace(piece, echo_time=same.echo_time, b_value=same.b_value, image_type=same.image_type)
        for piece in pieces
    ]
    files = tuple(dict.fromkeys(piece.file for piece in pieces))
    return Part(dataclasses.replace(series, files=files, slices=tuple(alike)), first, repeats)


def _facts_of(pieces: Sequence[Slice], facts: Facts) -> list[HeaderFacts]:
    found = (facts.get((piece.file, piece.frame)) for piece in pieces)
    return [one for one in found if one is not None]


def _contrast(facts: HeaderFacts | None) -> tuple[Any, ...]:
    """Equal for images of one contrast; b-values that vary with the direction are one, as echo times that were rounded
    differently."""
    if facts is None:
        return ()
    b_value = facts.b_value or 0.0
    weighting = 0 if b_value < LEAST_WEIGHTING else max(1, round(b_value / 200))
    return facts.image_type, facts.phase, round(facts.echo_time or 0.0, 1), weighting


def _repeats(pieces: Sequence[Slice]) -> int:
    if not all(piece.is_placed for piece in pieces):
        return 1
    return max(Counter((piece.orientation, round(piece.height, 1)) for piece in pieces).values())


def _order(part: Part) -> tuple[float, float]:
    facts = part.facts
    return (facts.b_value or 0.0, facts.echo_time or 0.0) if facts else (0.0, 0.0)
