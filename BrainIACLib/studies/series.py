"""One row of a study: a volume that may be analyzed, with what its header and its image say it is."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from BrainIACLib.scans.dicom_slices import Series
from BrainIACLib.studies.header_facts import HeaderFacts
from BrainIACLib.studies.header_rules import HeaderClass


@dataclass(frozen=True)
class FoundSeries:
    """One volume of a study before its voxels are read.

    Attributes
    ----------
    key : what the report and ``--use`` call it: its series number, with a letter where a series holds several volumes.
    dicom : the images of a DICOM series, else None.
    file : a NIfTI or other single file, else None.
    repeats : how many images lie at each place (time points, directions); the first is taken.
    set_aside : why it is not analyzed; empty for a candidate.
    derived : computed from other images (a reformat, projection or map).
    """

    key: str
    dicom: Series | None = field(repr=False)
    file: Path | None = field(repr=False)
    facts: HeaderFacts | None
    header: HeaderClass | None
    size: tuple[int, int, int] | None = None
    spacing: tuple[float, float, float] | None = None
    repeats: int = 1
    derived: bool = False
    set_aside: str = ""
    description: str = field(default="", repr=False)  # as typed by people: shown only with the identity

    @property
    def extent(self) -> tuple[float, ...] | None:
        """Edges of the field of view in mm."""
        if self.size is None or self.spacing is None:
            return None
        return tuple(n * mm for n, mm in zip(self.size, self.spacing, strict=True))
