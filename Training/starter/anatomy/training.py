"""The optimization: shares of structures by cross-entropy and soft Dice, one rendering at a time, weights averaged."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from BrainIACLib.models.anatomy import AnatomyEncoder
from Training.starter.anatomy.heads import SIZE, HeadStore
from Training.starter.anatomy.real_scans import (
    BOX,
    LabelledScan,
    MeasuredScan,
    augmented,
    label_loss,
    volume_loss,
)
from Training.starter.anatomy.rendering import render
from Training.starter.descent import Cycle, Descent

DICE_SMOOTHING = 20.0  # voxels
STEPS_BETWEEN_CHECKPOINTS = 200


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the code and the label maps."""

    seed: int = 20265
    heads: int = 320
    first_heads: int = 16  # before the first step; the others come as the training goes on
    steps: int = 4400
    learning_rate: float = 2.5e-3
    weight_decay: float = 0.01
    averaging: float = 0.997
    width: float = 1.0
    crop: tuple[int, int, int] = (48, 80, 64)
    whole_every: int = 8  # every eighth step sees the whole grid
    real_from: int = 1800  # from this step on, two of four see real scans
    volume_weight: float = 0.5


SMALL = Recipe(heads=2, first_heads=2, steps=4, width=1 / 3)
"""For tests: seconds, and no use."""


def shares_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy with soft targets plus 1 - soft Dice, averaged over the structures that are there.

    logits, shares : (1, structures, X, Y, Z); shares sum to 1.
    """
    logarithms = logits.float().log_softmax(1)
    entropy = -(shares * logarithms).sum(1).mean()
    predicted = logarithms.exp().flatten(2)[0]
    truth = shares.flatten(2)[0]
    overlap = (predicted * truth).sum(1) + DICE_SMOOTHING / 2
    # of soft shares, so that a perfect answer has Dice 1 (Crum et al. 2006 take the minimum; this one is smooth)
    whole = (predicted.square().sum(1) + truth.square().sum(1)) / 2 + DICE_SMOOTHING / 2
    return entropy + (1 - overlap / whole).mean()


@dataclass(frozen=True)
class RealScans:
    """What is trained on besides simulated heads; empty lists: nothing."""

    measured: list[MeasuredScan]
    labelled: list[LabelledScan]


def train(recipe: Recipe, heads: HeadStore, checkpoint: Path, real: RealScans = RealScans([], [])) -> AnatomyEncoder:
    """Train, from ``checkpoint`` if it is there, and return the averaged net; rewritten as it goes."""
    torch.manual_seed(recipe.seed)
    net = AnatomyEncoder(recipe.width).to(memory_format=torch.channels_last_3d)
    cycle = Cycle(recipe.steps, recipe.learning_rate, recipe.weight_decay, recipe.averaging, rise=0.05)
    descent = Descent(net, cycle, checkpoint, dataclasses.asdict(recipe))
    losses, started = [], time.monotonic()
    for step in descent.steps():
        rng = np.random.default_rng((recipe.seed, 1, step))  # by step, so that a resumed run goes on alike
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        kind = step % 4 if step >= recipe.real_from else 0
        if kind == 1 and real.labelled:
            loss = _loss_of_labels(net, recipe, real.labelled, rng, generator)
        elif kind == 3 and real.measured:
            loss = recipe.volume_weight * _loss_of_volumes(net, real.measured, rng, generator)
        else:
            loss = _loss_of_heads(net, recipe, step, heads, rng, generator)
        losses.append(descent.follow(loss))
        if descent.pauses(STEPS_BETWEEN_CHECKPOINTS):
            lately = np.mean(losses[-STEPS_BETWEEN_CHECKPOINTS:])
            print(f"{step + 1}: loss {lately:.3f}, {time.monotonic() - started:.0f} s", flush=True)
            descent.keep()
    return descent.average.eval()


def _loss_of_heads(
    net: AnatomyEncoder,
    recipe: Recipe,
    step: int,
    heads: HeadStore,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    known = min(recipe.heads, recipe.first_heads + int(recipe.heads * step / (0.8 * recipe.steps)))
    head = heads.get(int(rng.integers(known)))
    size = SIZE if step % recipe.whole_every == 0 else recipe.crop
    image, shares = _part(render(head, rng, generator), head.shares, size, rng)
    return shares_loss(_logits(net, image), shares.div_(8))


def _loss_of_labels(
    net: AnatomyEncoder,
    recipe: Recipe,
    scans: list[LabelledScan],
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    scan = scans[int(rng.integers(len(scans)))]
    image, shares = _part(augmented(scan.image, rng, generator), scan.shares, recipe.crop, rng)
    return label_loss(_logits(net, image), shares.div_(255))


def _loss_of_volumes(
    net: AnatomyEncoder, scans: list[MeasuredScan], rng: np.random.Generator, generator: torch.Generator
) -> Tensor:
    scan = scans[int(rng.integers(len(scans)))]
    image = augmented(scan.image, rng, generator)[BOX][None, None]
    if rng.random() < 0.5:
        image = image.flip(2)
    logits = _logits(net, image.contiguous(memory_format=torch.channels_last_3d))
    return volume_loss(logits.float().softmax(1), scan.ml)


def _logits(net: AnatomyEncoder, image: Tensor) -> Tensor:
    with torch.autocast("cpu", torch.bfloat16):
        return net.unet(image)


def _part(image: Tensor, shares: Tensor, size: tuple[int, int, int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """(1, 1, *size) and (1, structures, *size), a random part around the brain, mirrored; brighter or darker."""
    starts = [
        int(np.clip(round((full - part) * rng.normal(middle, 0.25)), 0, full - part))
        for full, part, middle in zip(image.shape, size, (0.5, 0.4, 0.4), strict=True)
    ]
    box = tuple(slice(start, start + part) for start, part in zip(starts, size, strict=True))
    mirror = [2] if rng.random() < 0.5 else []
    image = image[box][None, None].flip(mirror).contiguous(memory_format=torch.channels_last_3d)
    shares = shares[(slice(None), *box)][None].float().flip(mirror)
    inside = image != 0
    return (image * rng.uniform(0.85, 1.15) + rng.normal(0, 0.08)) * inside, shares
