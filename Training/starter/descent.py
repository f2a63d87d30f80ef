"""What the recipes share: AdamW, one cycle of the learning rate, averaged weights, and a file from which to go on."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import torch
from torch import Tensor

from BrainIACLib.errors import TrainingError
from BrainIACLib.publishing import replacing

Net = TypeVar("Net", bound=torch.nn.Module)
KEPT = ("net", "average", "optimiser", "schedule")


@dataclass(frozen=True)
class Cycle:
    """One rise and fall of the learning rate (Smith and Topin 2018).

    Attributes
    ----------
    rise : share of the steps until ``learning_rate`` is reached.
    averaging : how much the averaged weights keep at each step.
    longest : norm of a gradient, which is shortened to it.
    matrices_only : whether weights decay in matrices and kernels alone, not in biases and norms.
    """

    steps: int
    learning_rate: float
    weight_decay: float
    averaging: float
    rise: float
    longest: float = 1.0
    matrices_only: bool = False


class Descent(Generic[Net]):
    """A net on its way, and ``average``: what the recipes ship, not the last step's weights (Polyak and Juditsky 1992,
    with a fading memory).

    Parameters
    ----------
    net : trained in place.
    checkpoint : the file that ``keep`` writes; where it is there already, the descent goes on from it.
    recipe : everything else that decides the weights; a checkpoint of another recipe, or from other first weights, is
        refused.
    draws : the generators that go on from step to step; their states are kept too.

    Raises
    ------
    TrainingError : the checkpoint is of another training.
    """

    def __init__(
        self,
        net: Net,
        cycle: Cycle,
        checkpoint: Path | None = None,
        recipe: dict[str, Any] | None = None,
        draws: Sequence[np.random.Generator | torch.Generator] = (),
    ):
        self._training = {"recipe": recipe, "first weights": _digest(net)}
        self._draws = draws
        self.net, self._cycle, self._checkpoint = net, cycle, checkpoint
        self.average = copy.deepcopy(net).requires_grad_(False)
        learned = [p for p in net.parameters() if p.requires_grad]
        spared = [p for p in learned if p.ndim <= 1] if cycle.matrices_only else []
        decayed = [p for p in learned if p.ndim > 1] if cycle.matrices_only else learned
        self.optimiser = torch.optim.AdamW(
            [
                {"params": decayed, "weight_decay": cycle.weight_decay},
                *([{"params": spared, "weight_decay": 0.0}] if spared else []),
            ],
            lr=cycle.learning_rate,
        )
        self.schedule = torch.optim.lr_scheduler.OneCycleLR(
            self.optimiser, cycle.learning_rate, total_steps=cycle.steps, pct_start=cycle.rise
        )
        self.done = 0
        if checkpoint is not None and checkpoint.is_file():
            self._go_on(torch.load(checkpoint, weights_only=True))

    def _go_on(self, state: dict[str, Any]) -> None:
        if state["training"] != self._training:
            raise TrainingError(
                f"'{self._checkpoint}' is of a training with another recipe or from other weights. Move it away, or "
                "work in another folder."
            )
        self.done = int(state["step"])
        for name in KEPT:
            getattr(self, name).load_state_dict(state[name])
        torch.set_rng_state(state["random"])  # of the dropout
        for draw, kept in zip(self._draws, state["draws"], strict=True):
            if isinstance(draw, torch.Generator):
                draw.set_state(kept)
            else:
                draw.bit_generator.state = kept

    def steps(self) -> Iterator[int]:
        """The numbers of the steps that are left."""
        return iter(range(self.done, self._cycle.steps))

    def follow(self, loss: Tensor) -> float:
        """One step down the gradient of ``loss``, whose value is returned; the average follows.

        RuntimeError where the gradient is not finite: weights, average and checkpoint stay as they were.
        """
        self.optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.net.parameters(), self._cycle.longest, error_if_nonfinite=True)
        self.optimiser.step()
        self.schedule.step()
        move_average(self.average, self.net, self.done, self._cycle.averaging)
        self.done += 1
        return float(loss.detach())

    def pauses(self, every: int) -> bool:
        """Whether this is the moment to keep and to report: after ``every`` steps, and at the end."""
        return self.done % every == 0 or self.done == self._cycle.steps

    def keep(self) -> None:
        """Write the checkpoint, whole or not at all."""
        assert self._checkpoint is not None
        states = [d.get_state() if isinstance(d, torch.Generator) else d.bit_generator.state for d in self._draws]
        facts = {"step": self.done, "training": self._training, "random": torch.get_rng_state(), "draws": states}
        with replacing(self._checkpoint, ".pt") as partial:
            torch.save({**facts, **{name: getattr(self, name).state_dict() for name in KEPT}}, partial)


def _digest(net: torch.nn.Module) -> str:
    """Of the weights."""
    digest = hashlib.sha256()
    for name, value in net.state_dict().items():
        digest.update(name.encode())
        digest.update(value.contiguous().numpy().tobytes())
    return digest.hexdigest()


@torch.no_grad()
def move_average(average: torch.nn.Module, net: torch.nn.Module, step: int, memory: float) -> None:
    """Move ``average`` toward ``net`` after ``step`` (from 0); early steps are forgotten faster than ``memory`` says.

    Whole numbers (counters of batch norms) are copied.
    """
    keep = min(memory, (step + 1) / (step + 10))
    for mean, value in zip(average.state_dict().values(), net.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(value, 1 - keep)
        else:
            mean.copy_(value)
