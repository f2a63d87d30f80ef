"""Several processes of this computer. A process may die of its case: the others go on, and the case gets one more try,
alone and with one thread, before it is recorded as failed."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import time
from collections import deque
from collections.abc import Callable, Iterable
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from multiprocessing.connection import wait
from multiprocessing.context import SpawnProcess
from pathlib import Path
from typing import Any

from BrainIACLib.batch.ledger import FAILED
from BrainIACLib.batch.work import BUSY, Outcome, Work, ends_the_run
from BrainIACLib.errors import BrainIACError
from BrainIACLib.scans.memory import free_memory

if sys.platform == "win32":
    from multiprocessing.connection import PipeConnection as Connection
else:
    from multiprocessing.connection import Connection

GPUS = Path("/proc/driver/nvidia/gpus")  # those of the computer
SPREAD = ("auto", "cuda")  # devices that name no single graphics processor
GIB_A_PROCESS = 2.5  # of memory, of a process that prepares a scan of 256 voxels a side with the bundled models
SECONDS_UNTIL_BUSY_IS_ASKED_AGAIN = 2.0
DIED = "Its process was killed twice, perhaps because memory ran out; try it on a computer with more."


def fitting_jobs() -> int:
    """As many processes as cores and free memory allow."""
    if sys.platform == "linux":
        cores = len(os.sched_getaffinity(0))
    else:
        cores = os.cpu_count() or 1
    free = free_memory()
    if free is None:
        return min(cores, 2)
    if sys.platform == "darwin":  # which tells of all memory, not of what is free
        free //= 2
    return max(1, min(cores, int(free / 2**30 // GIB_A_PROCESS)))


def visible_gpus() -> list[str]:
    """As CUDA calls the graphics processors that this process may use: those of the environment, else all it sees."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is not None:
        return [name.strip() for name in chosen.split(",") if name.strip()]
    if len(list(GPUS.glob("*"))) < 2:
        return []
    try:  # a container or a job may see fewer than the computer has; this process does without torch
        with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as child:
            return [str(number) for number in range(child.submit(_count_gpus).result())]
    except (BrokenProcessPool, ImportError, RuntimeError, OSError):
        return []


def _count_gpus() -> int:
    import torch

    return torch.cuda.device_count()


@dataclass
class _Member:
    """One process, the only graphics processor that it sees (None: as the parent), and the case that it is at;
    ``ready``: it has opened the run."""

    process: SpawnProcess
    pipe: Connection
    gpu: str | None
    at: int | None = None
    ready: bool = False


@dataclass
class LocalPool:
    """Hands out cases one by one.

    Parameters
    ----------
    work : as the parent sees it; children open the run for themselves.
    run : its name.
    jobs : processes; 1 works in a child as well, since a reader may end its process.
    process : what children do with a case, importable; by default the real thing.
    """

    work: Work
    run: str
    jobs: int
    process: Callable[..., Any] | None = None
    _members: list[_Member] = field(default_factory=list)
    _gpus: list[str] | None = None

    def go(self, numbers: Iterable[int], told: Callable[[Outcome], None]) -> None:
        """Answer all cases; ``told`` of each outcome. An interruption ends the children; what is done is kept.

        Raises
        ------
        NotWritten : the output cannot be written.
        BrainIACError : a process cannot be started, or a model or the device is missing.
        """
        todo, later, alone = iter(numbers), deque[int](), deque[int]()
        threads = max(1, (os.cpu_count() or 1) // self.jobs)
        try:
            self._each(todo, later, alone, self.jobs, threads, told)
            while later:  # others had them
                waiting, later = list(later), deque[int]()
                self._each(iter(waiting), later, alone, self.jobs, threads, told)
                if later:
                    time.sleep(SECONDS_UNTIL_BUSY_IS_ASKED_AGAIN)
            self._end()
            for number in alone:
                died: deque[int] = deque()
                self._each(iter([number]), deque(), died, 1, 1, told)
                if died:
                    told(self.work.give_up(number, DIED))
        finally:
            self._end()

    def _each(
        self,
        todo: Iterable[int],
        later: deque[int],
        died: deque[int],
        jobs: int,
        threads: int,
        told: Callable[[Outcome], None],
    ) -> None:
        todo = iter(todo)
        empty = False
        while True:
            for member in [*self._members, *[None] * (jobs - len(self._members))]:
                if empty or (member is not None and member.at is not None):
                    continue
                number = next(todo, None)
                if number is None:
                    empty = True
                    break
                member = member or self._start(threads)
                member.at = number
                with contextlib.suppress(OSError):  # it died: noticed below
                    member.pipe.send(number)
            busy = [member for member in self._members if member.at is not None]
            if not busy:
                return
            ready = wait([member.pipe for member in busy])
            for member in busy:
                if member.pipe in ready:
                    self._hear(member, later, died, told)

    def _hear(self, member: _Member, later: deque[int], died: deque[int], told: Callable[[Outcome], None]) -> None:
        number = member.at
        if number is None:
            return
        try:
            outcome = member.pipe.recv()
        except (EOFError, OSError):
            member.process.join()
            member.pipe.close()
            self._members.remove(member)
            if not member.ready:  # no scan's fault, and every scan would be blamed
                raise BrainIACError(
                    f"A process of the batch ended before its first scan (status {member.process.exitcode}); what it "
                    "said stands above. Nothing is recorded; mend that and run the command again."
                ) from None
            died.append(number)
            return
        if outcome is None:
            member.ready = True
            return
        member.at = None
        if isinstance(outcome, BrainIACError):  # the output, a model or the device: every scan would be blamed
            raise ends_the_run(outcome)
        if outcome.status == BUSY:
            later.append(number)
        elif outcome.status == FAILED and not outcome.sentence:  # it needs more memory than is free
            died.append(number)
        else:
            told(outcome)

    def _start(self, threads: int) -> _Member:
        context = multiprocessing.get_context("spawn")  # torch and ITK have threads, which no fork survives
        pipe, other = context.Pipe()
        if self._gpus is None:
            self._gpus = visible_gpus() if self.work.settings.device in SPREAD else []
        taken = [member.gpu for member in self._members]
        gpu = min(self._gpus, key=taken.count) if self._gpus else None
        arguments = (other, self.work.out, self.run, threads, gpu, self.process)
        process = context.Process(target=_serve, args=arguments, daemon=True)
        process.start()
        other.close()
        member = _Member(process, pipe, gpu)
        self._members.append(member)
        return member

    def _end(self) -> None:
        for member in self._members:
            with contextlib.suppress(OSError):
                member.pipe.send(None)
                member.pipe.close()
        for member in self._members:
            if member.at is not None:
                member.process.kill()  # files appear whole or not at all
            member.process.join(10)
            if member.process.is_alive():
                member.process.kill()
                member.process.join()
        self._members.clear()


def _serve(
    pipe: Connection, out: Path, run: str, threads: int, gpu: str | None, process: Callable[..., Any] | None
) -> None:
    """A child: answers numbers until None comes or the parent is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is the parent's to answer
    limit_threads(threads)
    if gpu is not None:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    work = Work(out, run, process)
    with contextlib.suppress(EOFError, OSError):
        pipe.send(None)
        while (number := pipe.recv()) is not None:
            try:
                outcome: Outcome | BrainIACError = work.one(number)
            except MemoryError:
                outcome = Outcome(number, FAILED)
            except BrainIACError as error:
                outcome = error
            pipe.send(outcome)
    work.ledger.close()


def limit_threads(threads: int) -> None:
    """Of torch and ITK, in a process that has not computed with them yet."""
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"):
        os.environ[name] = str(threads)
