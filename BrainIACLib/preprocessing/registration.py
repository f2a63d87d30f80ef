"""Rigid registration of an extracted brain to the template brain (P-07, U-08, D-15).

Two steps. A cheap search, at 8 mm, over all 24 ways in which axes can be labelled, turns within 30 degrees and shifts:
mutual information of a few thousand points, counted by hand. Then Mattes mutual information at 4 and 2 mm (SimpleITK).
Brain and background are compared too, up to a margin around the brain and only where the scan has data, so that
slabs register as well as whole brains. All randomness comes from one seed.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk

from BrainIACLib.preprocessing.template import Template, icbm152

Report = Callable[[float], None]
COARSE_MM = 8.0
BINS = 16


@dataclass(frozen=True)
class Registration:
    """``transform`` maps points of the template to points of the scan (mm, LPS): what a resampler needs."""

    transform: sitk.Euler3DTransform
    quality: float
    warnings: tuple[str, ...]
    parameters: dict


def register_to_template(
    image: sitk.Image, mask: sitk.Image, seed: int = 0, template: Template | None = None, report: Report | None = None
) -> Registration:
    """The rigid transform of an extracted brain (any pose, any contrast) to the template."""
    template = template or icbm152()
    report = report or (lambda fraction: None)
    image = sitk.Mask(sitk.Cast(image, sitk.sitkFloat32), sitk.Cast(mask, sitk.sitkUInt8))
    start = _coarse_search(image, mask, template)
    report(0.4)
    brain_to_template = start
    for spacing in (4.0, 2.0):
        brain_to_template = _refine(image, mask, template, brain_to_template, spacing, seed)
    report(1.0)
    matrix, centre, shift = brain_to_template
    inverse = sitk.Euler3DTransform()
    inverse.SetCenter((centre + shift).tolist())
    inverse.SetMatrix(matrix.T.ravel().tolist(), 1e-6)
    inverse.SetTranslation((-shift).tolist())
    overlap = _dice(mask, template.mask, inverse)
    warnings = () if overlap > 0.8 else (f"The registration to the template may have failed (overlap {overlap:.2f}).",)
    return Registration(inverse, overlap, warnings, {"seed": seed, "template": template.name})


def _dice(mask: sitk.Image, template_mask: sitk.Image, transform: sitk.Transform) -> float:
    moved = sitk.Resample(mask, template_mask, transform, sitk.sitkNearestNeighbor, 0)
    a, b = (sitk.GetArrayViewFromImage(m) > 0 for m in (moved, template_mask))
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


# A rigid motion is (matrix, centre, shift): point -> matrix @ (point - centre) + centre + shift.
Motion = tuple[np.ndarray, np.ndarray, np.ndarray]


def _coarse_search(image: sitk.Image, mask: sitk.Image, template: Template) -> Motion:
    points, values = _sample_points(image, mask)
    lookup = _template_lookup(template)
    brain = points[values > 0]
    centre = brain.mean(0)
    goal = lookup.centroid
    relative = points - centre

    def score(matrix: np.ndarray, shift: np.ndarray) -> float:
        return _mutual_information(values, lookup(relative @ matrix.T + goal + shift))

    turns = [_rotation(np.radians(angles)) for angles in itertools.product((-25, 0, 25), repeat=3)]
    scored = [(score(turn @ axes, np.zeros(3)), index, turn @ axes) for index, (axes, turn) in enumerate(itertools.product(axis_turns(), turns))]
    scored.sort(key=lambda s: (-s[0], s[1]))
    best = max((_climb(score, matrix, np.zeros(3)) for _, _, matrix in scored[:24]), key=lambda b: b[0])
    _, matrix, shift = best
    return matrix, centre, goal + shift - centre


def _climb(score, matrix, shift):
    value = score(matrix, shift)
    step_mm, step_deg = 12.0, 12.0
    while step_mm > 1:
        candidates = []
        for axis in range(3):
            for sign in (-1, 1):
                unit = sign * np.eye(3)[axis]
                candidates.append((matrix, shift + step_mm * unit))
                candidates.append((_rotation(np.radians(step_deg) * unit) @ matrix, shift))
        scores = [score(*c) for c in candidates]
        if max(scores) > value:
            value = max(scores)
            matrix, shift = candidates[int(np.argmax(scores))]
        else:
            step_mm, step_deg = step_mm / 2, step_deg / 2
    return value, matrix, shift


def _sample_points(image, mask):
    """Points every 8 mm in and around the brain, (N, 3) in mm, and their binned values, 0 outside the brain."""
    coarse_mask = _on_spacing(mask, COARSE_MM, sitk.sitkNearestNeighbor)
    smooth = sitk.SmoothingRecursiveGaussian(image, COARSE_MM / 2) if min(image.GetSize()) > 4 else image
    coarse = _on_spacing(smooth, COARSE_MM, sitk.sitkLinear)
    near = sitk.GetArrayFromImage(sitk.BinaryDilate(coarse_mask, (1, 1, 1))) > 0
    inside = sitk.GetArrayFromImage(coarse_mask) > 0
    index = np.argwhere(near)[:, ::-1]
    return _points_of(coarse, index), _binned(sitk.GetArrayFromImage(coarse), inside)[near]


def _points_of(image, index):
    matrix = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    return index @ matrix.T + np.array(image.GetOrigin())


def _binned(array, inside):
    low, high = np.percentile(array[inside], (2, 98))
    bins = 1 + np.clip((array - low) / max(high - low, 1e-6) * (BINS - 1), 0, BINS - 2).astype(np.int64)
    return np.where(inside, bins, 0)


class _Lookup:
    def __init__(self, template):
        smooth = sitk.SmoothingRecursiveGaussian(template.image, COARSE_MM / 2)
        image = _on_spacing(smooth, 4.0, sitk.sitkLinear)
        mask = sitk.GetArrayFromImage(_on_spacing(template.mask, 4.0, sitk.sitkNearestNeighbor)) > 0
        self.bins = np.pad(_binned(sitk.GetArrayFromImage(image), mask), 1)
        self.origin = np.array(image.GetOrigin())
        self.to_index = np.linalg.inv(np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing()))
        self.centroid = _points_of(image, np.argwhere(mask)[:, ::-1]).mean(0)
        self.limit = np.array(self.bins.shape[::-1]) - 1

    def __call__(self, points):
        index = np.rint((points - self.origin) @ self.to_index.T).astype(np.int64) + 1
        index = np.clip(index, 0, self.limit)
        return self.bins[index[:, 2], index[:, 1], index[:, 0]]


@functools.cache
def _lookup_of(name):
    return _Lookup(icbm152())


def _template_lookup(template):
    return _Lookup(template) if template is not icbm152() else _lookup_of(template.name)


def _mutual_information(a, b):
    joint = np.bincount(a * BINS + b, minlength=BINS * BINS).reshape(BINS, BINS) / len(a)
    outer = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
    filled = joint > 0
    return float((joint[filled] * np.log(joint[filled] / outer[filled])).sum())


def _rotation(vector):
    """The rotation about ``vector`` by its length in radians."""
    angle = np.linalg.norm(vector)
    if angle == 0:
        return np.eye(3)
    x, y, z = np.asarray(vector) / angle
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross


def axis_turns() -> list[np.ndarray]:
    """The 24 rotations that permute the axes, the identity first."""
    turns = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1.0, -1.0), repeat=3):
            matrix = np.diag(signs)[:, list(order)]
            if np.linalg.det(matrix) > 0:
                turns.append(matrix)
    return turns


def _on_spacing(image, spacing, interpolator):
    size = [max(1, round(n * s / spacing)) for n, s in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    grid = sitk.Image(size, sitk.sitkUInt8)
    new = [n * s / m for n, s, m in zip(image.GetSize(), image.GetSpacing(), size, strict=True)]
    grid.SetSpacing(new)
    grid.SetDirection(image.GetDirection())
    matrix = np.array(image.GetDirection()).reshape(3, 3)
    grid.SetOrigin((np.array(image.GetOrigin()) + matrix @ (np.array(new) - np.array(image.GetSpacing())) / 2).tolist())
    return sitk.Resample(image, grid, sitk.Transform(), interpolator, 0.0, image.GetPixelID(), True)


def _refine(image, mask, template, start: Motion, spacing, seed) -> Motion:
    fixed = _on_spacing(image, spacing, sitk.sitkLinear)
    region = sitk.BinaryDilate(_on_spacing(mask, spacing, sitk.sitkNearestNeighbor), [round(6 / spacing)] * 3)
    moving = sitk.SmoothingRecursiveGaussian(template.image, spacing / 2)
    matrix, centre, shift = start
    transform = sitk.Euler3DTransform()
    transform.SetCenter(centre.tolist())
    transform.SetMatrix(matrix.ravel().tolist(), 1e-6)
    transform.SetTranslation(shift.tolist())
    method = sitk.ImageRegistrationMethod()
    method.SetMetricAsMattesMutualInformation(32)
    method.SetMetricFixedMask(region)
    method.SetMetricSamplingStrategy(method.REGULAR)
    method.SetMetricSamplingPercentage(0.5, seed + 1)
    method.SetInterpolator(sitk.sitkLinear)
    method.SetOptimizerAsRegularStepGradientDescent(spacing / 2, 0.01, 100, 0.5)
    method.SetOptimizerScalesFromPhysicalShift()
    method.SetInitialTransform(transform, inPlace=True)
    method.Execute(fixed, moving)
    return np.array(transform.GetMatrix()).reshape(3, 3), np.array(transform.GetCenter()), np.array(transform.GetTranslation())
