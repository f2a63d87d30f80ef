"""Training samples: from (seed, index) to several normalized volumes on the model grid with their labels.

One index is one head (or one region away from the brain) that is rendered under several protocols, each with its own
brain mask and image formation. What preprocessing does to real scans is imitated at its end: zero outside the mask,
area resize over the voxels inside, the library's own N4, then its clipping and normalization.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.sequences import OTHER as NONE_OF_THE_FOUR
from BrainIACLib.sequences import STANDARD_OR_OTHER
from Training.starter.image_formation import FINE_GRID, Habits, away_from_the_brain, draw_subject, form_image, no_brain
from Training.synthesis.anatomy import build_anatomy, draw_tumours
from Training.synthesis.brain_masks import draw_brain_mask
from Training.synthesis.label_maps import LabelMap
from Training.synthesis.sequences import SEQUENCES, draw_contrast
from Training.synthesis.tissue_parameters import draw_tissues

LABELS = STANDARD_OR_OTHER
HEADS_PER_SHARD = 16
CLIP_PERCENTILES = (0.5, 99.5)
OTHER = ("PD", "T2*", "DWI-b0", "DWI-trace", "ADC", "CT", "MRA", "unnatural")
OTHER_SHARES = (0.18, 0.14, 0.16, 0.12, 0.10, 0.09, 0.08, 0.13)  # in the order of OTHER
HABITS = Habits(n4=0.65, likeness_of_n4=0.0, masks=0.1, n4_of_no_brain=0.5)


@dataclass(frozen=True)
class Sample:
    """``volume`` is uint8 (X, Y, Z): 0 outside, else the normalized value (see ``decode``).

    sureness : how sure an answer ought to be, 0 to 1.
    """

    volume: Tensor
    label: str
    detail: str
    sureness: float = 1.0


def encode(volumes: Tensor) -> Tensor:
    """Normalized values in steps of 1/21 between -5 and 7 as uint8; exact zeros (outside) stay 0."""
    return torch.where(volumes == 0, 0, ((volumes + 5) * (254 / 12)).round().clamp(0, 254) + 1).to(torch.uint8)


def decode(volumes: Tensor) -> Tensor:
    """float32 volumes from ``encode``."""
    return torch.where(volumes == 0, 0.0, (volumes.float() - 1) * (12 / 254) - 5)


def draw_samples(seed: int, index: int, label_maps: list[LabelMap], contract: EncoderContract) -> list[Sample]:
    """All samples of one index; the same arguments give the same bytes."""
    rng = np.random.default_rng((seed, index))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    label_map = label_maps[int(rng.integers(len(label_maps)))]
    if index % 8 == 7:
        images = away_from_the_brain(label_map, SEQUENCES + OTHER, HABITS, rng, generator)
        drawn = [(volume, NONE_OF_THE_FOUR, detail) for volume, detail in images]
    else:
        drawn = _one_head(label_map, rng, generator)
    volumes = normalise(torch.stack([volume for volume, _, _ in drawn])[:, None], contract)[:, 0]
    return [Sample(v, label, detail) for v, (_, label, detail) in zip(encode(volumes), drawn, strict=True)]


def _one_head(label_map: LabelMap, rng: np.random.Generator, generator: torch.Generator):
    pose, maturity = draw_subject(rng)
    tumours = draw_tumours(rng) if maturity > 0.7 else []
    anatomy = build_anatomy(label_map, FINE_GRID, pose, tumours, rng, generator)
    wanted = [label for label in LABELS for _ in range(2)]
    wanted.pop(int(rng.integers(2, 6)))
    drawn = []
    for label in wanted:
        tissues = draw_tissues(rng, float(rng.choice([1.0, 1.5, 3.0], p=[0.05, 0.45, 0.5])), maturity)
        if label == "other" and rng.random() < 0.25:
            volume, kind = no_brain(anatomy, HABITS, rng, generator)
            drawn.append((volume, NONE_OF_THE_FOUR, kind))
            continue
        sequence = label if label != "other" else str(rng.choice(OTHER, p=OTHER_SHARES))
        contrast = draw_contrast(sequence, tissues, rng)
        mask_kind, mask = draw_brain_mask(anatomy, rng, generator)
        volume = form_image(anatomy, contrast, mask, mask_kind == "whole head", HABITS, rng, generator)
        drawn.append((volume, label, f"{sequence}, {mask_kind}, maturity {maturity:.2f}"))
    return drawn
