"""What happens around the steps: logging, the monitors, checkpoints, export, and stopping when asked to."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch import Tensor

from BrainIACLib.errors import NotWritten, TrainingError
from BrainIACLib.publishing import replacing
from Training.data.cache import Cache
from Training.data.fingerprints import fingerprints_of
from Training.ssl import collapse
from Training.ssl.config import Pretraining, as_plain
from Training.ssl.export import export_encoder, refuse_broken_weights
from Training.ssl.log import CsvLog, Stopwatch, duration, say
from Training.ssl.monitors import Labelled, embed, scores

CHECKPOINT = "last.ckpt"
STOPPING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGUSR1] if hasattr(signal, "SIGUSR1") else []))


class RunCallback(pl.Callback):
    """All of it in one place, since the order matters: look, log, watch, save, stop.

    Parameters
    ----------
    out : folder of the run: ``log.csv``, ``last.ckpt`` for resumption, model folders ``best`` and ``last``.
    watched : labeled volumes, or None where there are none.
    """

    def __init__(self, config: Pretraining, cache: Cache, rows: list[int], watched: Labelled | None, out: Path):
        self._config, self._cache, self._rows, self._watched, self._out = config, cache, rows, watched, out
        self._fingerprints = fingerprints_of(cache, rows)
        self._log = CsvLog(out / "log.csv")
        self._watch = Stopwatch()
        self._best: float | None = None
        self._signal = 0
        self._handlers: dict[int, object] = {}

    def state_dict(self) -> dict:
        return {"best": self._best}

    def load_state_dict(self, state: dict) -> None:
        self._best = state["best"]

    def on_train_start(self, trainer: pl.Trainer, module: pl.LightningModule) -> None:
        if trainer.is_global_zero:
            self._log.keep_until(self._done(trainer, module))
        for number in STOPPING:  # a signal is noted, and acted on when the step is over
            self._handlers[number] = signal.signal(number, lambda received, _frame: setattr(self, "_signal", received))
        self._watch = Stopwatch()

    def teardown(self, trainer: pl.Trainer, module: pl.LightningModule, stage: str) -> None:
        while self._handlers:
            signal.signal(*self._handlers.popitem())

    def on_train_batch_start(self, trainer, module, batch, batch_idx) -> None:
        self._watch.waited()

    def on_train_batch_end(self, trainer, module, outputs, batch: tuple[Tensor, int], batch_idx) -> None:
        settings = self._config.monitoring
        done = int(batch[1]) + 1  # steps, counted over resumptions
        self._watch.worked(self._config.optimisation.batch_size * trainer.world_size)
        last = done == len(module.train_dataloader())
        full = done % self._config.optimisation.accumulate == 0
        stopping = self._asked_to_stop(trainer)
        saving = last or (full and (stopping or done % settings.checkpoint_every == 0))
        watching = last or done % settings.every == 0
        if saving or watching or done % settings.log_every == 0:
            row = self._look(trainer, module, done)
            if watching:
                row |= self._probe(trainer, module, row, done)
            if trainer.is_global_zero:
                self._log.add(**row)
        if saving:
            self.save(trainer, module, done)
        if stopping and saving and not last:
            self._stop(trainer, done)
        self._watch.ready()

    def save(self, trainer: pl.Trainer, module: pl.LightningModule, done: int) -> None:
        """Checkpoint and model folder. A full disk, or weights that are no longer finite, leave those before."""
        refuse_broken_weights(module, done)
        self._export(trainer, module, "last", done)  # first: who finds the last step saved, has its model too
        checkpoint = self._out / CHECKPOINT
        whole = replacing(checkpoint) if trainer.is_global_zero else contextlib.nullcontext(checkpoint)
        try:
            with whole as path:  # the other processes only take part
                trainer.save_checkpoint(path, weights_only=False)  # what to save: the optimizer too
        except NotWritten as error:
            cause = error.__context__
            if isinstance(cause, RuntimeError):  # of torch: a graphics processor or the serializer, perhaps no disk
                first = (str(cause).splitlines() or [type(cause).__name__])[0]
                told = f"'{checkpoint}' was not written ({first}); see whether the disk is full."
            else:
                told = str(error)
            raise TrainingError(
                f"The checkpoint of step {done} cannot be saved: {told} The one before is kept; run the command again "
                "to go on from it."
            ) from None

    def on_save_checkpoint(self, trainer, module, checkpoint: dict) -> None:
        checkpoint["pretraining"] = {
            "config": as_plain(self._config),
            "processes": trainer.world_size,
            "data": self._cache.fingerprint,
            "rows": len(self._rows),
            "step": self._done(trainer, module),
        }

    def _done(self, trainer: pl.Trainer, module: pl.LightningModule) -> int:
        return min(trainer.global_step * self._config.optimisation.accumulate, len(module.train_dataloader()))

    def _look(self, trainer, module, done: int) -> dict:
        """Loss, speed and collapse; raises where the loss is not finite. Prints a line."""
        loss = module.last["loss"]
        if not torch.isfinite(loss):
            raise TrainingError(
                f"The loss is not finite at step {done}; the last checkpoint is kept. Lower "
                "optimisation.learning_rate, or look for damaged volumes."
            )
        speed, waiting, left = self._watch.read(len(module.train_dataloader()) - done)
        first, second = module.last["projections"].chunk(2)
        row = {
            "step": done,
            "epoch": done / module.train_dataloader().steps_per_epoch,
            "loss": float(loss),
            "learning_rate": trainer.optimizers[0].param_groups[0]["lr"],
            "volumes_per_second": speed,
            "waiting_share": waiting,
            "effective_rank": collapse.effective_rank(module.last["embeddings"].float().cpu()),
            "alignment": collapse.alignment(first, second),
            "uniformity": collapse.uniformity(module.last["projections"]),
        }
        for name, number in row.items():
            if name != "step" and trainer.logger is not None:
                module.log(name, float(number), rank_zero_only=True)
        if trainer.is_global_zero:
            say(
                f"step {done}, epoch {row['epoch']:.2f}, loss {row['loss']:.3f}, {speed:.1f} volumes/s, "
                f"{100 * waiting:.0f} % waiting for data, {duration(left)} left"
            )
            if done > 1 and (text := collapse.warning(row["effective_rank"], row["uniformity"])):
                say(f"warning: {text}")
        return row

    def _probe(self, trainer, module, row: dict, done: int) -> dict:
        """k-NN and linear probe on the first process, while the others wait; a new best is exported."""
        if self._watched is None:
            return {}
        found = {}
        if trainer.is_global_zero:
            fit, test = (
                embed(module.encoder, self._cache, rows, module.device).numpy()
                for rows in (self._watched.fit_rows, self._watched.test_rows)
            )
            knn, probe = scores(self._watched, fit, test)
            say(f"step {done}: {self._watched.label}, {self._watched.score_name}: k-NN {knn:.3f}, probe {probe:.3f}")
            found = {"knn": knn, "probe": probe}
            better = probe if self._watched.classes else -probe
            if self._best is None or better > self._best:
                self._best = better
                self._export(trainer, module, "best", done)
        trainer.strategy.barrier()
        return found

    def _export(self, trainer, module, name: str, done: int) -> None:
        if trainer.is_global_zero:
            export_encoder(
                module.encoder, self._out / name, self._config, self._cache, done, self._rows, self._fingerprints
            )

    def _asked_to_stop(self, trainer: pl.Trainer) -> bool:
        if trainer.world_size == 1:
            return bool(self._signal)
        return trainer.strategy.reduce_boolean_decision(bool(self._signal), all=False)

    def _stop(self, trainer: pl.Trainer, done: int) -> None:
        """Everything is saved. Under SLURM, ask for the job to be put back into the queue."""
        job = os.environ.get("SLURM_JOB_ID")
        if trainer.is_global_zero:
            if job and self._signal == getattr(signal, "SIGUSR1", None):
                subprocess.run(["scontrol", "requeue", job], check=False)
            say(f"Stopped at step {done}; run the same command again to go on.")
        raise Stopped


class Stopped(Exception):
    """The run was asked to stop, has saved everything, and ends."""
