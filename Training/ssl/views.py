"""Two random views of every volume for SimCLR (P-10): parameters are drawn here, and applied by ``transforms``.

Every transform has a random stream of its own, a function of (seed, step, view, transform) alone. Parameters are drawn
for the whole batch over all ranks and then cut, so a run sees the same views on one GPU or eight, resumed or not.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from Training.ssl.transforms import (
    Blur,
    Flip,
    Geometry,
    Intensity,
    Noise,
    add_noise,
    blur,
    change_intensity,
    flip,
    resample,
)

Range = tuple[float, float]


@dataclass(frozen=True)
class ViewRanges:
    """What is drawn, and how often; the paper names the transforms and no number (P-12).

    ``*_probability`` is per volume and view; within it, values are uniform in the range. U-12 lists the ranges of the
    released fine-tuning code, from which ours start.
    """

    flip_probability: float = 0.5
    affine_probability: float = 0.8
    rotation_degrees: float = 15.0  # each axis, both ways
    zoom: Range = (0.9, 1.15)
    shift: float = 0.06  # of the edge, both ways
    crop_probability: float = 0.8
    crop: Range = (0.6, 1.0)  # of the edge: 22 to 100 % of the volume
    blur_probability: float = 0.5
    blur_sigma: Range = (0.25, 1.5)  # voxels
    intensity_probability: float = 0.8
    gamma: Range = (0.5, 2.0)  # uniform in its logarithm
    gain: Range = (0.7, 1.3)
    invert_probability: float = 0.0
    noise_probability: float = 0.5
    noise_deviation: Range = (0.0, 0.09)
    other_contrast_probability: float = 0.0  # the second view is of another sequence of the same person and visit


@dataclass(frozen=True)
class View:
    """The parameters of one view of every volume of a batch."""

    flip: Flip
    geometry: Geometry
    blur: Blur
    intensity: Intensity
    noise: Noise

    def apply(self, volumes: Tensor) -> Tensor:
        """float32 (B, 1, X, Y, Z) in 0..1 -> its view. Noise comes last and may leave 0..1."""
        volumes = resample(flip(volumes, self.flip), self.geometry)
        return add_noise(change_intensity(blur(volumes, self.blur), self.intensity), self.noise)

    def cut(self, start: int, stop: int) -> View:
        """The parameters of the volumes ``start`` to ``stop`` alone."""
        parts = {}
        for name, part in vars(self).items():
            parts[name] = replace(part, **{key: values[start:stop] for key, values in vars(part).items()})
        return View(**parts)


def draw_view(count: int, ranges: ViewRanges, seed: int, step: int, view: int) -> View:
    """Parameters for ``count`` volumes; the same arguments give the same ones."""
    streams = [np.random.default_rng((seed, step, view, transform)) for transform in range(5)]
    return View(
        Flip(_happens(streams[0], count, ranges.flip_probability)),
        _draw_geometry(streams[1], count, ranges),
        _draw_blur(streams[2], count, ranges),
        _draw_intensity(streams[3], count, ranges),
        _draw_noise(streams[4], count, ranges),
    )


def _draw_geometry(rng: np.random.Generator, count: int, ranges: ViewRanges) -> Geometry:
    turned = _happens(rng, count, ranges.affine_probability)[:, None]
    cropped = _happens(rng, count, ranges.crop_probability)
    both_ways = (-ranges.rotation_degrees, ranges.rotation_degrees)
    return Geometry(
        rotation=torch.where(turned, _uniform(rng, (count, 3), both_ways), 0.0),
        zoom=torch.where(turned, _uniform(rng, (count, 1), ranges.zoom), 1.0).expand(count, 3),
        shift=torch.where(turned, _uniform(rng, (count, 3), (-ranges.shift, ranges.shift)), 0.0),
        crop=torch.where(cropped, _uniform(rng, (count,), ranges.crop), 1.0),
        crop_centre=_uniform(rng, (count, 3), (-1.0, 1.0)),
    )


def _draw_blur(rng: np.random.Generator, count: int, ranges: ViewRanges) -> Blur:
    happens = _happens(rng, count, ranges.blur_probability)
    return Blur(torch.where(happens, _uniform(rng, (count,), ranges.blur_sigma), 0.0))


def _draw_intensity(rng: np.random.Generator, count: int, ranges: ViewRanges) -> Intensity:
    happens = _happens(rng, count, ranges.intensity_probability)
    logarithm = (float(np.log(ranges.gamma[0])), float(np.log(ranges.gamma[1])))
    return Intensity(
        gamma=torch.where(happens, _uniform(rng, (count,), logarithm).exp(), 1.0),
        gain=torch.where(happens, _uniform(rng, (count,), ranges.gain), 1.0),
        inverted=_happens(rng, count, ranges.invert_probability),
    )


def _draw_noise(rng: np.random.Generator, count: int, ranges: ViewRanges) -> Noise:
    happens = _happens(rng, count, ranges.noise_probability)
    deviation = torch.where(happens, _uniform(rng, (count,), ranges.noise_deviation), 0.0)
    return Noise(deviation, torch.from_numpy(rng.integers(0, 2**62, count)))


def _happens(rng: np.random.Generator, count: int, probability: float) -> Tensor:
    return torch.from_numpy(rng.random(count) < probability)


def _uniform(rng: np.random.Generator, shape: tuple[int, ...], bounds: Range) -> Tensor:
    return torch.from_numpy(rng.uniform(*bounds, shape)).float()
