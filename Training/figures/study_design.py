"""How the data are split: Extended Data Fig 1 (PROTOCOL P-14, P-23), with the counts of the runs."""

from __future__ import annotations

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from Training.evaluation.evaluation import Evaluation
from Training.figures.style import COLOURS, WaitsFor, drawing
from Training.runs.cell import percent
from Training.runs.reading import Run
from Training.tasks import TASKS


def split_diagram(evaluation: Evaluation) -> Figure:
    """A row a task: training and validation patients of each fraction, nested, beside the constant hold-out."""
    tasks = [task for task in TASKS if evaluation.of(task)]
    if not tasks:
        raise WaitsFor("a finished run")
    simulated = any(evaluation.simulated(task) for task in tasks)
    with drawing(len(tasks), 1, simulated=simulated, width=7.0, height=1.7) as (figure, axes):
        for axis, task in zip(axes[:, 0], tasks, strict=True):
            runs = _one_a_fraction(evaluation, task)
            training = {f: _patients(run, "train") + _patients(run, "validation") for f, run in runs.items()}
            held_out = {split: _patients(next(iter(runs.values())), split) for split in ("test", "external")}
            most = max(training.values())
            for row, (fraction, patients) in enumerate(training.items()):
                axis.add_patch(Rectangle((0, -row), patients, 0.8, color=COLOURS["BrainIAC"], alpha=0.75, linewidth=0))
                axis.text(
                    -0.01 * most, 0.4 - row, f"{percent(fraction)}: {patients}", ha="right", va="center", fontsize=7
                )
            start, height = most * 1.04, len(training) - 0.2
            for split, colour in (("test", COLOURS["MedicalNet"]), ("external", COLOURS["Scratch"])):
                if held_out[split]:
                    width = held_out[split]
                    axis.add_patch(
                        Rectangle((start, 1 - len(training)), width, height, color=colour, alpha=0.6, linewidth=0)
                    )
                    middle = (start + width / 2, 1 - len(training) + height / 2)
                    axis.text(*middle, f"{split}\n{width}", ha="center", va="center", fontsize=7)
                    start += width + most * 0.04
            axis.set(xlim=(-0.14 * most, start), ylim=(1 - len(training) - 0.1, 1), yticks=[], xticks=[])
            axis.spines[:].set_visible(False)
            folds = next(iter(runs.values())).config.get("folds", 0)
            left = "for training and validation" + (" in the first fold" if folds else "")
            right = f"each tested once in {folds} folds" if folds else "held out"
            axis.set_title(f"{TASKS[task].title}: patients {left} (left), {right} (right)", fontsize=8)
    return figure


def _one_a_fraction(evaluation: Evaluation, task: str) -> dict[float, Run]:
    runs: dict[float, Run] = {}
    for run in sorted(evaluation.of(task), key=lambda run: (run.cell.fraction, run.cell)):
        runs.setdefault(run.cell.fraction, run)
    return runs


def _patients(run: Run, split: str) -> int:
    return int(run.metrics["counts"].get(split, {"patients": 0})["patients"])
