"""The workers of a Dask scheduler, on a cluster or in a cloud that has one; they share a file system with this process.

A few cases a worker are on their way at a time, so that the scheduler's memory does not grow with the cohort. A worker
that dies is restarted by its nanny, and its case tried again by others; one that kills them is recorded as failed. A
scheduler that comes back at its address is asked again for what it has forgotten.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import itertools
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

from BrainIACLib.batch.ledger import FAILED
from BrainIACLib.batch.work import BUSY, Outcome, Work, ends_the_run
from BrainIACLib.errors import BrainIACError, in_a_sentence

AHEAD = 3  # cases a thread of a worker that are on their way
SECONDS_TO_CONNECT = 30
SECONDS_UNTIL_BUSY_IS_ASKED_AGAIN = 2.0
KILLED = "Dask workers died on this scan, perhaps because memory ran out; try it on a computer with more."

_works: dict[tuple[str, str], Work] = {}  # of a worker's process: its models stay warm
_one_at_a_time = threading.Lock()  # a predictor keeps one study


def run_on_dask(
    work: Work,
    run: str,
    numbers: Iterable[int],
    told: Callable[[Outcome], None],
    address: str,
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
        arguments = (str(work.out), run, process)
        room = AHEAD * max(1, sum(client.nthreads().values()))
        suspects: list[int] = []
        busy: list[int] = []

        def heard(outcome: Outcome) -> None:
            if outcome.status == BUSY:
                busy.append(outcome.number)
            else:
                told(outcome)

        _ask(client, numbers, arguments, room, heard, suspects.append)
        while busy:  # another run has them, and may be killed
            time.sleep(SECONDS_UNTIL_BUSY_IS_ASKED_AGAIN)
            waiting, busy[:] = busy.copy(), []
            _ask(client, waiting, arguments, room, heard, suspects.append)
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

    todo: Iterator[int] = iter(numbers)
    asked: dict[Any, int] = {}
    futures = distributed.as_completed(loop=client.loop, raise_errors=False)

    def ask(count: int) -> None:
        for number in itertools.islice(todo, count):
            future = client.submit(answer, number, *arguments, pure=False)
            asked[future] = number
            futures.add(future)

    ask(room)
    for future in futures:
        _wait_for_scheduler(client)
        number = asked.pop(future)
        outcome, reason = _said(future)
        if outcome is not None:
            told(outcome)
        elif reason is not None:
            if isinstance(reason, BrainIACError):  # the output, a model or the device: every scan would be blamed
                raise ends_the_run(reason)
            if type(reason).__name__ in ("KilledWorker", "MemoryError"):
                killing(number)
            else:
                told(Outcome(number, FAILED, in_a_sentence(reason)))
        elif future.status in ("cancelled", "lost"):  # by a scheduler that went away and came back
            todo = itertools.chain([number], todo)
        else:  # the worker that held the outcome died: another one looks, and finds the case done
            asked[future] = number
            futures.add(future)
            continue
        ask(1)


def _said(future: Any) -> tuple[Outcome | None, Exception | None]:
    """The outcome, or what the worker raised; neither where there is none any more.

    The worker that holds an outcome may die before it is fetched; then the case is asked anew, and that may fail.
    """
    if future.status not in ("finished", "error"):
        return None, None
    try:
        return future.result(), None
    except (asyncio.CancelledError, concurrent.futures.CancelledError):
        return None, None
    except Exception as reason:
        return None, reason


def _wait_for_scheduler(client: Any) -> None:
    """Until its connection is there, as the client makes it anew by itself."""
    until = time.monotonic() + SECONDS_TO_CONNECT
    while client.status != "running":
        if time.monotonic() > until or client.status in ("closing", "closed"):
            raise BrainIACError("The Dask scheduler was lost; what is done is kept. Run the command again.")
        time.sleep(0.2)


def answer(number: int, out: str, run: str, process: Callable[..., Any] | None = None) -> Outcome:
    """In a worker."""
    with _one_at_a_time:
        if (out, run) not in _works:
            _works[out, run] = Work(Path(out), run, process)
        return _works[out, run].one(number)


def in_short(error: Exception) -> str:
    """The first line of what a library says."""
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
