"""Training samples of thirteen kinds: from (seed, index) to normalized volumes on the model grid with their labels.

One index is one head (or one region away from the brain) that is rendered under several protocols, each with its own
brain mask and image formation. What preprocessing does to real scans is imitated at its end: zero outside the mask,
area resize over the voxels inside, the library's own N4, then its clipping and normalization.
"""

from __future__ import annotations

import numpy as np
import torch

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.preprocessing.intensity import normalise
from BrainIACLib.sequences import ALL_NAMES, NOT_A_HEAD, STANDARD_NAMES
from Training.starter.image_formation import FINE_GRID, Habits, away_from_the_brain, draw_subject, form_image, no_brain
from Training.starter.samples import Sample, encode
from Training.synthesis.anatomy import Pose, Tumour, add_plaques, build_anatomy, draw_tumours
from Training.synthesis.brain_masks import draw_brain_mask
from Training.synthesis.label_maps import LabelMap
from Training.synthesis.sequences import OTHER, SEQUENCES, draw_contrast
from Training.synthesis.tissue_parameters import draw_tissues

LABELS = ALL_NAMES
HEADS_PER_SHARD = 4
UNNAMED = "unnatural"  # a contrast of no sequence: the right answer is to be unsure
DRAWN = (*LABELS, UNNAMED)  # the numbers of labels on disk
OTHER_SHARES = (0.12, 0.13, 0.13, 0.12, 0.11, 0.13, 0.10, 0.10, 0.06)  # in the order of OTHER
OTHERS_A_HEAD, FOUR_A_HEAD = 7, 3  # renderings of one head: of the others together, of each of the four

HABITS = Habits(
    n4=0.15,
    likeness_of_n4=0.5,
    masks=0.15,
    n4_of_no_brain=0.15,
    fine_echo_planar=0.3,
    corrected_echo_planar=0.4,
    slab_of_vessels=0.7,
    fruit=0.14,
)


def draw_samples(seed: int, index: int, label_maps: list[LabelMap], contract: EncoderContract) -> list[Sample]:
    """All samples of one index, labeled by ``LABELS`` or ``UNNAMED``; the same arguments give the same bytes."""
    rng = np.random.default_rng((seed, index))
    generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
    label_map = label_maps[int(rng.integers(len(label_maps)))]
    if index % 12 == 11:
        images = away_from_the_brain(label_map, SEQUENCES + OTHER, HABITS, rng, generator)
        drawn = [(volume, NOT_A_HEAD.name, detail, 1.0) for volume, detail in images]
    else:
        drawn = _one_head(label_map, rng, generator)
    volumes = normalise(torch.stack([volume for volume, *_ in drawn])[:, None], contract)[:, 0]
    return [Sample(volume, *facts) for volume, (_, *facts) in zip(encode(volumes), drawn, strict=True)]


def _one_head(label_map: LabelMap, rng: np.random.Generator, generator: torch.Generator):
    pose, maturity = draw_subject(rng) if rng.random() < 0.93 else _draw_infant(rng)
    tumours = draw_tumours(rng) if maturity > 0.7 else []
    if maturity > 0.7 and rng.random() < 0.06:
        tumours = [Tumour("infiltrating", rng.uniform(18, 45), 2.0, 0.0)]
    anatomy = build_anatomy(label_map, FINE_GRID, pose, tumours, rng, generator)
    if maturity > 0.7 and rng.random() < 0.25:
        add_plaques(anatomy.tissue, FINE_GRID, rng)
    wanted = list(STANDARD_NAMES) * FOUR_A_HEAD
    wanted += rng.choice(OTHER, OTHERS_A_HEAD, p=OTHER_SHARES).tolist()
    if rng.random() < 0.5:
        wanted.append(NOT_A_HEAD.name)
    sureness = surely_named(maturity)
    drawn = []
    for label in wanted:
        tissues = draw_tissues(rng, float(rng.choice([1.0, 1.5, 3.0], p=[0.05, 0.45, 0.5])), maturity)
        if label == NOT_A_HEAD.name:
            volume, kind = no_brain(anatomy, HABITS, rng, generator)
            drawn.append((volume, NOT_A_HEAD.name, kind, 1.0))
            continue
        contrast = draw_contrast(label, tissues, rng)
        mask_kind, mask = draw_brain_mask(anatomy, rng, generator)
        volume = form_image(anatomy, contrast, mask, mask_kind == "whole head", HABITS, rng, generator)
        drawn.append((volume, label, f"{label}, {mask_kind}, maturity {maturity:.2f}", sureness))
    return drawn


def surely_named(maturity: float) -> float:
    """How sure an answer ought to be: of adults and children quite, of a newborn by a half, in between by degrees."""
    return float(np.clip(0.5 + 0.5 * (maturity - 0.25) / 0.55, 0.5, 1.0))


def _draw_infant(rng: np.random.Generator) -> tuple[Pose, float]:
    """As ``draw_subject``, in the first year and a half: head size and maturity go together."""
    months = rng.uniform(0, 18)
    maturity = float(np.clip(months / 20 + rng.normal(0, 0.06), 0, 0.95))
    size = 0.70 + 0.20 * (1 - np.exp(-months / 6)) + rng.normal(0, 0.03)
    scale = np.clip(size * (1 + rng.normal(0, 0.025, 3)), 0.62, 1.05)
    pose = Pose(
        tuple(rng.normal(0, 5, 3)),
        tuple(rng.normal(0, 5, 3)),
        tuple(scale),
        bool(rng.random() < 0.5),
        float(rng.uniform(0, 3)),
    )
    return pose, maturity
