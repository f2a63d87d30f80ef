"""The workers of a Dask scheduler, on a cluster or in a cloud that has one; they share a file system with this process.

A few cases a worker are on their way at a time, so that the scheduler's memory does not grow with the cohort. A worker
that dies is restarted by its nanny, and its case tried again by others; one that kills them is recorded as failed.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable
from itertools import islice
from pathlib import Path
from typing import Any

from BrainIACLib.batch.work import BUSY, FAILED, Outcome, Work
from BrainIACLib.errors import BrainIACError, NotWritten, in_a_sentence

AHEAD = 3  # cases a thread of a worker that are on their way
SECONDS_TO_CONNECT = 30
KILLED = (
    "Dask workers died on this scan, perhaps because memory ran out; try it on a computer with more (--retry-failed)."
)

_works: dict[tuple[str, str], Work] = {}  # of a worker's process: its models stay warm
_one_at_a_time = threading.Lock()  # a predictor keeps one study


def run_on_dask(
    work: Work,
    run: str,
    numbers: Iterable[int],
    told: Callable[[Outcome], None],
    address: str,
    retry_failed: bool = False,
    process: Callable[..., Any] | None = None,
) -> None:
    """Answer the cases on the workers of the scheduler at ``address``.

    Raises
    ------
    BrainIACError : distributed is not installed, or the scheduler cannot be reached any more; what is done is kept.
    """
    try:
        import distributed
    except ImportError:
        raise BrainIACError('Dask needs distributed: pip install "distributed".') from None
    try:
        client = distributed.Client(address, timeout=SECONDS_TO_CONNECT, set_as_default=False)
    except (OSError, ValueError, TimeoutError) as error:
        raise BrainIACError(
            f"The Dask scheduler '{address}' cannot be reached ({in_short(error)}); check the address and that it runs."
        ) from None
    with client:
        arguments = (str(work.out), run, retry_failed, process)
        room = AHEAD * max(1, sum(client.nthreads().values()))
        suspects: list[int] = []
        _ask(client, numbers, arguments, room, told, suspects.append)
        for number in suspects:  # alone: a case that waited for a worker is blamed as well when that dies
            _ask(client, [number], arguments, 1, told, lambda number: told(work.give_up(number, KILLED)))


def _ask(
    client: Any,
    numbers: Iterable[int],
    arguments: tuple[Any, ...],
    room: int,
    told: Callable[[Outcome], None],
    killing: Callable[[int], Any],
) -> None:
    """Answer the cases, ``room`` at a time; ``killing`` is called with one at which workers died again and again."""
    import distributed

    todo, asked = iter(numbers), {}
    futures = distributed.as_completed(loop=client.loop, raise_errors=False)

    def ask(count: int) -> None:
        for number in islice(todo, count):
            future = client.submit(answer, number, *arguments, pure=False)
            asked[future] = number
            futures.add(future)

    ask(room)
    for future in futures:
        if client.status != "running":
            raise BrainIACError("The Dask scheduler was lost; what is done is kept. Run the command again.")
        number = asked.pop(future)
        if future.status == "finished":
            outcome = future.result()
            if outcome.status != BUSY:  # else another run has it
                told(outcome)
        elif future.status == "error":
            reason = future.exception()
            if isinstance(reason, NotWritten):
                raise NotWritten(f"{reason} What is done is kept; run the command again to go on.")
            if type(reason).__name__ in ("KilledWorker", "MemoryError"):
                killing(number)
            else:
                told(Outcome(number, FAILED, in_a_sentence(reason)))
        else:  # the worker that held the outcome died: another one looks, and finds the case done
            asked[future] = number
            futures.add(future)
            continue
        ask(1)


def answer(number: int, out: str, run: str, retry_failed: bool, process: Callable[..., Any] | None = None) -> Outcome:
    """In a worker."""
    with _one_at_a_time:
        if (out, run) not in _works:
            _works[out, run] = Work(Path(out), run, process)
        return _works[out, run].one(number, retry_failed)


def in_short(error: Exception) -> str:
    """The first line of what a library says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
