"""Rigid registration of an extracted brain to the template brain (P-07, U-08, D-15).

First a cheap search at 8 mm: mutual information of a few thousand points, counted by hand, over all 24 ways in which
axes can be labeled without a mirror, turns, shifts and sizes. Then Mattes mutual information at 4 and at 2 mm
(SimpleITK). Both fit a scale too, because few brains have the size of the template and a rigid fit of brains of unequal
size has a blunt optimum (repeatability 1 mm against 0.2 mm here); the scale is recorded and dropped, the rigid part
about the center of the brain is kept. The points lie in the brain and in a margin around it, and only where the scan
has data: the outline helps, whatever the contrast, and slabs register as well as whole brains. Where a pose is known
that should nearly fit, as of another scan in the same frame of reference, the search is left out; if the fit leaves
that pose or is poor, the search is made after all.
Equal inputs and seeds give bit-identical transforms.
"""

from __future__ import annotations

import contextlib
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing.resampling import index_to_point, with_spacing
from BrainIACLib.preprocessing.template import Template, icbm152

Report = Callable[[float], None]
BINS = 16  # of the search; 0 is the background
THINNEST_MM = 24.0
TURN_BACK = 1.05  # another labeling of the axes than the header's must fit this much better to be believed
POOR_OVERLAP = 0.85  # Dice of the masks after scaling
UPSIDE_DOWN = 60.0  # degrees: no patient lies like this; the header names the axes wrongly
AMBIGUOUS = 0.97  # a second, quite different pose that fits nearly as well
NEAR_DEGREES, NEAR_MM = 8.0, 10.0  # a person on the table moves less between two scans


@dataclass(frozen=True)
class Registration:
    """``transform`` maps points of the template to points of the scan (mm, LPS): what a resampler needs.

    ``quality`` is the Dice overlap (0 to 1) of both brains where the scan has data, sizes made equal.
    """

    transform: sitk.Euler3DTransform
    quality: float
    warnings: tuple[str, ...]
    parameters: dict[str, Any]


