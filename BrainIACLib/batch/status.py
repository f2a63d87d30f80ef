"""How far a batch is, told from its own files: from any computer, while it runs or afterwards.

No scan is looked at, so that it takes a moment whatever the size of the cohort: a scan that changed since counts as
done until the next run looks at it.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.batch.index import failures_told
from BrainIACLib.batch.work import Work, last_run

SENTENCES_SHOWN = 5


@dataclass(frozen=True)
class Status:
    """``an_hour``: cases, summed over the processes that run, each by its own clock; None while none does."""

    cases: int
    done: int
    failed: int
    running: int
    left: int
    an_hour: float | None
    sentences: tuple[tuple[str, int], ...]  # of failures, the most frequent first

    @property
    def hours_left(self) -> float | None:
        """At the present rate."""
        return self.left / self.an_hour if self.an_hour else None

    def in_words(self) -> str:
        """For a person."""
        counts = f"{self.done} of {self.cases} done, {self.failed} failed, {self.running} running, {self.left} left"
        lines = [counts]
        if self.an_hour and self.hours_left is not None:
            left = f"{self.hours_left:.1f} hours" if self.hours_left >= 1 else f"{self.hours_left * 60:.0f} minutes"
            lines.append(f"{self.an_hour:.0f} an hour, {left} left")
        lines += [f"  {count} x {sentence}" for sentence, count in self.sentences[:SENTENCES_SHOWN]]
        return "\n".join(lines)


def status_of(out: Path) -> Status:
    """Of the run that was begun last. Raises BrainIACError where there is none."""
    work = Work(out, last_run(out))
    failed, left = work.counts()
    paces = [pace for pace in work.ledger.paces() if pace.living and pace.seconds > 0]
    running = work.ledger.running()
    return Status(
        cases=len(work),
        done=len(work) - failed - left,
        failed=failed,
        running=running,
        left=left,
        an_hour=sum(3600 * pace.cases / pace.seconds for pace in paces) if paces and running else None,
        sentences=tuple(Counter(_sentences(work)).most_common()),
    )


def _sentences(work: Work) -> list[str]:
    """Of each failure of the run, also of those to be tried again.

    Without what names its file, so that equal causes are one.
    """
    asked = set(work.table["asked"].to_numpy()[work.without()].tolist())
    kept = [told for number, told in failures_told(work.out).items() if number in asked]
    return [sentence.replace(f"'{path}'", "the file") for path, sentence in kept]
