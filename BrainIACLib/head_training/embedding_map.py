"""A picture of the embeddings in two dimensions: t-SNE of up to a thousand cases, principal axes beyond."""

from __future__ import annotations

import numpy as np

from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.statistics.principal_space import space_of

MOST_CASES = 1000
AXES, STEPS, EXAGGERATED, EXAGGERATION = 30, 400, 100, 12.0


def embedding_map(embeddings: np.ndarray, job: Job = UNATTENDED) -> tuple[str, np.ndarray]:
    """Which method, and (n, 2) coordinates of (n, d) embeddings."""
    space = space_of(embeddings)
    coordinates = space.coordinates[:, :AXES]
    if not 10 <= len(coordinates) <= MOST_CASES or coordinates.shape[1] < 2:
        flat = np.zeros((len(coordinates), 2))
        flat[:, : min(2, coordinates.shape[1])] = coordinates[:, :2]
        return "principal axes", flat
    return "t-SNE", tsne(coordinates, min(30.0, (len(coordinates) - 1) / 3), job)


def tsne(points: np.ndarray, perplexity: float, job: Job = UNATTENDED) -> np.ndarray:
    """Exact t-SNE, begun at the first two columns, so that it needs no random numbers.

    Source: van der Maaten and Hinton, Journal of Machine Learning Research 9, 2008; the start on principal axes: Kobak
    and Berens, Nature Communications 10, 2019.
    """
    joint = _joint_probabilities(points, perplexity)
    place = points[:, :2] / max(points[:, 0].std(), 1e-12) * 1e-4
    rate = max(len(points) / EXAGGERATION / 4, 50.0)
    velocity, gains = np.zeros_like(place), np.ones_like(place)
    for step in range(STEPS):
        job.check()
        early = step < EXAGGERATED
        squares = (place**2).sum(axis=1)
        kernel = 1 / (1 + np.maximum(squares[:, None] + squares[None, :] - 2 * place @ place.T, 0))
        np.fill_diagonal(kernel, 0)
        pull = ((EXAGGERATION if early else 1.0) * joint - kernel / kernel.sum()) * kernel
        gradient = 4 * (pull.sum(axis=1)[:, None] * place - pull @ place)
        same = np.sign(gradient) == np.sign(velocity)
        gains = np.maximum(np.where(same, gains * 0.8, gains + 0.2), 0.01)
        velocity = (0.5 if early else 0.8) * velocity - rate * gains * gradient
        place = place + velocity
        place = place - place.mean(axis=0)
    return place


def _joint_probabilities(points: np.ndarray, perplexity: float) -> np.ndarray:
    """(n, n) symmetric, of sum 1; the width at each point is found by bisection on the entropy."""
    squares = (points**2).sum(axis=1)
    distances = np.maximum(squares[:, None] + squares[None, :] - 2 * points @ points.T, 0)
    np.fill_diagonal(distances, np.inf)
    distances = distances / np.median(distances[np.isfinite(distances)])
    lowest, highest = np.full(len(points), -20.0), np.full(len(points), 20.0)
    for _ in range(50):
        middle = (lowest + highest) / 2
        shares = _rows(distances, np.exp(middle))
        entropy = -(shares * np.log(np.maximum(shares, 1e-300))).sum(axis=1)
        wide = entropy > np.log(perplexity)
        lowest, highest = np.where(wide, middle, lowest), np.where(wide, highest, middle)
    joint = shares + shares.T
    return joint / joint.sum()


def _rows(distances: np.ndarray, precision: np.ndarray) -> np.ndarray:
    exponents = -precision[:, None] * (distances - distances.min(axis=1, keepdims=True))
    rows = np.exp(exponents)
    return rows / rows.sum(axis=1, keepdims=True)