@dataclass(frozen=True)
class Motion:
    """A rigid motion: point -> matrix @ point + shift."""

    matrix: np.ndarray  # (3, 3)
    shift: np.ndarray  # (3,)

    def __call__(self, points: np.ndarray) -> np.ndarray:
        """Points (..., 3) in mm."""
        return points @ self.matrix.T + self.shift

    def after(self, first: Motion) -> Motion:
        """This motion following another."""
        return Motion(self.matrix @ first.matrix, self(first.shift))

    def inverse(self) -> Motion:
        """The way back."""
        return Motion(self.matrix.T, -self.matrix.T @ self.shift)

    def moved(self, image: sitk.Image) -> sitk.Image:
        """The same voxels at the place the motion takes them to: exact, only the geometry changes."""
        image = sitk.Image(image)
        image.SetOrigin(self(np.array(image.GetOrigin())).tolist())
        image.SetDirection((self.matrix @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
        return image

    @classmethod
    def of(cls, transform: sitk.Euler3DTransform) -> Motion:
        """The motion of SimpleITK's transform."""
        matrix, centre = np.reshape(transform.GetMatrix(), (3, 3)), np.array(transform.GetCenter())
        return cls(matrix, centre + transform.GetTranslation() - matrix @ centre)

    def transform(self, centre: np.ndarray) -> sitk.Euler3DTransform:
        """As SimpleITK's transform, turning about ``centre``."""
        left, _, right = np.linalg.svd(self.matrix)  # rounding errors of products must not look like a shear
        transform = sitk.Euler3DTransform()
        transform.SetCenter(centre.tolist())
        transform.SetMatrix((left @ right).ravel().tolist())
        transform.SetTranslation((self(centre) - centre).tolist())
        return transform


@dataclass(frozen=True)
class _Pose:
    """Where the search stands: rigid part, scan to template, and scale about the center of the scan's brain."""

    motion: Motion
    scale: float
    information: float  # mutual information there
    ambiguous: bool = False


def register_to_template(
    image: sitk.Image,
    mask: sitk.Image,
    seed: int = 0,
    whole_head: bool = False,
    report: Report | None = None,
    near: sitk.Euler3DTransform | None = None,
) -> Registration:
    """The rigid transform of an extracted brain, in any pose and contrast, to the template.

    Parameters
    ----------
    image, mask : the scan and its brain (uint8), on one grid.
    seed : of the sample points.
    whole_head : the mask holds a whole head, of which the brain is only a part (brain extraction switched off); then
        the header's labeling of the axes is trusted, and no overlap can be measured.
    report : gets the fraction done; may raise to stop.
    near : a transform (template to scan) that should nearly fit; not used with ``whole_head``.

    Raises
    ------
    PreprocessingError : the brain is too thin to be placed.
    """
    report = report or (lambda fraction: None)
    template = icbm152()
    scan = _Levels(sitk.Mask(sitk.Cast(image, sitk.sitkFloat32), sitk.Cast(mask, sitk.sitkUInt8)), mask)
    goal = _template_levels(template)
    known = None if near is None or whole_head else _near(scan, goal, Motion.of(near).inverse(), seed)
    if known is not None:
        pose = known
        motion, scale, overlap = pose.motion.inverse(), pose.scale, _overlap(scan, goal, pose)
    elif whole_head:
        # the template's brain looks for its like in the head; the roles are changed back at the end
        pose = _refine(goal, scan, _search_head(goal, scan, report), 2.0, seed)
        motion, scale, overlap = pose.motion, 1 / pose.scale, None
    else:
        pose = _best_pose(scan, goal, _search_brain(scan, goal, report), seed)
        report(0.6)
        pose = _refine(scan, goal, pose, 2.0, seed)
        motion, scale, overlap = pose.motion.inverse(), pose.scale, _overlap(scan, goal, pose)
    report(1.0)
    warnings = []
    if overlap is None:
        warnings.append("Without brain extraction the registration to the template is rough and cannot be judged.")
    elif overlap < POOR_OVERLAP:
        warnings.append(
            f"The registration to the template has probably failed (overlap {overlap:.2f}): look at the picture before "
            "using the result."
        )
    if _degrees(motion.matrix) > UPSIDE_DOWN:
        warnings.append(
            f"The brain lies turned by {_degrees(motion.matrix):.0f} degrees against what the file says: the axes seem "
            "to be named wrongly, so check left and right."
        )
    if pose.ambiguous:
        warnings.append("Two quite different orientations of this brain fit the template nearly equally well.")
    parameters = {
        "template": template.name,
        "template_sha256": template.sha256,
        "metric": "Mattes mutual information at 4 and 2 mm; the rigid part of a similarity",
        "scale_to_template": round(scale, 3),
        "started_from": "a search" if known is None else "a scan in the same frame of reference",
        "seed": seed,
    }
    quality = 0.0 if overlap is None else overlap
    return Registration(motion.transform(goal.centroid), quality, tuple(warnings), parameters)


class _Levels:
    """A masked brain and its mask at 2, 4 and 8 mm."""

    def __init__(self, image: sitk.Image, mask: sitk.Image):
        share = sitk.Cast(mask, sitk.sitkFloat32)
        self.images, self.masks = {}, {}
        for spacing in (2.0, 4.0, 8.0):
            image = with_spacing(image, (spacing,) * 3, sitk.sitkLinear)
            share = with_spacing(share, (spacing,) * 3, sitk.sitkLinear)
            self.images[spacing] = image
            self.masks[spacing] = share > 0.5
        points, _ = self.points(4.0, self.masks[4.0])
        size = sitk.GetArrayViewFromImage(self.masks[4.0])
        occupied = [size.any(tuple(other for other in range(3) if other != axis)).sum() * 4 for axis in range(3)]
        if min(occupied) < THINNEST_MM:
            raise PreprocessingError(
                f"The brain in this scan is thinner than {THINNEST_MM:.0f} mm, too little to find its place in the "
                "template; use a scan that covers more of the brain."
            )
        self.centroid = points.mean(0)

    def region(self, spacing: float) -> sitk.Image:
        """The brain with a margin of 6 to 8 mm, as far as the scan goes."""
        return sitk.BinaryDilate(self.masks[spacing], [max(1, round(6 / spacing))] * 3)

    def points(self, spacing: float, region: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
        """Points (N, 3) in mm of a region, and which voxels (z, y, x) they are."""
        where = sitk.GetArrayViewFromImage(region) > 0
        matrix, origin = index_to_point(self.images[spacing])
        return np.argwhere(where)[:, ::-1] @ matrix.T + origin, where

    def binned(self, spacing: float) -> np.ndarray:
        """Intensities (z, y, x) in bins 1 to BINS - 1; 0 outside the brain."""
        array = sitk.GetArrayViewFromImage(self.images[spacing])
        inside = sitk.GetArrayViewFromImage(self.masks[spacing]) > 0
        low, high = np.percentile(array[inside], (2, 98))
        scaled = np.clip((array - low) / max(high - low, 1e-6), 0, 1) * (BINS - 2)
        return np.where(inside, 1 + np.rint(scaled).astype(np.int64), 0)


@functools.cache
def _template_levels(template: Template) -> _Levels:
    return _Levels(template.image, template.mask)


# --- The search at 8 mm -----------------------------------------------------------------------------------------------

# turn, shift, scale -> mutual information; points go to turn @ (scale * (point - center)) + goal + shift
Score = Callable[[np.ndarray, np.ndarray, float], float]


def _search_brain(scan: _Levels, goal: _Levels, report: Report) -> list[_Pose]:
    """The best pose with the header's labeling of the axes, and the best with any other, the better one first."""
    score = _scorer(scan, goal)
    scale = float(np.clip(np.cbrt(_volume(goal) / _volume(scan)), 0.9, 1.3))
    small = [_turn(np.radians(angles)) for angles in itertools.product((-25, 0, 25), repeat=3)]
    still = np.zeros(3)
    poses: list[_Pose] = []
    for axes in (AXIS_TURNS[:1], AXIS_TURNS[1:]):
        starts = [turn @ labelling for labelling in axes for turn in small]
        scores = np.array([score(start, still, scale) for start in starts])
        best = (starts[number] for number in np.argsort(-scores, kind="stable")[:8])
        poses.append(_best_climb(score, scan, goal, ((turn, still, scale) for turn in best)))
        report(0.2 * len(poses))
    return poses


def _search_head(goal: _Levels, head: _Levels, report: Report) -> _Pose:
    """The pose of the template's brain in a head: from its top down, whatever neck and shoulders hang below."""
    score = _scorer(goal, head)
    points, _ = head.points(4.0, head.masks[4.0])
    top = points[:, 2].max()
    middle = points[points[:, 2] > top - 150].mean(0)
    shifts = [middle - head.centroid + np.array(step) for step in itertools.product((-20, 0, 20), repeat=3)]
    turns = [_turn(np.radians((angle, 0, 0))) for angle in (-20, 0, 20)]
    starts = [(turn, shift, 0.95) for turn in turns for shift in shifts]
    scores = np.array([score(*start) for start in starts])
    report(0.2)
    order = np.argsort(-scores, kind="stable")[:8]
    return _best_climb(score, goal, head, (starts[number] for number in order))


def _volume(levels: _Levels) -> float:
    return float(sitk.GetArrayViewFromImage(levels.masks[4.0]).sum())


def _scorer(fixed: _Levels, moving: _Levels) -> Score:
    """Mutual information of 8 mm points of one brain with a 4 mm table of the other."""
    points, near = fixed.points(8.0, fixed.region(8.0))
    points = points - fixed.centroid
    values = fixed.binned(8.0)[near] * BINS
    table = np.pad(moving.binned(4.0), 1)
    matrix, origin = index_to_point(moving.images[4.0])
    to_index = np.linalg.inv(matrix)
    limit = np.array(table.shape[::-1]) - 1

    def score(turn: np.ndarray, shift: np.ndarray, scale: float) -> float:
        places = points @ (scale * to_index @ turn).T + to_index @ (moving.centroid + shift - origin) + 1
        x, y, z = np.clip(np.rint(places), 0, limit).astype(np.int64).T
        joint = np.bincount(values + table[z, y, x], minlength=BINS * BINS).reshape(BINS, BINS) / len(points)
        independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        filled = joint > 0
        return float((joint[filled] * np.log(joint[filled] / independent[filled])).sum())

    return score


def _best_climb(
    score: Score, fixed: _Levels, moving: _Levels, starts: Iterable[tuple[np.ndarray, np.ndarray, float]]
) -> _Pose:
    climbed = [_climb(score, *start) for start in starts]
    information, turn, shift, scale = max(climbed, key=lambda one: one[0])
    return _Pose(Motion(turn, moving.centroid + shift - turn @ fixed.centroid), scale, information)


def _climb(
    score: Score, turn: np.ndarray, shift: np.ndarray, scale: float
) -> tuple[float, np.ndarray, np.ndarray, float]:
    """To the best of fourteen neighbors until none is better, then with half the step."""
    value = score(turn, shift, scale)
    step = 12.0  # mm, degrees and per cent
    while step > 1:
        neighbours = [(turn, shift, float(np.clip(scale * (1 + sign * step / 200), 0.7, 1.5))) for sign in (-1, 1)]
        for unit in np.concatenate([np.eye(3), -np.eye(3)]):
            neighbours += [
                (turn, shift + step * unit, scale),
                (_turn(np.radians(step) * unit) @ turn, shift, scale),
            ]
        scores = [score(*neighbour) for neighbour in neighbours]
        if max(scores) > value:
            value = max(scores)
            turn, shift, scale = neighbours[int(np.argmax(scores))]
        else:
            step /= 2
    return value, turn, shift, scale


def _turn(vector: np.ndarray) -> np.ndarray:
    """The rotation about ``vector`` by its length in radians (Rodrigues)."""
    angle = float(np.linalg.norm(vector))
    if angle == 0:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def _degrees(matrix: np.ndarray) -> float:
    """The angle of a rotation matrix."""
    return float(np.degrees(np.arccos(np.clip((np.trace(matrix) - 1) / 2, -1, 1))))


def _axis_turns() -> list[np.ndarray]:
    """The 24 rotations that relabel the axes, the identity first."""
    signed = (
        np.diag(signs)[:, list(order)]
        for order in itertools.permutations(range(3))
        for signs in itertools.product((1.0, -1.0), repeat=3)
    )
    return [matrix for matrix in signed if np.linalg.det(matrix) > 0]


AXIS_TURNS = _axis_turns()


# --- Mattes mutual information ----------------------------------------------------------------------------------------


def _best_pose(scan: _Levels, goal: _Levels, candidates: list[_Pose], seed: int) -> _Pose:
    """The header's labeling of the axes (the first candidate), unless the other one fits clearly better."""
    header, other = candidates
    if other.information < 0.8 * header.information:
        return _refine(scan, goal, header, 4.0, seed)
    header, other = (_refine(scan, goal, candidate, 4.0, seed) for candidate in candidates)
    best, second = (other, header) if other.information > TURN_BACK * header.information else (header, other)
    away = _degrees(best.motion.matrix.T @ second.motion.matrix)
    ambiguous = away > 40 and second.information > AMBIGUOUS * best.information
    return _Pose(best.motion, best.scale, best.information, ambiguous)


def _near(scan: _Levels, goal: _Levels, motion: Motion, seed: int) -> _Pose | None:
    """The pose beside ``motion``; None if the fit is poor or ends elsewhere, so that a search must be made."""
    scale = float(np.clip(np.cbrt(_volume(goal) / _volume(scan)), 0.9, 1.3))
    pose = _Pose(motion, scale, 0.0)
    for spacing in (4.0, 2.0):
        pose = _refine(scan, goal, pose, spacing, seed)
    moved = float(np.linalg.norm(pose.motion(scan.centroid) - motion(scan.centroid)))
    turned = _degrees(pose.motion.matrix.T @ motion.matrix)
    if moved > NEAR_MM or turned > NEAR_DEGREES or _overlap(scan, goal, pose) < POOR_OVERLAP:
        return None
    return pose


def _refine(fixed: _Levels, moving: _Levels, start: _Pose, spacing: float, seed: int) -> _Pose:
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
    return _Pose(step.after(start.motion), scale, -method.GetMetricValue(), start.ambiguous)


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


def _overlap(scan: _Levels, goal: _Levels, pose: _Pose) -> float:
    """Dice of both brains at 4 mm, sizes made equal, where the scan has data."""
    everywhere = scan.masks[4.0] >= 0
    points, _ = scan.points(4.0, everywhere)
    centre = pose.motion(scan.centroid)
    matrix, origin = index_to_point(goal.masks[4.0])
    places = (centre + pose.scale * (pose.motion(points) - centre) - origin) @ np.linalg.inv(matrix).T + 1
    table = np.pad(sitk.GetArrayViewFromImage(goal.masks[4.0]) > 0, 1)
    x, y, z = np.clip(np.rint(places), 0, np.array(table.shape[::-1]) - 1).astype(np.int64).T
    there, here = table[z, y, x], sitk.GetArrayViewFromImage(scan.masks[4.0]).ravel() > 0
    return float(2 * (there & here).sum() / (there.sum() + here.sum()))
