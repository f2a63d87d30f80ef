"""A scan after preprocessing: the brain on the template grid, the way back, and the record of what was done."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import SimpleITK as sitk


@dataclass(frozen=True)
class StepRecord:
    """One step as it was done. ``parameters`` and ``quality`` hold plain numbers, strings and lists."""

    name: str
    parameters: dict[str, Any]
    seconds: float
    quality: dict[str, Any]
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Standardised:
    """A brain on the template grid, exactly 0 outside ``mask``, and the way back to the scan."""

    native: sitk.Image  # the scan as it came
    image: sitk.Image  # float32, template grid, bias field corrected
    mask: sitk.Image  # uint8, template grid
    native_mask: sitk.Image  # uint8, the scan's grid
    transform: sitk.Euler3DTransform  # template points -> scan points, mm, LPS
    record: tuple[StepRecord, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of all steps."""
        return tuple(warning for step in self.record for warning in step.warnings)
