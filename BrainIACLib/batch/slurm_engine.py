"""A SLURM array through submitit: each task takes its share, then what is left of the others'.

Tasks meet in the derivatives alone (claims and journals on the file system they share), so this process may end, and
another one collect what they did. A task answers its cases in a child process, as on a computer of one's own.
"""

from __future__ import annotations

import itertools
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from BrainIACLib.batch.ledger import AGAIN, ROOM, Ledger
from BrainIACLib.batch.local_engine import LocalPool
from BrainIACLib.batch.work import KNOWN, Outcome, Work
from BrainIACLib.errors import BrainIACError

SECONDS_BETWEEN_LOOKS = 2.0
MOST_ROUNDS = 3  # of an array whose tasks ended before their time
DEFAULTS = {"jobs": "10", "cpus_per_task": "1", "mem_gb": "4", "time": "600"}
HELP = "name=value, separated by commas; jobs, time (minutes), mem_gb, cpus_per_task, cluster, others as SLURM has them"


def parameters_of(text: str) -> dict[str, str]:
    """ "partition=cpu,jobs=50" -> its parts with the defaults. Raises BrainIACError for anything else."""
    found = dict(DEFAULTS)
    for part in filter(None, text.split(",")):
        name, equals, value = part.partition("=")
        if not equals or not name.strip() or not value.strip():
            raise BrainIACError(f"The SLURM parameters '{text}' cannot be read at '{part}'.", f"--slurm {HELP}")
        found[name.strip()] = value.strip()
    for name in DEFAULTS:
        if not found[name].isdecimal() or int(found[name]) < 1:
            raise BrainIACError(
                f"The SLURM parameter {name} must be a whole number of at least 1, not '{found[name]}'."
            )
    return found


def run_on_slurm(
    work: Work,
    run: str,
    numbers: Sequence[int],
    told: Callable[[Outcome], None],
    text: str,
    process: Callable[..., Any] | None = None,
) -> None:
    """Submit an array and wait for it; ``told`` of each outcome as the journals say it.

    Raises
    ------
    BrainIACError : submitit is not installed, SLURM takes no array, or tasks end again and again before their time.
    """
    try:
        import submitit
    except ImportError:
        raise BrainIACError("A SLURM array needs submitit: pip install submitit.") from None
    wanted = parameters_of(text)
    tasks = min(int(wanted.pop("jobs")), max(1, len(numbers)))
    cluster = wanted.pop("cluster", "slurm")
    shared = {"cpus_per_task": int(wanted.pop("cpus_per_task")), "mem_gb": int(wanted.pop("mem_gb"))}
    shared["timeout_min"] = int(wanted.pop("time"))
    by_id, asked = {work.case(number).id: number for number in numbers}, work.table["asked"].to_numpy()
    watched = Ledger(work.out, read=False)
    for _ in watched.new_rows():  # of before
        pass
    for _ in range(MOST_ROUNDS):
        try:
            executor = submitit.AutoExecutor(folder=work.out / ROOM / "slurm", cluster=cluster)
            executor.update_parameters(**shared, **{f"slurm_{name}": value for name, value in wanted.items()})
            arguments = (str(work.out), run, tasks, shared["cpus_per_task"], process)
            with executor.batch():
                jobs = [executor.submit(take_part, part, *arguments) for part in range(tasks)]
        except (RuntimeError, NameError, OSError) as error:
            said = str(error).splitlines()[0]
            raise BrainIACError(f"SLURM took no array ({said}); check the parameters '{text}'.") from None
        while True:
            over = all(job.done() for job in jobs)
            for row in watched.new_rows():
                number = by_id.get(row["id"])  # another run may have asked something else of the case
                if number is not None and row["asked"] == asked[number] and row["status"] != AGAIN:
                    told(Outcome(by_id.pop(row["id"]), row["status"], str(row["facts"].get("failure", ""))))
            if over:
                break
            time.sleep(SECONDS_BETWEEN_LOOKS)
        if not _left(work, sorted(by_id.values())):
            for number in by_id.values():  # went into the index before it was seen here; failures.csv says why
                told(Outcome(number, KNOWN))
            return
    raise BrainIACError(
        f"The tasks of the array ended {MOST_ROUNDS} times before all was done (time, memory?); what they did is kept. "
        f"Look into '{work.out / ROOM / 'slurm'}', and run the command again with more."
    )


def _left(work: Work, numbers: list[int]) -> bool:
    """Whether some of the cases, of which no outcome was seen, have none as their scans are now."""
    work.ledger.refresh()
    return any(True for _ in work.changed(np.array(numbers, np.int64)))


def take_part(part: int, out: str, run: str, parts: int, jobs: int, process: Callable[..., Any] | None = None) -> int:
    """One task of the array: its share, then what others have left; how many cases it answered.

    Shares are told by the numbers of the cases alone, so that they are apart whenever a task begins.
    """
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    work, answered = Work(Path(out), run), 0

    def told(outcome: Outcome) -> None:
        nonlocal answered
        answered += outcome.status == "done"

    fresh = work.unrecorded()
    own, recorded = fresh[fresh % parts == part], work.others(fresh)
    share = itertools.chain(own.tolist(), work.changed(recorded[recorded % parts == part]))
    LocalPool(work, run, jobs, process).go(share, told)
    work.ledger.refresh()
    LocalPool(work, run, jobs, process).go(work.unrecorded().tolist(), told)
    work.ledger.close()
    return answered
