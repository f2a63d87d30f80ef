"""Poses refined at 4 and at 2 mm, by Mattes mutual information (SimpleITK)."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import numpy as np
import SimpleITK as sitk

from BrainIACLib.preprocessing.registration.levels import BrainLevels, Pose, overlap_of, volume_of
from BrainIACLib.preprocessing.registration.motion import Motion, degrees_of

TURN_BACK = 1.05  # another labeling of the axes than the header's must fit this much better to be believed
POOR_OVERLAP = 0.85  # Dice of the masks after scaling
AMBIGUOUS = 0.97  # a second, quite different pose that fits nearly as well
NEAR_DEGREES, NEAR_MM = 8.0, 10.0  # a person on the table moves less between two scans


def best_pose(scan: BrainLevels, goal: BrainLevels, candidates: list[Pose], seed: int) -> Pose:
    """The header's labeling of the axes (the first candidate), unless the other one fits clearly better."""
    header, other = candidates
    if other.information < 0.8 * header.information:
        return refined(scan, goal, header, 4.0, seed)
    header, other = (refined(scan, goal, candidate, 4.0, seed) for candidate in candidates)
    best, second = (other, header) if other.information > TURN_BACK * header.information else (header, other)
    away = degrees_of(best.motion.matrix.T @ second.motion.matrix)
    ambiguous = away > 40 and second.information > AMBIGUOUS * best.information
    return Pose(best.motion, best.scale, best.information, ambiguous)


def pose_near(scan: BrainLevels, goal: BrainLevels, motion: Motion, seed: int) -> Pose | None:
    """The pose beside ``motion``; None if the fit is poor or ends elsewhere, so that a search must be made."""
    scale = float(np.clip(np.cbrt(volume_of(goal) / volume_of(scan)), 0.9, 1.3))
    pose = Pose(motion, scale, 0.0)
    for spacing in (4.0, 2.0):
        pose = refined(scan, goal, pose, spacing, seed)
    moved = float(np.linalg.norm(pose.motion(scan.centroid) - motion(scan.centroid)))
    turned = degrees_of(pose.motion.matrix.T @ motion.matrix)
    if moved > NEAR_MM or turned > NEAR_DEGREES or overlap_of(scan, goal, pose) < POOR_OVERLAP:
        return None
    return pose


def refined(fixed: BrainLevels, moving: BrainLevels, start: Pose, spacing: float, seed: int) -> Pose:
    """The next pose, by a gradient descent on the points in and around the fixed brain.

    The fixed image is first taken to its start, so turns stay small.
    """
    centre = start.motion(fixed.centroid)
    transform = sitk.Similarity3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetScale(start.scale)
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricUseMovingImageGradientFilter(False)
    method.SetMetricFixedMask(start.motion.moved(fixed.region(spacing)))
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(1.0 if spacing > 3 else 0.25, seed + 1)  # seed 0 would mean the clock
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(spacing / 2, 0.01, 100, 0.6)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    with _one_thread():
        method.Execute(start.motion.moved(fixed.images[spacing]), moving.images[spacing])
    scale = transform.GetScale()
    turn = np.array(transform.GetMatrix()).reshape(3, 3) / scale
    step = Motion(turn, centre + np.array(transform.GetTranslation()) - turn @ centre)
    return Pose(step.after(start.motion), scale, -method.GetMetricValue(), start.ambiguous)


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """Threads add up the metric in a changing order, another last bit in each run; the method's own setting of their
    number does not reach its metric."""
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(1)
    try:
        yield
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
