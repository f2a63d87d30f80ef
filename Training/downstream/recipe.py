"""How a net is trained: named recipes in ``Training/configs/finetune``, one JSON file each (PROTOCOL P-16, U-04)."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from BrainIACLib.errors import TrainingError

FOLDER = Path(__file__).resolve().parent.parent / "configs" / "finetune"
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
SCHEDULERS = ("plateau", "one-cycle", "cosine-restarts", "none")


@dataclass(frozen=True)
class Recipe:
    """One task's training. Rates of the paper: P-16; what it leaves open is chosen here and in the files."""

    head: str = "mlp"  # P-17, U-02
    solver: str = "descent"  # "exact": a linear head on frozen embeddings, by ridge or logistic regression
    dropout: float = 0.2
    optimizer: str = "adam"
    learning_rate_pretrained: float = 1e-4
    learning_rate_scratch: float = 1e-3
    weight_decay: float = 0.0
    scheduler: str = "plateau"
    plateau_factor: float = 0.1
    plateau_patience: int = 10
    batch_size: int = 16
    epochs: int = 100
    steps_at_least: int = 0  # more epochs where an epoch is short; 0: the epochs alone count, as in the paper
    clip_norm: float | None = None
    mixed_precision: bool = False  # on CUDA only
    validation_share: float = 0.2
    hold_out_share: float = 0.2
    stop_after_epochs_without_progress: int | None = None  # None: all epochs, as in the paper

    def __post_init__(self):
        solvers = ("descent", "exact") if self.head == "linear" else ("descent",)
        choices = (
            (self.head, ("mlp", "linear")),
            (self.solver, solvers),
            (self.optimizer, OPTIMIZERS),
            (self.scheduler, SCHEDULERS),
        )
        for value, known in choices:
            if value not in known:
                raise TrainingError(f"A recipe cannot have '{value}'; choose one of {', '.join(known)}.")
        if self.epochs < 1 or self.batch_size < 2:
            raise TrainingError("A recipe needs at least one epoch and a batch size of two.")

    def epochs_and_patience(self, batches: int) -> tuple[int, int]:
        """Epochs for ``batches`` steps in each, and after how many without progress to stop."""
        epochs = max(self.epochs, math.ceil(self.steps_at_least / batches))
        patience = self.stop_after_epochs_without_progress
        return epochs, epochs if patience is None else math.ceil(patience * epochs / self.epochs)

    def learning_rate(self, pretrained: bool) -> float:
        """1e-4 for pretrained, 1e-3 for random weights (P-16)."""
        return self.learning_rate_pretrained if pretrained else self.learning_rate_scratch


def recipe_names() -> list[str]:
    """The recipes that can be named."""
    return sorted(path.stem for path in FOLDER.glob("*.json"))


def load_recipe(name: str, task: str) -> Recipe:
    """The recipe ``name`` (or the path of a JSON file) for ``task``: its part "all", then the task's own entries.

    Raises
    ------
    TrainingError : no such recipe, not JSON, or an unknown entry.
    """
    path = Path(name) if name.endswith(".json") else FOLDER / f"{name}.json"
    try:
        document = json.loads(path.read_text(encoding="utf-8"))
        entries = {**document["all"], **document.get(task, {})}
        return Recipe(**entries)
    except FileNotFoundError:
        raise TrainingError(f"There is no recipe '{name}'; known: {', '.join(recipe_names())}.") from None
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise TrainingError(f"The recipe '{path}' cannot be used ({error}); compare it with paper.json.") from None


class Optimisation:
    """Optimizer, schedule and gradient clipping of one training, stepped by ``step`` and ``end_epoch``."""

    def __init__(self, recipe: Recipe, parameters: Iterable[nn.Parameter], rate: float, steps_per_epoch: int):
        self._parameters = [parameter for parameter in parameters if parameter.requires_grad]
        kind = OPTIMIZERS[recipe.optimizer]
        self.optimizer = kind(self._parameters, lr=rate, weight_decay=recipe.weight_decay)
        self._recipe = recipe
        schedulers = torch.optim.lr_scheduler
        if recipe.scheduler == "plateau":
            self._scheduler = schedulers.ReduceLROnPlateau(
                self.optimizer, factor=recipe.plateau_factor, patience=recipe.plateau_patience
            )
        elif recipe.scheduler == "one-cycle":
            steps = steps_per_epoch * recipe.epochs_and_patience(steps_per_epoch)[0]
            self._scheduler = schedulers.OneCycleLR(self.optimizer, max_lr=rate, total_steps=steps)
        elif recipe.scheduler == "cosine-restarts":
            self._scheduler = schedulers.CosineAnnealingWarmRestarts(self.optimizer, T_0=50, T_mult=2)

    @property
    def rate(self) -> float:
        """The present learning rate."""
        return float(self.optimizer.param_groups[0]["lr"])

    def step(self, loss: torch.Tensor) -> None:
        """One update."""
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        if self._recipe.clip_norm is not None:
            nn.utils.clip_grad_norm_(self._parameters, self._recipe.clip_norm)
        self.optimizer.step()
        if self._recipe.scheduler == "one-cycle":
            self._scheduler.step()

    def end_epoch(self, validation_loss: float) -> None:
        """The plateau schedule alone reads the loss; the cosine depends on the epoch, never on the loss (D-02)."""
        if self._recipe.scheduler == "plateau":
            self._scheduler.step(validation_loss)
        elif self._recipe.scheduler == "cosine-restarts":
            self._scheduler.step()


def recipe_facts(name: str, recipe: Recipe, pretrained: bool) -> dict:
    """What a run's record says about its recipe."""
    return {"name": name, **dataclasses.asdict(recipe), "learning_rate": recipe.learning_rate(pretrained)}
