"""The second stage: every contrast, one anatomy under two of them, small nuclei, and more of the real scans.

The first stage (``training``) leaves a network that knows T1 scans. This one starts from its weights. Of eight steps,
three show one simulated head under two contrasts, each answer held against the truth and both against each other
(NT-Xent over the pooled maps of the lowest resolution, other heads as negatives: SimCLR with the contrast as the
augmentation, Chen et al. 2020; a queue in place of a large batch, He et al. 2020); three hold a real T1 scan, resized
or under another contrast, against its DLMUSE volumes by side; one holds a sequence of a person against what the T1 scan
of the same person shows; one sees a DLMUSE label map.
"""

from __future__ import annotations

import copy
import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from BrainIACLib.models.anatomy import VOXEL_ML, AnatomyEncoder
from BrainIACLib.structures import INDEX, STRUCTURES
from Training.starter.anatomy.heads import SIZE, HeadStore
from Training.starter.anatomy.real_scans import BOX, LEAST_ML, LabelledScan, MeasuredScan, augmented, label_loss
from Training.starter.anatomy.rendering import render
from Training.starter.anatomy.training import DICE_SMOOTHING, STEPS_BETWEEN_CHECKPOINTS
from Training.starter.anatomy.views import PairedScans, recolored, renormalised, resized
from Training.starter.descent import Cycle, Descent

NUCLEI = (40, 51, 30)  # voxel in the middle of the box around hippocampus, amygdala and striatum
SMALL_NUCLEI = ("caudate", "putamen", "pallidum", "hippocampus", "amygdala", "thalamus")
EXTRA_WEIGHT = 3.0  # of these in the soft Dice and among the volumes
FEATURES = 64  # of the projection that NT-Xent compares
KINDS = ("whole", "volumes", "nuclei", "sequences", "volumes", "nuclei", "volumes", "labels")


@dataclass(frozen=True)
class Refinement:
    """Everything that decides the weights, apart from the code, the scans and the weights at the start."""

    seed: int = 20266
    heads: int = 128
    first_heads: int = 8
    steps: int = 4400
    learning_rate: float = 1.2e-3
    weight_decay: float = 0.01
    averaging: float = 0.998
    crop: tuple[int, int, int] = (48, 80, 64)
    nuclei_crop: tuple[int, int, int] = (48, 64, 48)
    pair_weight: float = 0.1
    temperature: float = 0.2
    queue: int = 128
    volume_weight: float = 1.0
    teacher_weight: float = 0.3


SMALL_REFINEMENT = Refinement(heads=2, first_heads=2, steps=8, queue=4)
"""For tests: seconds, and no use."""


@dataclass(frozen=True)
class Scans:
    """The real scans of the second stage. ``teacher``: person -> uint8 shares of the plain T1 scan, 255 a voxel."""

    measured: list[MeasuredScan]
    labelled: list[LabelledScan]
    paired: list[PairedScans]
    teacher: dict[str, Tensor]


class Projection(nn.Module):
    """Pooled features -> a point on the sphere; with the queue of what was seen before. Not part of what is shipped."""

    queue: Tensor
    owner: Tensor

    def __init__(self, channels: int, length: int):
        super().__init__()
        self.layers = nn.Sequential(nn.Linear(channels, channels), nn.ReLU(), nn.Linear(channels, FEATURES))
        self.register_buffer("queue", torch.zeros(length, FEATURES))
        self.register_buffer("owner", torch.full((length,), -1))

    def forward(self, maps: Tensor) -> Tensor:
        """(2, C, x, y, z) -> (2, FEATURES), unit length."""
        return F.normalize(self.layers(maps.float().mean((2, 3, 4))), dim=1)

    @torch.no_grad()
    def remember(self, points: Tensor, owner: int) -> None:
        """The oldest points make room for these."""
        self.queue.copy_(torch.cat([points.detach(), self.queue])[: len(self.queue)])
        owners = torch.full((len(points),), owner)
        self.owner.copy_(torch.cat([owners, self.owner])[: len(self.owner)])


