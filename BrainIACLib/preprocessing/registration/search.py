"""The search at 8 mm: mutual information of a few thousand points, counted by hand."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable

import numpy as np

from BrainIACLib.preprocessing.registration.levels import BINS, BrainLevels, Pose, volume_of
from BrainIACLib.preprocessing.registration.motion import AXIS_TURNS, Motion, turn_about
from BrainIACLib.preprocessing.resampling import index_to_point

Report = Callable[[float], None]
# turn, shift, scale -> mutual information; points go to turn @ (scale * (point - center)) + goal + shift
Score = Callable[[np.ndarray, np.ndarray, float], float]


def search_brain(scan: BrainLevels, goal: BrainLevels, report: Report) -> list[Pose]:
    """The best pose with the header's labeling of the axes, and the best with any other, the better one first."""
    score = _scorer(scan, goal)
    scale = float(np.clip(np.cbrt(volume_of(goal) / volume_of(scan)), 0.9, 1.3))
    small = [turn_about(np.radians(angles)) for angles in itertools.product((-25, 0, 25), repeat=3)]
    still = np.zeros(3)
    poses: list[Pose] = []
    for axes in (AXIS_TURNS[:1], AXIS_TURNS[1:]):
        starts = [turn @ labelling for labelling in axes for turn in small]
        scores = np.array([score(start, still, scale) for start in starts])
        best = (starts[number] for number in np.argsort(-scores, kind="stable")[:8])
        poses.append(_best_climb(score, scan, goal, ((turn, still, scale) for turn in best)))
        report(0.2 * len(poses))
    return poses


def search_head(goal: BrainLevels, head: BrainLevels, report: Report) -> Pose:
    """The pose of the template's brain in a head: from its top down, whatever neck and shoulders hang below."""
    score = _scorer(goal, head)
    points, _ = head.points(4.0, head.masks[4.0])
    top = points[:, 2].max()
    middle = points[points[:, 2] > top - 150].mean(0)
    shifts = [middle - head.centroid + np.array(step) for step in itertools.product((-20, 0, 20), repeat=3)]
    turns = [turn_about(np.radians((angle, 0, 0))) for angle in (-20, 0, 20)]
    starts = [(turn, shift, 0.95) for turn in turns for shift in shifts]
    scores = np.array([score(*start) for start in starts])
    report(0.2)
    order = np.argsort(-scores, kind="stable")[:8]
    return _best_climb(score, goal, head, (starts[number] for number in order))


def _scorer(fixed: BrainLevels, moving: BrainLevels) -> Score:
    """Mutual information of 8 mm points of one brain with a 4 mm table of the other."""
    points, near = fixed.points(8.0, fixed.region(8.0))
    points = points - fixed.centroid
    values = fixed.binned(8.0)[near] * BINS
    table = np.pad(moving.binned(4.0), 1)
    matrix, origin = index_to_point(moving.images[4.0])
    to_index = np.linalg.inv(matrix)
    limit = np.array(table.shape[::-1]) - 1.0
    flat, strides = table.ravel(), np.array([1, table.shape[2], table.shape[1] * table.shape[2]], float)

    def score(turn: np.ndarray, shift: np.ndarray, scale: float) -> float:
        places = points @ (scale * to_index @ turn).T + to_index @ (moving.centroid + shift - origin) + 1
        np.rint(places, out=places)
        np.maximum(places, 0.0, out=places)
        np.minimum(places, limit, out=places)
        hit = flat.take((places @ strides).astype(np.int64))  # whole numbers far below 2 ** 53: exact
        joint = np.bincount(values + hit, minlength=BINS * BINS).reshape(BINS, BINS) / len(points)
        independent = joint.sum(1, keepdims=True) * joint.sum(0, keepdims=True)
        filled = joint > 0
        return float((joint[filled] * np.log(joint[filled] / independent[filled])).sum())

    return score


def _best_climb(
    score: Score, fixed: BrainLevels, moving: BrainLevels, starts: Iterable[tuple[np.ndarray, np.ndarray, float]]
) -> Pose:
    climbed = [_climb(score, *start) for start in starts]
    information, turn, shift, scale = max(climbed, key=lambda one: one[0])
    return Pose(Motion(turn, moving.centroid + shift - turn @ fixed.centroid), scale, information)


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
                (turn_about(np.radians(step) * unit) @ turn, shift, scale),
            ]
        scores = [score(*neighbour) for neighbour in neighbours]
        if max(scores) > value:
            value = max(scores)
            turn, shift, scale = neighbours[int(np.argmax(scores))]
        else:
            step /= 2
    return value, turn, shift, scale
