"""A progress bar for people at a terminal; silent everywhere else."""

from __future__ import annotations

import sys

from BrainIACLib.job import Job


class ProgressBar:
    """A bar on standard error, only where a person looks at it (a terminal)."""

    def __init__(self, title: str):
        from tqdm import tqdm

        self._bar = tqdm(
            total=100,
            desc=title,
            leave=False,
            disable=None,
            file=sys.stderr,
            bar_format="{desc:<60.60}|{bar:30}| {elapsed}",
        )
        self._title = title

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.close()

    def job(self, name: str, begin: float, end: float) -> Job:
        """The job of a part of the work, which moves the bar between ``begin`` and ``end`` of the whole."""

        def report(what: str, fraction: float) -> None:
            self._bar.set_description_str(f"{self._title}: {name}, {what}", refresh=False)
            self._bar.n = 100 * (begin + (end - begin) * fraction)
            self._bar.refresh()

        return Job(report)

    def clear(self) -> None:
        """Make room for a line of output."""
        self._bar.clear()
