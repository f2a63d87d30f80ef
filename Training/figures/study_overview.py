"""The study at a glance: Fig 1A data, 1B preprocessing and pretraining, 1C tasks (PROTOCOL P-23), of the runs.

The paper's panels A to C are drawings without numbers of ours; here each shows what these runs were really made from.
"""

from __future__ import annotations

import textwrap

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from BrainIACLib.foreign_text import without_mathematics
from BrainIACLib.sequences import OTHER, STANDARD_OR_OTHER
from Training.downstream.initialisation import NO_NETWORK
from Training.evaluation.evaluation import Evaluation
from Training.figures.style import CATEGORIES, COLOURS, WaitsFor, drawing
from Training.runs.cell import INITIALISATIONS
from Training.runs.reading import Run
from Training.tasks import TASKS

SPLITS = {"train": "training", "validation": "validation", "test": "test", "external": "external"}
_STEPS = {
    "standard": "bias field (N4),\nbrain extraction,\nrigid registration,\nresampling",
    "drawn": "drawn by simulation\nfrom label maps",
    "stored": "taken as stored\n(standardized before)",
}


def data_inventory(evaluation: Evaluation) -> Figure:
    """Scans by data set, role and sequence (Fig 1A)."""
    data = _data(evaluation)
    bars: dict[tuple[str, str], dict[str, int]] = {}
    for group in data["groups"]:
        name = (group["dataset"], group["role"])
        sequence = group["sequence"] if group["sequence"] in STANDARD_OR_OTHER else OTHER
        counts = bars.setdefault(name, dict.fromkeys(STANDARD_OR_OTHER, 0))
        counts[sequence] += group["scans"]
    with drawing(1, 1, simulated=_simulated(evaluation), width=5.4, height=1.3 + 0.32 * len(bars)) as (figure, axes):
        axis = axes[0, 0]
        for row, counts in enumerate(bars.values()):
            left = 0
            for sequence, colour in zip(STANDARD_OR_OTHER, CATEGORIES, strict=False):
                axis.barh(row, counts[sequence], left=left, color=colour, label=sequence if row == 0 else None)
                left += counts[sequence]
            axis.text(left, row, f" {left}", va="center", fontsize=7)
        axis.set_yticks(
            range(len(bars)), [without_mathematics(", ".join(filter(None, name))) for name in bars], fontsize=7
        )
        axis.invert_yaxis()
        total, sets = data["total"], len({name for name, _ in bars})
        of = _plural(sets, "data set")
        axis.set_title(f"{total['scans']} scans of {total['patients']} patients in {of}", fontsize=9)
        axis.set_xlabel("scans")
        axis.margins(x=0.1)
        used = [name for name in STANDARD_OR_OTHER if any(counts[name] for counts in bars.values())]
        handles, labels = axis.get_legend_handles_labels()
        shown = [(handle, label) for handle, label in zip(handles, labels, strict=True) if label in used]
        figure.legend(*zip(*shown, strict=True), loc="outside lower center", ncols=len(shown))
    return figure


def preparation_and_pretraining(evaluation: Evaluation) -> Figure:
    """How scans become volumes, and what each initialization was pretrained on (Fig 1B)."""
    data = _data(evaluation)
    starts = {run.cell.initialisation: run for run in reversed(evaluation.runs)}
    names = [name for name in INITIALISATIONS if name in starts]
    prepared = data["preprocessing"]
    steps = "drawn" if prepared.get("simulated") else prepared.get("steps", "")
    with drawing(1 + len(names), 1, simulated=_simulated(evaluation), width=6.6, height=0.75) as (figure, axes):
        size = " x ".join(map(str, data["size"]))
        _flow(
            axes[0, 0],
            "0.85",
            f"{data['total']['scans']} scans of\n{data['total']['patients']} patients",
            _STEPS.get(steps, steps),
            f"{size} voxels,\n8 bits",
            "encoder",
        )
        for axis, name in zip(axes[1:, 0], names, strict=True):
            encoder = starts[name].config["provenance"]["encoder"]
            pretraining = "random weights" if name == "Scratch" else _wrapped(starts[name].initialisation_title)
            width = "" if encoder["architecture"] == NO_NETWORK else f"\nof width {encoder['width']:g}"
            shape = f"{encoder['architecture']}{width}"
            _flow(
                axis,
                COLOURS[name],
                evaluation.shown(name),
                _wrapped(f"saw {encoder['training_data']}"),
                pretraining,
                shape,
            )
    return figure


