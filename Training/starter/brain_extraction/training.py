"""The optimization: distance regression with most weight at the border, plus soft Dice; weights averaged."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.models.unet import UNet
from Training.starter.brain_extraction.border import BorderedLabelMap
from Training.starter.brain_extraction.scenes import Sample, draw_samples
from Training.starter.descent import Cycle, Descent

MM_PER_OUTPUT = 10.0
DICE_SOFTNESS_MM = 1.5
STEPS_BETWEEN_CHECKPOINTS = 200


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the code and the label maps."""

    seed: int = 20264
    validation_seed: int = 99
    iterations: int = 10000  # 0.16 s each on two cores, the drawing of the heads included
    learning_rate: float = 1e-3  # from weights that know heads already
    weight_decay: float = 0.01
    averaging: float = 0.995
    widths: tuple[int, ...] = (16, 32, 64, 96)
    crop: tuple[int, int, int] = (64, 80, 64)  # of every second sample
    renderings: int = 6  # of one head
    uses: int = 3  # of one rendering, on average
    pool_heads: int = 10  # heads to draw from at a time


class Heads(torch.utils.data.Dataset):
    """Head number i of a seed: its renderings."""

    def __init__(self, maps: list[BorderedLabelMap], seed: int, heads: int, renderings: int):
        self.maps, self.seed, self.heads, self.renderings = maps, seed, heads, renderings

    def __len__(self) -> int:
        return self.heads

    def __getitem__(self, index: int) -> list[Sample]:
        torch.set_num_threads(1)
        return draw_samples(self.maps[index % len(self.maps)], self.renderings, (self.seed, index))


def border_loss(output: Tensor, distance: Tensor) -> Tensor:
    """Weighted smooth L1 of the distance (mm) plus 1 - soft Dice of sigmoid(distance / DICE_SOFTNESS_MM), scaled."""
    predicted = output.float() * MM_PER_OUTPUT
    weight = 1 + 6 * torch.exp(-((distance / 4) ** 2))
    regression = (weight * F.smooth_l1_loss(predicted, distance, reduction="none")).sum() / weight.sum()
    inside, truth = (torch.sigmoid(value / DICE_SOFTNESS_MM) for value in (predicted, distance))
    dice = (2 * (inside * truth).sum() + 100) / (inside.sum() + truth.sum() + 100)
    return regression + 5 * (1 - dice)


def train(
    recipe: Recipe,
    maps: list[BorderedLabelMap],
    validation: list[Sample],
    checkpoint: Path,
    start: dict[str, Tensor] | None = None,
) -> UNet:
    """Train from ``start`` (a state dict) or from nothing and return the averaged net.

    ``checkpoint`` is rewritten every 200 iterations, and a training that was stopped goes on from there. A second
    process draws the heads; which sample meets which iteration does not depend on its speed.
    """
    torch.manual_seed(recipe.seed)
    torch.set_num_threads(1)
    net = UNet(recipe.widths)
    if start is not None:
        net.load_state_dict(start)
    net = net.to(memory_format=torch.channels_last_3d)
    cycle = Cycle(recipe.iterations, recipe.learning_rate, recipe.weight_decay, recipe.averaging, rise=0.05)
    rng = np.random.default_rng(recipe.seed)
    descent = Descent(net, cycle, checkpoint, dataclasses.asdict(recipe), (rng,))
    per_head = recipe.renderings * recipe.uses
    heads = recipe.iterations // per_head + recipe.pool_heads + 1
    seen = -(-descent.done // per_head)
    still_used = max(0, seen - recipe.pool_heads)
    numbered = Heads(maps, recipe.seed, heads, recipe.renderings)
    loader = torch.utils.data.DataLoader(
        torch.utils.data.Subset(numbered, range(still_used, heads)), batch_size=None, num_workers=1, prefetch_factor=4
    )
    stream = iter(loader)
    pool: list[Sample] = [sample for _ in range(still_used, seen) for sample in next(stream)]
    losses, started = [], time.monotonic()
    for step in descent.steps():
        if step % per_head == 0:
            pool = (pool + next(stream))[-recipe.pool_heads * recipe.renderings :]
        sample = pool[int(rng.integers(len(pool)))]
        image, distance = _augmented(sample, recipe.crop if step % 2 else sample.image.shape, rng)
        with torch.autocast("cpu", torch.bfloat16):
            output = net(image)
        loss = border_loss(output, distance)
        losses.append(descent.follow(loss))
        if descent.pauses(STEPS_BETWEEN_CHECKPOINTS):
            dice = np.median([overlap(descent.average, sample) for sample in validation])
            lately, seconds = np.mean(losses[-STEPS_BETWEEN_CHECKPOINTS:]), time.monotonic() - started
            print(f"{step + 1}: loss {lately:.3f}, Dice {dice:.4f}, {seconds:.0f} s", flush=True)
            descent.keep()
    return descent.average.eval()


def _augmented(sample: Sample, size: tuple[int, int, int], rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Image and distance (1, 1, *size), channels last: a random part, mirrored at random, brighter or darker."""
    starts = [int(rng.integers(full - part + 1)) for full, part in zip(sample.image.shape, size, strict=True)]
    box = tuple(slice(start, start + part) for start, part in zip(starts, size, strict=True))
    mirror = [2] if rng.random() < 0.5 else []
    image, distance = (
        x[box].float()[None, None].flip(mirror).contiguous(memory_format=torch.channels_last_3d)
        for x in (sample.image, sample.distance)
    )
    return image * rng.uniform(0.8, 1.2), distance


@torch.inference_mode()
def overlap(net: UNet, sample: Sample) -> float:
    """Dice of the cut at 0 mm with the truth; 1 where both are empty."""
    image = sample.image.float()[None, None].to(memory_format=torch.channels_last_3d)
    inside, truth = net(image)[0, 0] > 0, sample.distance > 0
    total = int(inside.sum() + truth.sum())
    return 1.0 if total == 0 else 2 * int((inside & truth).sum()) / total
