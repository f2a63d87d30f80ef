"""What a long piece of work needs from whoever asked for it: someone to tell, and a way to be stopped."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from BrainIACLib.errors import Cancelled


def _tell_nobody(step: str, fraction: float) -> None:
    pass


def _never() -> bool:
    return False


def _deliver_to_nobody(part: Mapping[str, object]) -> None:
    pass


@dataclass(frozen=True)
class Job:
    """Progress and cancellation of one piece of work, handed down to every step of it.

    Parameters
    ----------
    progress : called with the name of the step and the fraction of this job that is done, from 0 to 1.
    cancelled : true as soon as the person asked to stop.
    deliver : called with each part of the answer that is ready before the whole; plain values, as JSON has them.

    Examples
    --------
    >>> told = []
    >>> job = Job(lambda step, fraction: told.append((step, round(fraction, 2))))
    >>> job.part(0.5, 1.0).report("saliency", 0.5)
    >>> told
    [('saliency', 0.75)]
    """

    progress: Callable[[str, float], None] = _tell_nobody
    cancelled: Callable[[], bool] = _never
    deliver: Callable[[Mapping[str, object]], None] = _deliver_to_nobody

    def report(self, step: str, fraction: float) -> None:
        """Say which step runs and which fraction of the job is done; a job that was canceled ends here.

        Raises
        ------
        Cancelled : the person asked to stop.
        """
        self.check()
        self.progress(step, fraction)

    def check(self) -> None:
        """End here if the job was canceled.

        Raises
        ------
        Cancelled : the person asked to stop.
        """
        if self.cancelled():
            raise Cancelled("Stopped as asked; nothing was written.")

    def part(self, first: float, last: float, name: str = "") -> Job:
        """The job of a part that runs from the fraction ``first`` to ``last``; ``name`` goes before each step."""

        def progress(step: str, fraction: float) -> None:
            self.progress(f"{name}: {step}" if name else step, first + (last - first) * fraction)

        return Job(progress, self.cancelled, self.deliver)


UNATTENDED = Job()  # the default: nobody is told and nobody can stop it
