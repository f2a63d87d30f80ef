"""``python -m Training pretrain``: SimCLR on a cache, on one GPU, many, or a CPU; the same command goes on with a run.

Many processes: ``torchrun --nproc-per-node 8 -m Training pretrain ...``, ``srun`` in a SLURM job
(``configs/pretrain/slurm.yaml``), or ``--hardware.devices 8``.
"""

from __future__ import annotations

import logging
import os
import sys
import warnings
from pathlib import Path

import pytorch_lightning as pl
import torch
import yaml
from jsonargparse import ArgumentError, ArgumentParser
from pytorch_lightning.plugins.environments import SLURMEnvironment

from BrainIACLib.errors import BrainIACError, TrainingError
from BrainIACLib.publishing import write_bytes
from Training.data.cache import Cache, make_folder
from Training.data.prepare import cache_of_manifest
from Training.data.splits import refuse_overlaps
from Training.ssl.batches import StepBatches, rows_to_train_on
from Training.ssl.callbacks import CHECKPOINT, RunCallback, Stopped
from Training.ssl.config import Hardware, Pretraining, as_plain, refuse_impossible_settings, refuse_other_settings
from Training.ssl.log import say
from Training.ssl.monitors import labelled_volumes
from Training.ssl.simclr import SimCLR


def pretrain(config: Pretraining, cache: Cache, out: Path) -> None:
    """Train, or go on with what lies in ``out``, to the end.

    Raises
    ------
    TrainingError : settings that do not fit the cache or the checkpoint, a loss that is not finite, a full disk.
    ManifestError : a person or image to pretrain on is also in another role (C-09).
    Stopped : a signal asked for it; everything is saved.
    """
    refuse_impossible_settings(config)
    make_folder(out)
    refuse_overlaps(cache.table, str(cache.folder))
    rows = rows_to_train_on(cache)
    trainer = make_trainer(config, out)
    checkpoint = out / CHECKPOINT if (out / CHECKPOINT).is_file() else None
    done = _fitting_step(checkpoint, config, cache, rows, trainer.world_size) if checkpoint else 0
    batches = StepBatches(
        cache,
        rows,
        batch_size=config.optimisation.batch_size,
        epochs=config.optimisation.epochs,
        seed=config.seed,
        rank=trainer.global_rank,
        processes=trainer.world_size,
        start=done,
        other_contrast=config.views.other_contrast_probability,
    )
    if done >= len(batches):
        say(f"'{out}' is finished: all {done} steps are done.")
        return
    watched = labelled_volumes(cache, config.monitoring.label, config.monitoring.volumes, config.seed)
    if watched is None:
        say(f"No k-NN and no linear probe: too few labeled volumes for '{config.monitoring.label}'.")
    trainer.callbacks.append(RunCallback(config, cache, rows, watched, out))
    if trainer.is_global_zero:
        write_bytes(yaml.safe_dump(as_plain(config), sort_keys=False).encode(), out / "config.yaml")
    module = SimCLR(config, cache.size, batches)
    trainer.fit(module, ckpt_path=checkpoint, weights_only=True)


def make_trainer(config: Pretraining, out: Path) -> pl.Trainer:
    """The Lightning engine for the hardware asked for; the run is one epoch of all its steps (see ``SimCLR``)."""
    hardware, settings = config.hardware, config.optimisation
    many = hardware.devices * hardware.nodes > 1
    on_gpus = hardware.accelerator in ("gpu", "cuda") or (hardware.accelerator == "auto" and torch.cuda.is_available())
    slurm = [SLURMEnvironment(auto_requeue=False)] if many and "SLURM_NTASKS" in os.environ else []
    return pl.Trainer(
        default_root_dir=out,
        accelerator=hardware.accelerator,
        devices=hardware.devices,
        num_nodes=hardware.nodes,
        strategy="ddp" if many else "auto",
        precision=precision_of(hardware, on_gpus),
        max_epochs=1,
        accumulate_grad_batches=settings.accumulate,
        gradient_clip_val=settings.gradient_clip or None,
        sync_batchnorm=many and on_gpus,  # torch has none for CPUs: there each process normalizes its own part
        use_distributed_sampler=False,
        logger=_tensorboard(out) if config.monitoring.tensorboard else False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        log_every_n_steps=1,
        plugins=slurm,  # requeueing is ours: Lightning's may save in the middle of a step
    )


def precision_of(hardware: Hardware, on_gpus: bool) -> str:
    """Lightning's name of the precision; "auto" takes bfloat16 on graphics processors and CPUs that multiply it."""
    if hardware.precision != "auto":
        return hardware.precision
    if on_gpus:
        multiplies = torch.cuda.is_bf16_supported(including_emulation=False)
    else:
        multiplies = getattr(torch.cpu, "get_capabilities", dict)().get("amx_bf16", False)  # an older torch cannot tell
    return "bf16-mixed" if multiplies else "32-true"


