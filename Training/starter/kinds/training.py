"""The optimization: a compact residual net, tuned further from the weights of version 1.2, first on simulated heads,
then with real scans in the mix; weights averaged, calibrated on heads and studies that were left out."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from BrainIACLib.models.heads import EncoderWithHead, LinearHead
from BrainIACLib.models.resnet import ResNet
from BrainIACLib.sequences import ALL_NAMES, OTHER, STANDARD_OR_OTHER
from Training.starter.augmentation import augment
from Training.starter.descent import Cycle, Descent
from Training.starter.kinds.real_scans import RealDraws
from Training.starter.kinds.samples import LABELS
from Training.starter.samples import decode
from Training.starter.shards import ShardReader


@dataclass(frozen=True)
class Stage:
    """steps, the highest learning rate, which part of each batch are real scans, and the shares of the kinds among its
    simulated heads, in the order of LABELS and UNNAMED."""

    steps: int
    learning_rate: float
    real_share: float
    shares: tuple[float, ...]


HALF_THE_FOUR = (0.135, 0.12, 0.12, 0.145, 0.05, 0.055, 0.055, 0.055, 0.05, 0.06, 0.05, 0.035, 0.05, 0.02)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the code, the label maps, the scans and the first weights."""

    seed: int = 20262
    validation_seed: int = 99
    shards: int = 96  # of 4 heads, about 78 volumes each
    at_start: float = 0.4  # the share of them that must be there when training starts
    validation_shards: int = 8
    start_encoder: str = "ad2eb68b321ee2f0769077472a7ce42debcde9ed8e6eba29eebaaeef7a6abe0e"  # sha256, version 1.2
    start_head: str = "ee47e5d388684ebdbed721a929d0462dc78769116184bce6484b70d0c6020754"
    simulated: Stage = Stage(3200, 1e-3, 0.0, HALF_THE_FOUR)
    mixed: Stage = Stage(500, 8e-4, 0.375, HALF_THE_FOUR)  # once with all, and once without each fold
    kept: float = 0.5  # of the first weights, in the mean of them and the last that is exported
    merging: int = 60  # batches whose embeddings the row of "other" is fitted on
    batch_size: int = 16
    weight_decay: float = 0.02
    label_smoothing: float = 0.03
    averaging: float = 0.995
    width: float = 0.25


def new_net(recipe: Recipe) -> EncoderWithHead:
    """The encoder and head with random weights, drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    encoder = ResNet("resnet18", recipe.width)
    return EncoderWithHead(encoder, LinearHead(encoder.embedding_size, len(LABELS)))


def widened(net: EncoderWithHead, encoder: dict[str, Tensor], head: dict[str, Tensor]) -> EncoderWithHead:
    """``net`` with the weights of a model that knew the four and "other": new names start as shares of "other"."""
    net.encoder.load_state_dict(
        {name: tensor.float() if tensor.is_floating_point() else tensor for name, tensor in encoder.items()}
    )
    own = net.head.state_dict()
    new = len(set(ALL_NAMES) - set(STANDARD_OR_OTHER))
    for name, tensor in own.items():
        known = head[name].float()
        for row, label in enumerate(LABELS):
            old = STANDARD_OR_OTHER.index(label if label in STANDARD_OR_OTHER else OTHER)
            tensor[row] = known[old]
            if label not in STANDARD_OR_OTHER:
                tensor[row] += 0.02 * torch.randn(tensor[row].shape) if tensor.ndim > 1 else -math.log(new)
    net.head.load_state_dict(own)
    return net


def blended(net: EncoderWithHead, start: EncoderWithHead, kept: float) -> EncoderWithHead:
    """Mean of tuned and first weights, which errs less on what the tuning did not show (Wortsman et al. 2022)."""
    first = start.state_dict()
    mean = {
        name: kept * first[name].float() + (1 - kept) * value.float() if value.is_floating_point() else value
        for name, value in net.state_dict().items()
    }
    net.load_state_dict(mean)
    return net


def train(
    net: EncoderWithHead,
    recipe: Recipe,
    stage: Stage,
    number: int,
    reader: ShardReader,
    real: RealDraws | None,
    checkpoint: Path,
    shards_at: Callable[[float], int],
) -> EncoderWithHead:
    """The averaged net after one stage. ``checkpoint`` is rewritten every 50 steps, and a stage that was stopped goes
    on from there.

    Parameters
    ----------
    number : of the stage; seeds its draws.
    shards_at : the shards that may be used after a share 0 to 1 of the steps.
    """
    net = net.to(memory_format=torch.channels_last_3d).train().requires_grad_(True)
    net.encoder.conv1.requires_grad_(False)  # edges and blobs are known; a fifth of the time
    cycle = Cycle(
        stage.steps,
        stage.learning_rate,
        recipe.weight_decay,
        recipe.averaging,
        rise=0.1,
        longest=5.0,
        matrices_only=True,
    )
    decides = {**dataclasses.asdict(recipe), "stage": dataclasses.asdict(stage), "number": number}
    descent = Descent(net, cycle, checkpoint, decides)
    losses, started = [], time.monotonic()
    for step in descent.steps():
        rng = np.random.default_rng((recipe.seed, number, step))
        generator = torch.Generator().manual_seed(int(rng.integers(2**62)))
        reader.grow(shards_at(step / stage.steps))
        volumes, labels, sureness = drawn(recipe, stage, reader, real, rng, generator)
        volumes = volumes.to(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(volumes)
        loss = expected_loss(logits.float(), labels, sureness, recipe.label_smoothing)
        losses.append(descent.follow(loss))
        if descent.pauses(50):
            seconds = (time.monotonic() - started) / len(losses)
            print(f"{checkpoint.stem} {step + 1}: loss {np.mean(losses[-50:]):.4f}, {seconds:.2f} s a step", flush=True)
            descent.keep()
    return descent.average.eval()


def drawn(
    recipe: Recipe,
    stage: Stage,
    reader: ShardReader,
    real: RealDraws | None,
    rng: np.random.Generator,
    generator: torch.Generator,
) -> tuple[Tensor, Tensor, Tensor]:
    """One batch: normalized volumes (B, 1, X, Y, Z), numbers of labels (B,) and their sureness (B,)."""
    count = round(recipe.batch_size * stage.real_share) if real else 0
    volumes, labels, sureness = reader.draw(recipe.batch_size - count, stage.shares, rng)
    volumes = augment(decode(volumes), rng, generator)
    if real:
        scans, names = real.draw(count, rng, generator)
        volumes, labels = torch.cat([volumes, scans]), torch.cat([labels, names])
        sureness = torch.cat([sureness, torch.ones(count)])
    return volumes, labels, sureness


def expected_loss(logits: Tensor, labels: Tensor, sureness: Tensor, smoothing: float) -> Tensor:
    """Cross-entropy against the label by ``sureness``, the rest spread over all; against all alike where unnamed."""
    named = labels < len(LABELS)
    share = (sureness * (1 - smoothing) * named)[:, None]
    target = torch.nn.functional.one_hot(labels.clamp(max=len(LABELS) - 1), len(LABELS)) * share
    target = target + (1 - share) / len(LABELS)
    return -(target * logits.log_softmax(1)).sum(1).mean()
