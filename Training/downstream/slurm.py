"""The queue on a SLURM cluster: one job with one GPU a cell, through submitit (extra ``slurm``)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from BrainIACLib.errors import TrainingError
from Training.downstream.queue import is_finished, work_through
from Training.runs.cell import Cell


def submit(
    runs: Path,
    cells: Sequence[Cell],
    *,
    partition: str = "",
    hours: float = 24.0,
    cores: int = 8,
    memory_gb: int = 64,
    cluster: str = "slurm",
) -> list:
    """Submit every unfinished cell as a job of one array and return the jobs; a requeued job goes on like a restart.

    Parameters
    ----------
    partition : of the cluster; empty for its default.
    cluster : "slurm", or "local" and "debug" of submitit.

    Raises
    ------
    TrainingError : submitit is not installed.
    """
    try:
        import submitit
    except ImportError:
        raise TrainingError("SLURM needs submitit; install it with: pip install submitit") from None
    executor = submitit.AutoExecutor(Path(runs) / ".slurm", cluster=cluster)
    executor.update_parameters(
        name="brainiac",
        timeout_min=int(hours * 60),
        cpus_per_task=cores,
        mem_gb=memory_gb,
        gpus_per_node=1 if cluster == "slurm" else 0,
        **({"slurm_partition": partition} if partition else {}),
    )
    waiting = [cell for cell in cells if not is_finished(runs, cell)]
    with executor.batch():
        return [executor.submit(_one, str(Path(runs).resolve()), cell.name) for cell in waiting]


def _one(runs: str, name: str) -> int:
    """What a job does; the number of failed cells."""
    return len(work_through(Path(runs), [Cell.parse(name)]))
