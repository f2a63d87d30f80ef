"""SimCLR as a LightningModule (P-09 to P-12; Chen et al. 2020)."""

from __future__ import annotations

import math

import pytorch_lightning as pl
import torch
from torch import Tensor

from Training.ssl.batches import StepBatches
from Training.ssl.config import Pretraining
from Training.ssl.loss import nt_xent
from Training.ssl.model import build
from Training.ssl.views import draw_view

LAST = ("loss", "embeddings", "projections")


class SimCLR(pl.LightningModule):
    """Keys of the state dict: ``encoder.*`` (those of the library's encoder) and ``projector.*``.

    Parameters
    ----------
    batches : every step of this process. Lightning sees the run as one epoch of all its steps: the epochs of the data
        are the batches' own affair, and a resumption in the middle is the only kind there is.
    """

    def __init__(self, config: Pretraining, size: tuple[int, int, int], batches: StepBatches):
        super().__init__()
        self.config, self._batches = config, batches
        self.encoder, self.projector = build(config.network, size, config.seed)
        if config.hardware.compile:
            self.encoder.compile()
        self.last: dict[str, Tensor] = {}  # of the latest step, for the monitors

    def train_dataloader(self) -> StepBatches:
        return self._batches

    def training_step(self, batch: tuple[Tensor, int], _index: int) -> Tensor:
        volumes, step = batch
        with torch.autocast(self.device.type, enabled=False):  # views are made in float32
            views = torch.cat(self.views(volumes, step))
        embeddings = self.encoder(views.contiguous(memory_format=torch.channels_last_3d))  # (2B, embedding_size)
        projections = self.projector(embeddings)  # (2B, projector_size)
        loss = nt_xent(*projections.chunk(2), self.config.optimisation.temperature)
        self.last = {name: value.detach() for name, value in zip(LAST, (loss, embeddings, projections), strict=True)}
        return loss

    def views(self, volumes: Tensor, step: int) -> tuple[Tensor, Tensor]:
        """Two views, float32 (B, 1, X, Y, Z), of this process' part of the joined batch of uint8 volumes.

        ``volumes`` is (B, 1, X, Y, Z), or (2B, 1, X, Y, Z) where the second half is of the same anatomy as the first.
        """
        scaled = volumes.float().div_(255)
        pair = scaled.chunk(2) if self.config.views.other_contrast_probability else (scaled, scaled)
        own = len(pair[0])
        count, start = own * self.trainer.world_size, own * self.trainer.global_rank
        first, second = (
            draw_view(count, self.config.views, self.config.seed, step, number).cut(start, start + own).apply(volume)
            for number, volume in enumerate(pair)
        )
        return first, second

    def configure_optimizers(self) -> dict:
        settings = self.config.optimisation
        optimiser = torch.optim.AdamW(self.parameters(), lr=settings.learning_rate, weight_decay=settings.weight_decay)
        steps = math.ceil(len(self._batches) / settings.accumulate)
        warmup = settings.warmup_epochs * self._batches.steps_per_epoch / settings.accumulate
        schedule = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: rate_factor(step, steps, warmup))
        return {"optimizer": optimiser, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def rate_factor(step: int, steps: int, warmup: float) -> float:
    """Factor on the learning rate at an optimizer step: linear up over ``warmup`` steps, then half a cosine to zero."""
    if step < warmup:
        return (step + 1) / (warmup + 1)
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
