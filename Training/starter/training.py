"""The optimization: a compact residual net on synthetic volumes, weights averaged, calibrated on held-out heads."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from BrainIACLib.models.heads import EncoderWithHead, LinearHead
from BrainIACLib.models.resnet import ResNet
from Training.starter.augmentation import augment
from Training.starter.descent import Cycle, Descent
from Training.starter.samples import LABELS, decode
from Training.starter.shards import ShardReader


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the weights, apart from the code and the label maps."""

    seed: int = 20261
    validation_seed: int = 99
    shards: int = 100  # of 16 heads, about 135 volumes each
    validation_shards: int = 5
    cycles: tuple[tuple[int, float], ...] = ((5500, 2e-3), (1500, 1e-3))  # steps, highest learning rate
    batch_size: int = 24
    weight_decay: float = 0.02
    label_smoothing: float = 0.03
    averaging: float = 0.995
    width: float = 0.25
    class_shares: tuple[float, ...] = (0.21, 0.17, 0.18, 0.21, 0.23)  # in the order of LABELS


def new_net(recipe: Recipe) -> EncoderWithHead:
    """The starter's encoder and head with random weights, drawn from the recipe's seed."""
    torch.manual_seed(recipe.seed)
    encoder = ResNet("resnet18", recipe.width)
    return EncoderWithHead(encoder, LinearHead(encoder.embedding_size, len(LABELS)))


def train(
    net: EncoderWithHead, recipe: Recipe, cycle: int, reader: ShardReader, checkpoint: Path, threads: int
) -> None:
    """One cycle of the learning rate; ``checkpoint`` is rewritten every 100 steps, and a cycle that was stopped goes on
    from there.

    Training and generation overlap: step s of the first cycle may use the first 5 % of the shards plus
    100 % s / (0.9 steps), later cycles use them all.
    """
    steps, learning_rate = recipe.cycles[cycle]
    torch.set_num_threads(threads)
    net = net.to(memory_format=torch.channels_last_3d).train().requires_grad_(True)
    course = Cycle(
        steps, learning_rate, recipe.weight_decay, recipe.averaging, rise=0.08, longest=5.0, matrices_only=True
    )
    rng = np.random.default_rng(recipe.seed + cycle)
    generator = torch.Generator().manual_seed(recipe.seed + cycle)
    decides = {**dataclasses.asdict(recipe), "cycle": cycle}
    descent = Descent(net, course, checkpoint, decides, (rng, generator))
    losses, started = [], time.monotonic()
    for step in descent.steps():
        reader.grow(min(recipe.shards, int(recipe.shards * (0.05 + cycle + step / (0.9 * steps))) + 1))
        volumes, labels, _ = reader.draw(recipe.batch_size, recipe.class_shares, rng)
        volumes = augment(decode(volumes), rng, generator).to(memory_format=torch.channels_last_3d)
        with torch.autocast("cpu", torch.bfloat16):
            logits = net(volumes)
        loss = F.cross_entropy(logits.float(), labels, label_smoothing=recipe.label_smoothing)
        losses.append(descent.follow(loss))
        if descent.pauses(100):
            seconds = time.monotonic() - started
            print(f"step {step + 1}: loss {np.mean(losses[-100:]):.4f}, {seconds:.0f} s", flush=True)
            descent.keep()


@torch.no_grad()
def logits_of(net: torch.nn.Module, volumes: Tensor, batch_size: int = 16) -> Tensor:
    """(N, classes) from encoded uint8 volumes (N, 1, X, Y, Z)."""
    return torch.cat([net(decode(part)) for part in volumes.split(batch_size)])


def choose_gate(logits: Tensor, labels: Tensor, temperature: float, accuracy: float = 0.97) -> float:
    """The lowest confidence (0.50 to 0.90) above which at least ``accuracy`` of the answers are right."""
    confidence, answer = (logits / temperature).softmax(1).max(1)
    for gate in np.arange(0.50, 0.901, 0.01):
        answered = confidence >= gate
        if (answer[answered] == labels[answered]).float().mean() >= accuracy:
            return round(float(gate), 2)
    return 0.90
