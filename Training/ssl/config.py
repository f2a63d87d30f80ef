"""The settings of a pretraining run, as typed dataclasses; a YAML file and the command line fill them (P-10 to P-12).

The defaults are those of ``configs/pretrain/paper.yaml``, where each choice that the paper leaves open is explained.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from BrainIACLib.errors import TrainingError
from Training.ssl.views import ViewRanges


@dataclass(frozen=True)
class Network:
    """``architecture``, ``width`` and ``embedding`` as in ``EncoderContract``; the projector is dropped afterwards."""

    architecture: str = "resnet50"
    width: float = 1.0
    embedding: str = "gap"
    projector_hidden: int = 2048
    projector_size: int = 128


@dataclass(frozen=True)
class Optimisation:
    """AdamW with linear warm-up and a cosine down to zero. ``batch_size`` is per process and step."""

    epochs: int = 200
    batch_size: int = 32
    accumulate: int = 1
    learning_rate: float = 1e-4
    weight_decay: float = 1e-5
    warmup_epochs: float = 10
    temperature: float = 0.5
    gradient_clip: float = 1.0


@dataclass(frozen=True)
class Hardware:
    """How the work is done; changes speed and rounding, not what is learned. A run may be resumed on other hardware
    as long as the joined batch stays the same.

    ``precision`` is Lightning's, or "auto": bfloat16 where matrices of it are multiplied in hardware, else float32.
    """

    accelerator: str = "auto"
    devices: int = 1
    nodes: int = 1
    precision: str = "bf16-mixed"
    compile: bool = False


@dataclass(frozen=True)
class Monitoring:
    """``label`` is a column of the cache: text for classes, numbers for regression. ``every`` counts steps."""

    log_every: int = 20
    label: str = "sequence"
    every: int = 1000
    volumes: int = 512
    checkpoint_every: int = 250
    tensorboard: bool = False


@dataclass(frozen=True)
class Pretraining:
    """A whole run."""

    name: str = "brainiac-simclr"
    seed: int = 0
    network: Network = field(default_factory=Network)
    optimisation: Optimisation = field(default_factory=Optimisation)
    views: ViewRanges = field(default_factory=ViewRanges)
    monitoring: Monitoring = field(default_factory=Monitoring)
    hardware: Hardware = field(default_factory=Hardware)


_PARTS = ("network", "optimisation", "views", "monitoring", "hardware")
FOLDER = Path(__file__).resolve().parent.parent / "configs" / "pretrain"


def read_config(name: str) -> Pretraining:
    """The settings ``name`` of ``Training/configs/pretrain``, as the command line reads them."""
    content = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    parts = {item.name: item.default_factory for item in dataclasses.fields(Pretraining) if item.name in _PARTS}

    def value(given: object) -> object:
        return tuple(given) if isinstance(given, list) else given

    return Pretraining(
        **{
            key: parts[key](**{name: value(one) for name, one in given.items()}) if key in parts else given
            for key, given in content.items()
        }
    )


def refuse_impossible_settings(config: Pretraining) -> None:
    """Raise TrainingError, naming the first one, if a number cannot mean anything (C-01: such as a negative gamma)."""
    optimisation, monitoring, views = vars(config.optimisation), vars(config.monitoring), vars(config.views)
    whole = ("epochs", "batch_size", "accumulate")
    checks = [("seed", config.seed, config.seed >= 0, "0 or more")]
    checks += [(f"optimisation.{name}", optimisation[name], optimisation[name] >= 1, "1 or more") for name in whole]
    for name in ("learning_rate", "temperature"):
        checks.append((f"optimisation.{name}", optimisation[name], optimisation[name] > 0, "above 0"))
    for name in ("weight_decay", "warmup_epochs", "gradient_clip"):
        checks.append((f"optimisation.{name}", optimisation[name], optimisation[name] >= 0, "0 or more"))
    for name in ("log_every", "every", "checkpoint_every"):
        checks.append((f"monitoring.{name}", monitoring[name], monitoring[name] >= 1, "1 or more"))
    for name, value in views.items():
        if name.endswith("_probability"):
            checks.append((f"views.{name}", value, 0 <= value <= 1, "within 0 to 1"))
        elif isinstance(value, tuple):
            above = name in ("zoom", "crop", "gamma", "gain")
            rising = value[0] <= value[1] and (value[0] > 0 if above else value[0] >= 0)
            checks.append((f"views.{name}", value, rising, f"two rising numbers {'above' if above else 'from'} 0"))
    checks.append(("views.crop", config.views.crop, config.views.crop[1] <= 1, "at most 1"))
    for name, value, possible, told in checks:
        if not possible:
            raise TrainingError(f"{name} is {value}, but must be {told}.")


# What may differ between a run and its resumption: it changes neither the data seen nor the steps taken.
FREE_TO_CHANGE = ("hardware", "monitoring", "name")


def refuse_other_settings(stored: dict, config: Pretraining, processes: int, stored_processes: int) -> None:
    """Raise TrainingError, naming the settings, if a checkpoint was made with others than those now asked for."""
    now = as_plain(config)
    differing = [
        f"{part}{name and f'.{name}'} was {stored[part][name] if name else stored[part]} and is now {value}"
        for part, values in now.items()
        if part not in FREE_TO_CHANGE
        for name, value in (values.items() if isinstance(values, dict) else [("", values)])
        if (stored[part].get(name) if name else stored[part]) != value
    ]
    joined, before = (
        config.optimisation.batch_size * processes,
        stored["optimisation"]["batch_size"] * stored_processes,
    )
    if joined == before:  # the same batch, divided among another number of processes
        differing = [text for text in differing if not text.startswith("optimisation.batch_size")]
    elif processes != stored_processes:
        differing.append(f"the joined batch was {before} and is now {joined}")
    if differing:
        raise TrainingError(
            f"The checkpoint belongs to another run: {'; '.join(differing[:3])}. Use the settings it was made with, or "
            "another --out."
        )


def as_plain(config: Pretraining) -> dict:
    """Nested dictionaries of plain values, lists instead of tuples, as JSON, YAML and checkpoints hold them."""

    def plain(value: object) -> object:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        return list(value) if isinstance(value, tuple) else value

    return plain(dataclasses.asdict(config))