def nt_xent(points: Tensor, others: Tensor, temperature: float) -> Tensor:
    """How badly each of two views (2, FEATURES) finds the other among the others (n, FEATURES); all of unit length."""
    together = (points[0] * points[1]).sum().reshape(1, 1).expand(2, 1)
    similar = torch.cat([together, points @ others.T], 1) / temperature
    return F.cross_entropy(similar, torch.zeros(2, dtype=torch.long))


def train_refinement(
    recipe: Refinement, start: AnatomyEncoder, heads: HeadStore, checkpoint: Path, scans: Scans
) -> AnatomyEncoder:
    """Refine, from ``checkpoint`` if it is there, and return the averaged net; rewritten as it goes."""
    torch.manual_seed(recipe.seed)
    net = copy.deepcopy(start).train().requires_grad_(True).to(memory_format=torch.channels_last_3d)
    projection = Projection(net.unet.encoder[-1][0].out_channels, recipe.queue)
    both = nn.ModuleList([net, projection])
    cycle = Cycle(recipe.steps, recipe.learning_rate, recipe.weight_decay, recipe.averaging, rise=0.08)
    descent = Descent(both, cycle, checkpoint, dataclasses.asdict(recipe))
    losses: dict[str, list[float]] = {}
    started = time.monotonic()
    for step in descent.steps():
        rng = np.random.default_rng((recipe.seed, 1, step))  # by step, so that a resumed run goes on alike
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        kind = _kind(step, scans)
        loss = _loss(kind, net, projection, recipe, step, heads, scans, rng, generator)
        losses.setdefault(kind, []).append(descent.follow(loss))
        if descent.pauses(STEPS_BETWEEN_CHECKPOINTS):
            lately = ", ".join(f"{name} {np.mean(values):.3f}" for name, values in sorted(losses.items()))
            print(f"{step + 1}: {lately}, {time.monotonic() - started:.0f} s", flush=True)
            losses.clear()
            descent.keep()
    return cast(AnatomyEncoder, descent.average[0]).eval()


@torch.inference_mode()
def settle_lesions(net: AnatomyEncoder, scans: Scans) -> float:
    """Lower the lesions' bias until healthy persons show as many of them as their teacher does; returns by how much.

    No loss of the real scans tells lesion and white matter apart, so a few percent of the white matter of everybody
    drift to the lesions. The logits of all other structures stay; true lesions are far above what is taken away.
    """
    lesion, odds = INDEX["lesion"], []
    for scan in scans.measured:
        shares = net.shares(scan.image.float()[None, None])[0, lesion]
        odds.append(shares / (1 - shares).clamp_min(1e-6))
    wanted = float(np.mean([scans.teacher[scan.person][lesion].float().sum() / 255 for scan in scans.measured]))
    low, high = 0.0, 20.0
    for _ in range(40):
        middle = (low + high) / 2
        found = np.mean([float((one / (one + np.exp(middle))).sum()) for one in odds])
        low, high = (middle, high) if found > wanted else (low, middle)
    net.unet.distance.bias[8 * lesion : 8 * lesion + 8] -= high
    return high


def _kind(step: int, scans: Scans) -> str:
    kind = KINDS[step % len(KINDS)]
    there = {"volumes": scans.measured, "sequences": scans.paired, "labels": scans.labelled}
    return kind if there.get(kind, True) else "nuclei"


