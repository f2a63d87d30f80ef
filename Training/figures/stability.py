"""Performance under perturbed images: Fig 4 and its extras (PROTOCOL P-42)."""

from __future__ import annotations

from matplotlib.figure import Figure

from Training.evaluation.evaluation import Evaluation, constant_value
from Training.figures.style import COLOURS, LINES, MARKERS, WaitsFor, drawing, legend_below
from Training.runs.cell import INITIALISATIONS, SET_NAMES, VARIANTS
from Training.runs.cell import PAPER as OF_THE_PAPER
from Training.runs.layout import UNPERTURBED_LEVEL
from Training.tasks import TASKS

PAPER = ("contrast", "gibbs", "bias_field")
EXTRAS = ("motion", "noise", "resolution")
PRETRAINED_OR_NOT = (*OF_THE_PAPER, *VARIANTS)
_MANY = 4  # lines whose bands can be told apart
_AXES = {
    "contrast": "contrast (gamma)",
    "gibbs": "Gibbs artifact (alpha)",
    "bias_field": "bias field (coefficient)",
    "motion": "motion",
    "noise": "noise",
    "resolution": "slice thickness (voxels)",
}


def perturbations(evaluation: Evaluation, kinds: tuple[str, ...] = PAPER, split: str = "test") -> Figure:
    """Tasks down, perturbations across, the largest models of each initialization; dotted where nothing is perturbed.

    Of several seeds the mean. The band is the 95 % interval over cases where the runs have one, else the seeds'
    extremes, which are thin lines too; of many lines only those of the paper's kind have them. Gray is the answer
    without an image (``Task.without_image``).
    """
    sweeps = {
        (task, name): table
        for task in TASKS
        for name in INITIALISATIONS
        if (table := evaluation.stability(task, name)) is not None
    }
    shown = {key: table[(table["split"] == split) & table["perturbation"].isin(kinds)] for key, table in sweeps.items()}
    tasks = [task for task in TASKS if any(len(table) for (of, _), table in shown.items() if of == task)]
    if not tasks:
        raise WaitsFor(f"stability sweeps of finished runs on the {SET_NAMES[split]} set ({', '.join(kinds)})")
    simulated = any(evaluation.simulated(task) for task in tasks)
    with drawing(len(tasks), len(kinds), simulated=simulated, width=2.9, height=2.2) as (figure, axes):
        for row, task in enumerate(tasks):
            measure = TASKS[task].primary
            constant = constant_value(evaluation, task, split)
            for axis in axes[row, 1:]:
                axis.sharey(axes[row, 0])  # how much each artifact harms is seen side by side
            bands = [name for name in INITIALISATIONS if (task, name) in shown]
            bands = [name for name in bands if name in PRETRAINED_OR_NOT] if len(bands) > _MANY else bands
            for column, kind in enumerate(kinds):
                axis = axes[row, column]
                for name in INITIALISATIONS:
                    table = shown.get((task, name))
                    if table is None:
                        continue
                    own = table[(table["perturbation"] == kind) & (table["metric"] == measure.name)].sort_values(
                        "level"
                    )
                    style = {"color": COLOURS[name], "marker": MARKERS[name], "linestyle": LINES[name]}
                    label = evaluation.shown(name)
                    axis.plot(own["level"], own["value"] * measure.factor, label=label, markersize=3, **style)
                    if name in bands:
                        band = (own[end] * measure.factor for end in ("low", "high"))
                        axis.fill_between(own["level"], *band, color=COLOURS[name], alpha=0.12, linewidth=0)
                        for end in ("lowest_seed", "highest_seed") if (own["seeds"] > 1).any() else ():
                            ends = own[end] * measure.factor
                            axis.plot(own["level"], ends, color=COLOURS[name], linewidth=0.5, linestyle=LINES[name])
                if constant is not None:
                    style = {"color": "0.5", "linewidth": 1, "label": TASKS[task].without_image}
                    axis.axhline(constant * measure.factor, **style)
                axis.axvline(UNPERTURBED_LEVEL[kind], color="0.4", linestyle=":", linewidth=1)
                axis.set(xlabel=_AXES[kind], ylabel=measure.title)
                axis.set_title(f"{TASKS[task].title}, {SET_NAMES[split]} set", fontsize=8)
        legend_below(figure, axes.flat)
    return figure