def _tensorboard(out: Path):
    from pytorch_lightning.loggers import TensorBoardLogger

    try:
        return TensorBoardLogger(out, name="tensorboard", version="")
    except ModuleNotFoundError:
        raise TrainingError(
            "monitoring.tensorboard needs the package tensorboard: pip install tensorboard, or set it to false."
        ) from None


def _fitting_step(checkpoint: Path, config: Pretraining, cache: Cache, rows: list[int], processes: int) -> int:
    """The step of a checkpoint that fits this run. Raises TrainingError if it does not fit, or cannot be read."""
    stored = read_checkpoint(checkpoint)
    refuse_other_settings(stored["config"], config, processes, stored["processes"])
    if stored["data"] != cache.fingerprint or stored["rows"] != len(rows):
        raise TrainingError(
            f"'{checkpoint}' was trained on other volumes than '{cache.folder}' holds; choose another --out."
        )
    return stored["step"]


def read_checkpoint(checkpoint: Path) -> dict:
    """What a checkpoint says of its run: ``config``, ``processes``, ``data``, ``rows``, ``step``.

    Raises
    ------
    TrainingError : it is damaged.
    """
    try:
        return torch.load(checkpoint, map_location="cpu", weights_only=True, mmap=True)["pretraining"]
    except Exception as error:  # whatever a damaged file makes torch raise
        raise TrainingError(
            f"'{checkpoint}' cannot be read ({str(error).splitlines()[0][:100]}); delete it to begin anew."
        ) from None


_GROUPS = {
    "Pretraining": "the run",
    "network": "network: the encoder that is kept, and the projector that is not",
    "optimisation": "optimization: AdamW with linear warm-up and a cosine down to zero; the batch is per process",
    "views": "views: how often, and how far, the two views of a volume are changed",
    "monitoring": "monitoring: how often it is logged and saved, and the label that tells what the embedding knows",
    "hardware": "hardware: changes speed and rounding, not what is learned",
}
"""What the help says of each group of settings."""


def make_parser() -> ArgumentParser:
    """Every setting of ``Pretraining`` is an option (``--optimisation.epochs 100``); a YAML file gives several."""
    parser = ArgumentParser(
        prog="python -m Training pretrain", description=__doc__.splitlines()[0], exit_on_error=False, allow_abbrev=False
    )
    parser.add_argument("--config", action="config", help="YAML file, such as Training/configs/pretrain/paper.yaml")
    parser.add_argument("--cache", type=Path, help="folder made by 'python -m Training prepare'")
    parser.add_argument("--manifest", type=Path, help="CSV of raw scans, prepared first as far as they are not")
    parser.add_argument("--out", type=Path, help="folder of the run; default runs/NAME")
    parser.add_class_arguments(Pretraining)
    for name, title in _GROUPS.items():
        parser.groups[name].title = title
    return parser


def main(argv: list[str]) -> int:
    """Pretrain from the command line."""
    try:
        parsed = make_parser().parse_args(argv)
        options = make_parser().instantiate(parsed)
    except (ArgumentError, TypeError) as error:
        print(f"pretrain: {' '.join(str(error).split())[:400]}", file=sys.stderr)
        return 2
    if options.cache is None and options.manifest is None:
        print("pretrain: Nothing to train on: give --cache FOLDER, or --manifest FILE.", file=sys.stderr)
        return 2
    names = Pretraining.__dataclass_fields__
    config = Pretraining(**{name: value for name, value in vars(options).items() if name in names})
    warnings.filterwarnings("ignore", module="pytorch_lightning")  # hints about loaders that are not ours
    logging.getLogger("pytorch_lightning").setLevel(logging.ERROR)
    try:
        folder = _cache_folder(options.cache, options.manifest)
        cache = Cache(folder, verify=_is_first_process())
        pretrain(config, cache, options.out or Path("runs") / config.name)
    except Stopped:
        return 130
    except BrainIACError as error:
        print(f"pretrain: {error}", file=sys.stderr)
        return 1
    return 0


def _is_first_process() -> bool:
    """As torchrun, SLURM or, for ``--hardware.devices``, Lightning number them."""
    return all(int(os.environ.get(name, 0)) == 0 for name in ("RANK", "SLURM_PROCID", "LOCAL_RANK"))


def _cache_folder(cache: Path | None, manifest: Path | None) -> Path:
    """The cache; where a manifest is given, made from it or brought up to date with it first."""
    cache = cache or manifest.with_name(f"{manifest.stem}-cache")
    if manifest is not None:
        alone = int(os.environ.get("WORLD_SIZE", os.environ.get("SLURM_NTASKS", 1))) == 1
        cache_of_manifest(manifest, cache, workers=max(1, (os.cpu_count() or 1) // 2), alone=alone)
    return cache
