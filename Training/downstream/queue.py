"""A grid as a resumable queue: any number of processes, on any number of machines that share the folder, work it off.

A cell is finished once its ``metrics.json`` is there. Each worker takes the next unfinished cell whose lock is free.
The system frees the lock of a process that dies, so a restart repeats what was not finished, and nothing else.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from datetime import datetime, timezone
from pathlib import Path

from filelock import FileLock, Timeout

from BrainIACLib.errors import BrainIACError, Cancelled
from Training.downstream.cell import run_cell
from Training.downstream.plan import Workbench, read_plan
from Training.runs.cell import Cell
from Training.runs.layout import finished, write_status

LOCKS = ".locks"
REPOSITORY = Path(__file__).resolve().parent.parent.parent


def is_finished(runs: Path, cell: Cell) -> bool:
    """Whether the cell's last file is there."""
    return finished(Path(runs) / cell.name)


def work_through(
    runs: Path,
    cells: Sequence[Cell],
    *,
    report: Callable[[str], None] = print,
    cancelled: Callable[[], bool] | None = None,
) -> list[Cell]:
    """Work on every cell that is neither finished nor taken by another process; the cells that failed.

    Whatever goes wrong in a cell, a want of memory too, is kept in its ``status.json``, and the next cell is tried.
    Raises Cancelled when asked to stop.
    """
    runs = Path(runs)
    bench = Workbench(read_plan(runs), runs)
    (runs / LOCKS).mkdir(exist_ok=True)
    failed = []
    for number, cell in enumerate(cells, start=1):
        lock = FileLock(runs / LOCKS / f"{cell.name}.lock", timeout=0)
        try:
            with lock:
                if is_finished(runs, cell):
                    continue
                report(f"[{number}/{len(cells)}] {cell.name}")
                run_cell(bench, cell, cancelled)
        except Timeout:
            continue
        except Cancelled:
            raise
        except Exception as error:
            failed.append(cell)
            message = str(error) if isinstance(error, BrainIACError) else f"{type(error).__name__}: {error}"
            report(f"{cell.name} failed: {message}")
            _keep_failure(runs, cell, message)
    return failed


def work_in_processes(runs: Path, cells: Sequence[Cell], processes: int) -> list[Cell]:
    """The same by ``processes`` child processes; the cells that are not finished when all have ended.

    A child that is killed costs the cell it was on; the others go on with the rest.
    """
    command = [sys.executable, "-m", "Training.downstream.queue", str(runs), *(cell.name for cell in cells)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(REPOSITORY), os.environ.get("PYTHONPATH", "")])}
    environment.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // processes)))
    children = [subprocess.Popen(command, env=environment) for _ in range(processes)]
    try:
        for child in children:
            child.wait()
    finally:
        for child in children:
            if child.poll() is None:
                child.terminate()
                child.wait()
    return [cell for cell in cells if not is_finished(runs, cell)]


def _keep_failure(runs: Path, cell: Cell, message: str) -> None:
    folder = runs / cell.name
    folder.mkdir(parents=True, exist_ok=True)
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    write_status(folder, "failed", epoch=0, epochs=0, message=message, updated=now)


def main(arguments: list[str]) -> int:
    """One worker: the folder of runs, then the names of the cells."""
    runs, *names = arguments
    try:
        return 1 if work_through(Path(runs), [Cell.parse(name) for name in names]) else 0
    except BrainIACError as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:  # Ctrl-C reaches parent and children alike; the parent says so once
        return 130


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
