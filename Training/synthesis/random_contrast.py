"""Contrasts of no particular sequence, so that a network learns shape and not brightness (SynthStrip, Hoopes 2022)."""

from __future__ import annotations

import numpy as np

from Training.synthesis.sequences import Contrast
from Training.synthesis.tissue_parameters import CLASS, NAMES


def draw_random_contrast(rng: np.random.Generator) -> Contrast:
    """A brightness of its own for every tissue, uniform in 0 to 1; bone and air are mostly dark, as in most scans."""
    signal = rng.uniform(0.03, 1, len(NAMES))
    if rng.random() < 0.7:
        signal[CLASS["cortical_bone"]] *= rng.uniform(0, 0.3)
    signal[CLASS["air"]] = 0.0 if rng.random() < 0.85 else rng.uniform(0, 1)
    for group in (("white_matter", "cerebellar_white_matter", "brainstem"), ("cortex", "cerebellar_cortex")):
        first, *others = (CLASS[name] for name in group)
        signal[others] = signal[first] * np.exp(rng.normal(0, 0.15, len(others)))
    return Contrast("random", {}, signal.astype(np.float32))
