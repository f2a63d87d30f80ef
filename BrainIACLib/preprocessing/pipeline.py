"""From a scan as it was stored to a brain on the template grid, and back (P-05 to P-08, U-08).

N4, brain extraction in native space, rigid brain-to-brain registration, one resampling to the 1 mm template grid.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable
from dataclasses import dataclass, field

import SimpleITK as sitk

from BrainIACLib.errors import Cancelled
from BrainIACLib.preprocessing.bias_field import correct_bias_field
from BrainIACLib.preprocessing.brain_extraction import extract_brain
from BrainIACLib.preprocessing.registration import register_to_template
from BrainIACLib.preprocessing.template import icbm152


@dataclass(frozen=True)
class PreprocessingOptions:
    """What to do with a scan; the defaults suit any brain MRI."""

    bias_field: bool = True
    brain_extraction: str = "auto"
    mask: sitk.Image | None = None  # the brain, for brain_extraction "mask" or "auto"
    seed: int = 0
    device: str = "cpu"  # of the networks
    sequence_hint: str | None = None


@dataclass(frozen=True)
class StepRecord:
    """One step as it was done."""

    name: str
    parameters: dict
    seconds: float
    quality: dict
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class Standardised:
    """A brain on the template grid, exactly 0 outside ``mask``, and the way back to the scan."""

    native: sitk.Image  # the scan as it came
    image: sitk.Image  # float32, template grid
    mask: sitk.Image  # uint8, template grid
    native_mask: sitk.Image  # uint8, the scan's grid
    transform: sitk.Euler3DTransform  # template points -> scan points, mm, LPS
    record: tuple[StepRecord, ...]

    @property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of all steps."""
        return tuple(warning for step in self.record for warning in step.warnings)


def standardise(
    image: sitk.Image,
    options: PreprocessingOptions | None = None,
    progress: Callable[[str, float], None] | None = None,
    cancelled: Callable[[], bool] | None = None,
) -> Standardised:
    """Standardise one scan.

    Parameters
    ----------
    progress : called with the name of the step and the fraction of it that is done.
    cancelled : polled often; once it answers True, ``Cancelled`` is raised.

    Raises
    ------
    PreprocessingError : a step cannot give a usable result.
    Cancelled : the person asked to stop.
    """
    options = options or PreprocessingOptions()
    template = icbm152()
    run = _Run(progress, cancelled)
    corrected = sitk.Cast(image, sitk.sitkFloat32)
    if options.bias_field:
        with run.step("bias field") as step:
            result = correct_bias_field(corrected, report=step.report)
            corrected = result.image
            step.parameters = result.parameters
    with run.step("brain extraction") as step:
        brain = extract_brain(
            corrected, options.brain_extraction, options.mask, options.sequence_hint, options.device, step.report
        )
        step.parameters = {"backend": brain.backend, **brain.parameters}
        step.quality, step.warnings = brain.quality, brain.warnings
    with run.step("registration") as step:
        found = register_to_template(corrected, brain.mask, options.seed, template, step.report)
        step.parameters, step.quality, step.warnings = found.parameters, {"quality": found.quality}, found.warnings
    with run.step("resampling") as step:
        mask = sitk.Resample(brain.mask, template.image, found.transform, sitk.sitkNearestNeighbor, 0)
        moved = sitk.Resample(corrected, template.image, found.transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        moved = sitk.Mask(moved, mask)
        step.parameters = {"interpolation": "linear", "voxel_mm": list(template.image.GetSpacing())}
    return Standardised(image, moved, mask, brain.mask, found.transform, tuple(run.record))


def to_native(image: sitk.Image, standardised: Standardised) -> sitk.Image:
    """A map on the template grid, or any grid in template space, on the scan's own grid: linear, 0 outside."""
    return sitk.Resample(
        sitk.Cast(image, sitk.sitkFloat32),
        standardised.native,
        standardised.transform.GetInverse(),
        sitk.sitkLinear,
        0.0,
        sitk.sitkFloat32,
    )


@dataclass
class _Step:
    report: Callable[[float], None]
    parameters: dict = field(default_factory=dict)
    quality: dict = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class _Run:
    """Times the steps, tells the progress, and stops when asked to."""

    def __init__(self, progress, cancelled):
        self._progress, self._cancelled = progress, cancelled
        self.record: list[StepRecord] = []

    @contextlib.contextmanager
    def step(self, name: str):
        def report(fraction: float) -> None:
            if self._cancelled is not None and self._cancelled():
                raise Cancelled("Stopped as asked; nothing was written.")
            if self._progress is not None:
                self._progress(name, fraction)

        report(0.0)
        started = time.perf_counter()
        step = _Step(report)
        yield step
        seconds = time.perf_counter() - started
        self.record.append(StepRecord(name, step.parameters, seconds, step.quality, step.warnings))
        report(1.0)
