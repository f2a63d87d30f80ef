"""From a scan as it was stored to a brain on the template grid, and back (P-05 to P-08, U-08).

N4, brain extraction in native space, rigid brain-to-brain registration, then one resampling to the 1 mm template grid.
A scan that is already stripped keeps its mask, and its bias field is estimated inside it.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import PreprocessingError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.preprocessing.background import darkened_background
from BrainIACLib.preprocessing.bias_field import correct_bias_field
from BrainIACLib.preprocessing.brain_extraction import BrainMask, chosen_backend, extract_brain
from BrainIACLib.preprocessing.official_preset import take_as_stored
from BrainIACLib.preprocessing.options import PRESETS, PreprocessingOptions
from BrainIACLib.preprocessing.registration import register_to_template
from BrainIACLib.preprocessing.standardised import Standardised, StepRecord
from BrainIACLib.preprocessing.template import icbm152

IN_PLACE_MM = 1.5
IN_PLACE_DEGREES = 1.5
SHARES = {  # of the time, roughly, so that a progress bar moves evenly
    "intensities": 1,
    "bias field": 3,
    "brain extraction": 8,
    "registration": 7,
    "resampling": 1,
}


def standardise(
    image: sitk.Image,
    options: PreprocessingOptions | None = None,
    job: Job = UNATTENDED,
    *,
    mask: sitk.Image | None = None,
    device: str = "cpu",
    near: sitk.Euler3DTransform | None = None,
) -> Standardised:
    """Standardize one scan (3D, scalar, any pose, voxel size and contrast).

    Parameters
    ----------
    job : told the name of each step and the fraction of the whole that is done, which never falls; asked between and
        inside the steps whether to stop.
    mask : the brain, on any grid; it is taken instead of extracting the brain.
    device : the torch device of a network that extracts the brain.
    near : the transform of another scan in the same frame of reference, where the registration then starts.

    Raises
    ------
    PreprocessingError : a step cannot give a usable result.
    Cancelled : the person asked to stop.
    """
    options = options or PreprocessingOptions()
    if options.preset not in PRESETS:
        raise PreprocessingError(f"The preset '{options.preset}' does not exist; choose one of: {', '.join(PRESETS)}.")
    if options.preset == "official":
        return take_as_stored(image)
    template = icbm152()
    steps = [name for name in SHARES if options.bias_field or name != "bias field"]
    run = _Run(steps, job)
    with run.step("intensities") as step:
        scan = _usable_intensities(image, step)
        asked = "mask" if mask is not None else options.brain_extraction
        backend = chosen_backend(scan) if asked == "auto" else asked
    if backend == "stripped":  # before its constant background is changed
        brain = _extract(run, scan, asked, backend, mask, device)
        corrected = _corrected(run, scan, brain.mask) if options.bias_field else scan
    else:
        corrected = _corrected(run, scan, None) if options.bias_field else scan
        brain = _extract(run, corrected, asked, backend, mask, device)
    with run.step("registration") as step:
        found = register_to_template(corrected, brain.mask, options.seed, backend == "none", step.report, near)
        step.parameters, step.warnings = found.parameters, found.warnings
        degrees, millimetres = _size_of(found.transform)
        in_place = degrees < IN_PLACE_DEGREES and millimetres < IN_PLACE_MM
        step.parameters["already_in_template_space"] = in_place
        step.quality = {"overlap": found.quality, "turn_degrees": degrees, "shift_mm": millimetres}
    with run.step("resampling") as step:
        soft = sitk.Resample(sitk.Cast(brain.mask, sitk.sitkFloat32), template.image, found.transform, sitk.sitkLinear)
        mask = sitk.Cast(soft >= 0.5, sitk.sitkUInt8)
        moved = sitk.Resample(corrected, template.image, found.transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
        moved = sitk.Mask(moved, mask)
        step.parameters = {"interpolation": "linear", "voxel_mm": list(template.image.GetSpacing())}
        step.quality = {"volume_ml": float(sitk.GetArrayViewFromImage(mask).sum()) / 1000}
    return Standardised(image, moved, mask, brain.mask, found.transform, tuple(run.record))


def to_native(image: sitk.Image, standardised: Standardised) -> sitk.Image:
    """A map on any grid in template space, on the scan's own grid: linear, 0 outside (D-13)."""
    return sitk.Resample(
        sitk.Cast(image, sitk.sitkFloat32),
        standardised.native,
        standardised.transform.GetInverse(),
        sitk.sitkLinear,
        0.0,
        sitk.sitkFloat32,
    )


def _usable_intensities(image: sitk.Image, step: _Step) -> sitk.Image:
    """float32 without NaN; scans whose values go far below zero are lifted, because N4 takes logarithms."""
    values = np.asarray(sitk.GetArrayViewFromImage(image), np.float32)
    finite = np.isfinite(values)
    step.parameters = {"lifted_by": 0.0}
    if not finite.any() or np.ptp(values[finite]) == 0:
        raise PreprocessingError("This scan has the same value everywhere; there is nothing to analyze in it.")
    step.quality = {"voxels_not_finite": int((~finite).sum())}
    values = np.where(finite, values, values[finite].min())
    values, background = darkened_background(values)
    if background is not None:
        step.parameters["background"] = background
    if np.mean(values < 0) > 0.01:
        step.parameters["lifted_by"] = -float(values.min())
        step.warnings = ("This scan has many values below zero, so it was processed before; they were lifted to zero.",)
        values = values - values.min()
    usable = sitk.GetImageFromArray(values)
    usable.CopyInformation(image)
    return usable


def _corrected(run: _Run, image: sitk.Image, mask: sitk.Image | None) -> sitk.Image:
    with run.step("bias field") as step:
        result = correct_bias_field(image, mask, step.report)
        step.parameters, step.quality = result.parameters, result.quality
    return result.image


def _extract(run: _Run, image: sitk.Image, asked: str, backend: str, mask: sitk.Image | None, device: str) -> BrainMask:
    with run.step("brain extraction") as step:
        brain = extract_brain(image, backend, mask, device, step.report)
        step.parameters = {"asked": asked, "backend": brain.backend, **brain.parameters}
        step.parameters["already_stripped"] = brain.backend == "stripped"
        step.quality, step.warnings = brain.quality, brain.warnings
    return brain


def _size_of(transform: sitk.Euler3DTransform) -> tuple[float, float]:
    """Its turn in degrees, and how far it moves the center of the template, in mm."""
    matrix = np.array(transform.GetMatrix()).reshape(3, 3)
    degrees = np.degrees(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1)))
    return float(degrees), float(np.linalg.norm(transform.GetTranslation()))


@dataclass
class _Step:
    """What a step says about itself while it runs."""

    report: Callable[[float], None]
    parameters: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class _Run:
    """Times the steps, tells the progress, and stops when asked to."""

    def __init__(self, steps: Sequence[str], job: Job):
        self._job = job
        self._whole = sum(SHARES[name] for name in steps)
        self.record: list[StepRecord] = []

    @contextlib.contextmanager
    def step(self, name: str) -> Iterator[_Step]:
        before = sum(SHARES[step.name] for step in self.record)

        def report(fraction: float) -> None:
            self._job.report(name, (before + SHARES[name] * fraction) / self._whole)

        report(0.0)
        started = time.perf_counter()
        step = _Step(report)
        yield step
        seconds = time.perf_counter() - started
        report(1.0)
        self.record.append(StepRecord(name, step.parameters, seconds, step.quality, step.warnings))
