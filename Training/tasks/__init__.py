"""The downstream tasks as objects: each owns its columns, targets, loss, scores and measures, in a file of its own.

A further task is one new file and one line in ``TASKS``; the manifest, the runner, the tables and the report read it
from there. Figures of the paper name their task.
"""

from __future__ import annotations

from Training.tasks.age import AGE
from Training.tasks.idh import IDH
from Training.tasks.sequence import SEQUENCE
from Training.tasks.survival import SURVIVAL
from Training.tasks.task import Task

TASKS: dict[str, Task] = {
    task.name: task
    for task in (
        SEQUENCE,
        AGE,
        IDH,
        SURVIVAL,
    )
}
"""By name, in the paper's order."""