def _loss(
    kind: str,
    net: AnatomyEncoder,
    projection: Projection,
    recipe: Refinement,
    step: int,
    heads: HeadStore,
    scans: Scans,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    if kind == "volumes":
        return _loss_of_volumes(net, recipe, scans, rng, generator)
    if kind == "sequences":
        return _loss_of_sequences(net, scans.paired, rng)
    if kind == "labels":
        return _loss_of_labels(net, recipe, scans.labelled, rng, generator)
    size = recipe.nuclei_crop
    if kind == "whole":
        size = SIZE if step % (4 * len(KINDS)) == 0 else recipe.crop
    return _loss_of_pair(net, projection, recipe, step, heads, size, rng, generator)


def _loss_of_pair(
    net: AnatomyEncoder,
    projection: Projection,
    recipe: Refinement,
    step: int,
    heads: HeadStore,
    size: tuple[int, int, int],
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    """One head under two contrasts."""
    known = min(recipe.heads, recipe.first_heads + int(recipe.heads * step / (0.7 * recipe.steps)))
    number = int(rng.integers(known))
    head = heads.get(number)
    box = _box(SIZE, size, rng)
    mirror = [2] if rng.random() < 0.5 else []
    shares = head.shares[(slice(None), *box)][None].float().div_(8).flip(mirror)
    images = torch.stack([_toned(render(head, rng, generator)[box], rng) for _ in range(2)])[:, None].flip(mirror)
    loss, pooled = torch.zeros(()), []
    for image in images:
        logits, lowest = _answers(net, image[None])
        loss = loss + (shares_loss(logits, shares) + 0.2 * ratio_loss(logits.softmax(1), shares)) / 2
        pooled.append(lowest)
    points = projection(torch.cat(pooled))
    others = projection.queue[(projection.owner >= 0) & (projection.owner != number)]
    if len(others):
        loss = loss + recipe.pair_weight * nt_xent(points, others, recipe.temperature)
    projection.remember(points, number)
    return loss


def _loss_of_volumes(
    net: AnatomyEncoder, recipe: Refinement, scans: Scans, rng: np.random.Generator, generator: torch.Generator
) -> Tensor:
    """A real T1 scan, resized or under another contrast, against the volumes of its structures and of their sides."""
    scan = scans.measured[int(rng.integers(len(scans.measured)))]
    mirror = [2] if rng.random() < 0.5 else []
    change, teacher = 1.0, None
    if rng.random() < 0.6:
        image, change = resized(scan.image, rng)
        image = augmented(image, rng, generator)
    else:
        image = augmented(renormalised(recolored(scan.image, rng)), rng, generator)
        teacher = scans.teacher[scan.person][(slice(None), *BOX)][None].float().div_(255).flip(mirror)
    logits, _ = _answers(net, image[BOX][None, None].flip(mirror))
    shares = logits.softmax(1)
    left, right = shares.chunk(2, dim=2)
    sides = torch.stack([left.sum((0, 2, 3, 4)), right.sum((0, 2, 3, 4))]) * VOXEL_ML
    predicted = torch.cat([sides.sum(0, keepdim=True), sides])
    truth = torch.cat([scan.ml[None], scan.sides.flip(0) if mirror else scan.sides]) * change
    weights = _weights().expand_as(truth)
    known = truth.isfinite()
    ratios = ((predicted[known] + LEAST_ML) / (truth[known] + LEAST_ML)).log().abs()
    loss = recipe.volume_weight * (ratios * weights[known]).sum() / weights[known].sum()
    if teacher is None:
        return loss
    return 0.5 * loss + recipe.teacher_weight * -(teacher * logits.log_softmax(1)).sum(1).mean()


def _loss_of_sequences(net: AnatomyEncoder, scans: list[PairedScans], rng: np.random.Generator) -> Tensor:
    """One sequence of a person against what the T1 scan shows: each voxel, and the volumes."""
    scan = scans[int(rng.integers(len(scans)))]
    image = scan.images[str(rng.choice(list(scan.images)))].float()
    mirror = [2] if rng.random() < 0.5 else []
    shares = scan.shares[(slice(None), *BOX)][None].float().div_(255).flip(mirror)
    logits, _ = _answers(net, _toned(image[BOX], rng)[None, None].flip(mirror))
    entropy = -(shares * logits.log_softmax(1)).sum(1).mean()
    return entropy + 0.5 * ratio_loss(logits.softmax(1), shares)


def _loss_of_labels(
    net: AnatomyEncoder,
    recipe: Refinement,
    scans: list[LabelledScan],
    rng: np.random.Generator,
    generator: torch.Generator,
) -> Tensor:
    scan = scans[int(rng.integers(len(scans)))]
    image = augmented(scan.image, rng, generator)
    if rng.random() < 0.4:
        image = augmented(renormalised(recolored(scan.image, rng)), rng, generator)
    box = _box(SIZE, recipe.nuclei_crop if rng.random() < 0.6 else recipe.crop, rng)
    mirror = [2] if rng.random() < 0.5 else []
    logits, _ = _answers(net, _toned(image[box], rng)[None, None].flip(mirror))
    return label_loss(logits, scan.shares[(slice(None), *box)][None].float().div_(255).flip(mirror))


def shares_loss(logits: Tensor, shares: Tensor) -> Tensor:
    """Cross-entropy plus 1 - soft Dice, small nuclei weighing more; (1, structures, X, Y, Z), shares sum to 1."""
    logarithms = logits.log_softmax(1)
    predicted, truth = logarithms.exp().flatten(2)[0], shares.flatten(2)[0]
    overlap = (predicted * truth).sum(1) + DICE_SMOOTHING / 2
    whole = (predicted.square().sum(1) + truth.square().sum(1)) / 2 + DICE_SMOOTHING / 2
    weights = _weights()
    return -(shares * logarithms).sum(1).mean() + ((1 - overlap / whole) * weights).sum() / weights.sum()


def ratio_loss(predicted: Tensor, shares: Tensor) -> Tensor:
    """Mean |log of predicted / true volume| of the structures that are there; (1, structures, X, Y, Z) both."""
    ours, truth = predicted.sum((0, 2, 3, 4)) * VOXEL_ML, shares.sum((0, 2, 3, 4)) * VOXEL_ML
    weights = _weights() * (truth > LEAST_ML)
    weights[INDEX["background"]] = 0
    ratios = ((ours + LEAST_ML) / (truth + LEAST_ML)).log().abs()
    return (ratios * weights).sum() / weights.sum().clamp_min(1)


def _weights() -> Tensor:
    return torch.tensor([EXTRA_WEIGHT if structure.name in SMALL_NUCLEI else 1.0 for structure in STRUCTURES])


def _answers(net: AnatomyEncoder, image: Tensor) -> tuple[Tensor, Tensor]:
    """Logits (1, structures, X, Y, Z) and the maps of the lowest resolution."""
    with torch.autocast("cpu", torch.bfloat16):
        levels = net.unet.encode(image.contiguous(memory_format=torch.channels_last_3d))
        return net.unet.decode(levels).float(), levels[-1]


def _box(full: tuple[int, ...], size: tuple[int, int, int], rng: np.random.Generator) -> tuple[slice, ...]:
    """A random part around the brain; a small one around the deep nuclei."""
    if size[1] < 80:
        middle = np.array(NUCLEI) + rng.integers(-4, 5, 3)
        starts = [int(np.clip(m - n // 2, 0, whole - n)) for m, n, whole in zip(middle, size, full, strict=True)]
    else:
        starts = [
            int(np.clip(round((whole - n) * rng.normal(m, 0.25)), 0, whole - n))
            for whole, n, m in zip(full, size, (0.5, 0.4, 0.4), strict=True)
        ]
    return tuple(slice(start, start + n) for start, n in zip(starts, size, strict=True))


def _toned(image: Tensor, rng: np.random.Generator) -> Tensor:
    """Brighter or darker, with more or less contrast."""
    return (image * rng.uniform(0.85, 1.15) + rng.normal(0, 0.08)) * (image != 0)
