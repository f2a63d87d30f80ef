"""A DICOM series as its headers describe it: the slices, where each lies, and what tells it from others."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from BrainIACLib.scans.scan import SeriesSummary

WITHOUT_UID = "without-uid"  # stands for the SeriesInstanceUID of files that lack one


@dataclass(frozen=True)
class Slice:
    """One slice: where its pixels are, where it lies (LPS mm), and what tells it from others at the same place."""

    file: Path
    frame: int  # within the file
    frames_in_file: int
    size: tuple[int, int]  # columns, rows
    position: tuple[float, ...] | None  # of the center of the first pixel
    orientation: tuple[float, ...] | None  # direction along a row, direction along a column
    spacing: tuple[float, ...] | None  # mm, between rows, between columns
    thickness: float | None  # mm
    rescale: tuple[float, float]  # slope, intercept
    image_type: str
    echo_time: float | None
    b_value: float | None
    order: tuple[float, ...]  # time of acquisition, as far as the numbers tell

    @property
    def is_placed(self) -> bool:
        """Whether the header says where the slice lies."""
        return None not in (self.position, self.orientation, self.spacing)

    @property
    def contrast(self) -> tuple[Any, ...]:
        """Equal for all slices of one volume."""
        return self.image_type, self.echo_time or 0.0, self.b_value or 0.0

    @property
    def height(self) -> float:
        """Distance (mm) from the origin along the slice's normal."""
        row, column = self.axes
        return float(np.dot(self.at, np.cross(row, column)))

    @property
    def axes(self) -> np.ndarray:
        """(2, 3): the directions along a row and along a column of a slice that is placed."""
        assert self.orientation is not None
        return np.reshape(self.orientation, (2, 3))

    @property
    def at(self) -> np.ndarray:
        """(3,): the position of a slice that is placed."""
        assert self.position is not None
        return np.array(self.position)


@dataclass(frozen=True)
class Series:
    """The images of one SeriesInstanceUID."""

    uid: str  # WITHOUT_UID for all files that have none
    modality: str | None
    sop_class: str
    samples: int  # values per pixel
    photometric: str  # PhotometricInterpretation: what the values mean
    is_mosaic: bool  # all slices of a volume tiled into one image
    files: tuple[Path, ...]
    slices: tuple[Slice, ...]  # in no order; empty where there are no pixels

    def summary(self) -> SeriesSummary:
        """What may be told of the series."""
        if not self.slices:
            return SeriesSummary(self.uid, self.modality, len(self.files), None, None)
        first = self.slices[0]
        if first.spacing is None or not all(piece.is_placed for piece in self.slices):
            return SeriesSummary(self.uid, self.modality, len(self.files), (*first.size, len(self.slices)), None)
        heights = np.unique(np.round([piece.height for piece in self.slices], 2))
        step = float(np.median(np.diff(heights))) if len(heights) > 1 else 0.0
        spacing = (first.spacing[1], first.spacing[0], step)
        return SeriesSummary(self.uid, self.modality, len(self.files), (*first.size, len(heights)), spacing)