def tasks_overview(evaluation: Evaluation) -> Figure:
    """The four tasks: scans of a case, shared encoder, head, answer, and how many of whom (Fig 1C)."""
    runs = {task: run for task in TASKS if (run := _fullest(evaluation, task)) is not None}
    if not runs:
        raise WaitsFor("a finished run that records its scans")
    simulated = any(run.simulated for run in runs.values())
    height = 1.0 + 0.5 / len(runs)  # what stands above and below all rows takes half an inch
    with drawing(len(runs), 1, simulated=simulated, width=6.6, height=height) as (figure, axes):
        for axis, (task, run) in zip(axes[:, 0], runs.items(), strict=True):
            recipe = run.config["recipe"]
            encoder = "encoder,\nfrozen" if evaluation.mode == "probe" else "encoder,\ntuned"
            mean = "mean of the\nembeddings, " if len(TASKS[task].slots) > 1 else ""
            scans, answer = TASKS[task].in_brief
            _flow(axis, "0.85", scans, encoder, f"{mean}{recipe.get('head', '')} head".strip(), answer)
            axis.set_title(TASKS[task].title, fontsize=8, loc="left")
            axis.text(0.5, -0.02, _counted(run), ha="center", va="top", fontsize=6.5, color="0.3")  # below the boxes
    return figure


def _counted(run: Run) -> str:
    """Patients of each split, and scans by sequence of them all."""
    counts = run.metrics["counts"]
    folds = run.config.get("folds", 0)
    names = {**SPLITS, "test": f"test in {folds} folds"} if folds else SPLITS
    patients = ", ".join(f"{counts[split]['patients']} {name}" for split, name in names.items() if split in counts)
    splits = ["test"] if folds else [split for split in SPLITS if split in counts]
    total = {}
    for split in splits:
        for sequence, scans in counts[split].get("sequences", {}).items():
            total[sequence] = total.get(sequence, 0) + scans
    scans = ", ".join(f"{total[name]} {name}" for name in STANDARD_OR_OTHER if name in total)
    return f"patients: {patients}; scans: {scans}"


def _fullest(evaluation: Evaluation, task: str) -> Run | None:
    """A run of the most training data that records its scans."""
    runs = [run for run in evaluation.of(task) if "data" in run.config]
    return max(runs, key=lambda run: run.cell.fraction) if runs else None


def _data(evaluation: Evaluation) -> dict:
    for run in evaluation.runs:
        if "data" in run.config:
            return run.config["data"]
    raise WaitsFor("a finished run that records its data")


def _simulated(evaluation: Evaluation) -> bool:
    return any(run.simulated for run in evaluation.runs)


def _flow(axis: Axes, colour: str, *steps: str) -> None:
    """Boxes from left to right with arrows between them."""
    axis.set(xlim=(0, 1), ylim=(0, 1), xticks=[], yticks=[])
    axis.spines[:].set_visible(False)
    width = 1 / len(steps)
    box = {"boxstyle": "round,pad=0.4", "facecolor": colour, "alpha": 0.35, "edgecolor": "0.4"}
    arrow = {"arrowstyle": "->", "color": "0.4"}
    before = None
    for place, text in enumerate(steps):
        label = axis.annotate(text, ((place + 0.5) * width, 0.5), ha="center", va="center", fontsize=7, bbox=box)
        if before is not None:
            ends = {"xytext": (1, 0.5), "textcoords": before, "xycoords": label}
            axis.annotate("", (0, 0.5), arrowprops=arrow, **ends)
        before = label


def _wrapped(text: str, width: int = 26) -> str:
    return textwrap.fill(text, width)


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}" if count == 1 else f"{count} {noun}s"
