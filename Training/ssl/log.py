"""The log of a run: one CSV row every so many steps, kept over resumptions, and a line for the person who watches."""

from __future__ import annotations

import csv
import sys
import time
from pathlib import Path

from BrainIACLib.errors import TrainingError
from BrainIACLib.publishing import write_bytes

COLUMNS = (
    "step",
    "epoch",
    "loss",
    "learning_rate",
    "volumes_per_second",
    "waiting_share",
    "effective_rank",
    "alignment",
    "uniformity",
    "knn",
    "probe",
)


class CsvLog:
    """``log.csv``: appended to, and on resumption cut back to the step of the checkpoint."""

    def __init__(self, path: Path):
        self._path = path

    def keep_until(self, step: int) -> None:
        """Forget what was logged after ``step``: the resumed run does it again."""
        rows = read_log(self._path)
        lines = [",".join(COLUMNS), *(",".join(row.values()) for row in rows if int(row["step"]) <= step)]
        write_bytes(("\n".join(lines) + "\n").encode(), self._path)

    def add(self, **values: object) -> None:
        """One row; columns that are not given stay empty. Raises TrainingError where it cannot be written."""
        try:
            with self._path.open("a", newline="", encoding="utf-8") as file:
                csv.writer(file, lineterminator="\n").writerow(_text(values.get(column)) for column in COLUMNS)
        except OSError as error:
            raise TrainingError(
                f"'{self._path}' cannot be written ({error.strerror}); free some space and run the command again: it "
                "goes on from the last checkpoint."
            ) from None


def read_log(path: Path) -> list[dict[str, str]]:
    """The rows of a log; a last line that was cut off by a kill is left out."""
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [row for row in csv.DictReader(file) if None not in row.values() and row["step"].isdigit()]


class Stopwatch:
    """Volumes a second, the share of time spent waiting for data, and the time left."""

    def __init__(self):
        self._started = self._marked = time.perf_counter()
        self._volumes, self._steps, self._waited = 0, 0, 0.0

    def waited(self) -> None:
        """A batch has arrived: the time since ``ready`` was spent waiting for it."""
        self._waited += time.perf_counter() - self._marked

    def worked(self, volumes: int) -> None:
        """A step of so many volumes, over all processes, is done."""
        self._volumes += volumes
        self._steps += 1

    def ready(self) -> None:
        """Everything about a step is done, saving too: from here on, the training waits for data."""
        self._marked = time.perf_counter()

    def read(self, steps_left: int) -> tuple[float, float, float]:
        """Volumes a second, waiting share and seconds left, of the time since the last reading."""
        elapsed = max(time.perf_counter() - self._started, 1e-9)
        result = self._volumes / elapsed, self._waited / elapsed, steps_left * elapsed / max(1, self._steps)
        self.__init__()
        return result


def say(text: str) -> None:
    """A line on standard error, at once: also what a SLURM log shows."""
    print(text, file=sys.stderr, flush=True)


def duration(seconds: float) -> str:
    """Hours and minutes, or seconds where there is less than a minute."""
    return f"{seconds // 3600:.0f} h {seconds % 3600 // 60:.0f} min" if seconds >= 60 else f"{seconds:.0f} s"


def _text(value: object) -> str:
    return "" if value is None else f"{value:.6g}" if isinstance(value, float) else str(value)
