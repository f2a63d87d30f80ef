"""All figures of one evaluation by the paper's numbers (corrected as in PROTOCOL C-13), or what they wait for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial

from matplotlib.figure import Figure

from Training.evaluation.evaluation import Evaluation
from Training.figures.age_agreement import age_scatter
from Training.figures.calibration import net_benefit, reliability
from Training.figures.embeddings import feature_plane
from Training.figures.kaplan_meier import survival_grid
from Training.figures.performance_curves import bars_at_three_fractions, datasets, primary_curve, sequence_pairs
from Training.figures.saliency_distance import com_distance_boxes
from Training.figures.saliency_rows import backbone_saliency, task_saliency
from Training.figures.stability import EXTRAS, perturbations
from Training.figures.study_design import split_diagram
from Training.figures.study_overview import data_inventory, preparation_and_pretraining, tasks_overview
from Training.figures.style import Drawn, WaitsFor
from Training.tasks import AGE, IDH, SEQUENCE, SURVIVAL, TASKS
from Training.tasks.sequence import PAIRS
from Training.tasks.task import Task

_Draw = Callable[[Evaluation], Figure]


def _curve(task: Task, split: str) -> _Draw:
    return partial(primary_curve, task=task.name, split=split)


def _plane(task: Task, split: str) -> _Draw:
    return partial(feature_plane, task=task.name, split=split)


def _saliency(task: Task) -> _Draw:
    return partial(task_saliency, task=task.name)


_ONE_SEED = "The first seed; the curves and tables of error are means of the seeds."
_HOW_MAPS = (
    "One person, the first seed. The slice is where the first map is strongest. All maps have one scale, the share of "
    "the map's own maximum in the whole volume, with contours at 40, 60 and 80 %: it compares where a network looks, "
    "not how strongly two of them do. Scratch started from random weights; where "
    "whole networks are tuned it is trained too."
)
FIGURES: tuple[tuple[str, str, _Draw], ...] = (
    (
        "Fig 1A",
        "Scans by data set, role and sequence, of these runs. The paper's ten conditions are in no run's record.",
        data_inventory,
    ),
    (
        "Fig 1B",
        "How scans become volumes, and what each initialization was pretrained on. The paper's panel is a scheme of "
        "SimCLR without numbers; its method is in Training/ssl.",
        preparation_and_pretraining,
    ),
    ("Fig 1C", "The tasks: what a case is, and how many of whom there are.", tasks_overview),
    ("Fig 1D", "All tasks at three amounts of training data.", bars_at_three_fractions),
    (
        "Fig 2A",
        "Sequence: balanced accuracy by training data.",
        _curve(SEQUENCE, "test"),
    ),
    (
        "Fig 2B",
        "Sequence: features of the largest model from the pretraining. The first seed.",
        _plane(SEQUENCE, "test"),
    ),
    ("Fig 2C", "Sequence: T1 against T1CE.", partial(sequence_pairs, pairs=PAIRS[:1])),
    ("Fig 2D", "Brain age: error on the internal set.", _curve(AGE, "test")),
    ("Fig 2E", "Brain age: error on the external set.", _curve(AGE, "external")),
    ("Fig 2F", "IDH mutation: AUC by training data.", _curve(IDH, "test")),
    ("Fig 2G", "IDH mutation: distance of saliency from the tumor. The first seed.", com_distance_boxes),
    ("Fig 2H", "Overall survival: AUC on the internal set.", _curve(SURVIVAL, "test")),
    (
        "Fig 2I",
        "Overall survival: AUC on the external set.",
        _curve(SURVIVAL, "external"),
    ),
    (
        "Fig 3 internal",
        "Survival of high and low risk, internal set. The first seed.",
        partial(survival_grid, split="test"),
    ),
    (
        "Fig 3 external",
        "Survival of high and low risk, external set. The first seed.",
        partial(survival_grid, split="external"),
    ),
    (
        "Fig 4",
        "Perturbed images: contrast, Gibbs artifact, bias field. Mean of the seeds; bands are 95 % intervals over "
        "persons, averaged over the seeds, thin lines the lowest and the highest seed. Gray needs no image: the median "
        "age of the training and validation cases, or chance.",
        perturbations,
    ),
    ("Fig 4 external", "The same on the external set.", partial(perturbations, split="external")),
    ("Fig 5A", f"Brain age: predicted against true, internal set. {_ONE_SEED}", partial(age_scatter, split="test")),
    ("Fig 5B", "Brain age: features by age bin, internal set. The first seed.", _plane(AGE, "test")),
    ("Fig 5C", f"Brain age: predicted against true, external set. {_ONE_SEED}", partial(age_scatter, split="external")),
    (
        "Fig 5D",
        "Brain age: features by age bin, external set. The first seed.",
        _plane(AGE, "external"),
    ),
    ("Fig 5E-F", "Brain age: error on each external data set.", datasets),
    ("Fig 6A", f"Saliency: sequence. {_HOW_MAPS}", _saliency(SEQUENCE)),
    ("Fig 6B", f"Saliency: brain age. {_HOW_MAPS}", _saliency(AGE)),
    ("Fig 6C", f"Saliency: IDH mutation. {_HOW_MAPS}", _saliency(IDH)),
    ("Fig 6D", f"Saliency: overall survival. {_HOW_MAPS}", _saliency(SURVIVAL)),
    ("Extended Data Fig 1", "How the data are split.", split_diagram),
    ("Extended Data Fig 2", "Sequence: three more pairs.", sequence_pairs),
    (
        "Extended Data Fig 3",
        "Saliency of the backbone: the pretraining beside MedicalNet, or beside random weights without it. The first "
        "seed. All maps have one scale, as in Fig 6.",
        backbone_saliency,
    ),
    ("Extra 1", "Perturbed images: motion, noise, resolution.", partial(perturbations, kinds=EXTRAS)),
    ("Extra 2", "Reliability of the largest classifiers. The first seed.", reliability),
    ("Extra 3", "Net benefit of the largest two-class models. The first seed.", net_benefit),
)
"""(the paper's number, caption, how it is drawn)."""


def all_figures(evaluation: Evaluation) -> Iterator[Drawn]:
    """Every figure in turn; one that cannot be drawn says what it waits for."""
    suffix = "" if evaluation.mode == "finetune" else f"_{evaluation.mode}"
    for number, caption, draw in (*FIGURES, *_beyond_the_paper()):
        name = number.replace("Extended Data Fig", "extended_data").replace("Fig", "figure").replace("Extra", "extra")
        name = name.replace(" ", "_")
        try:
            yield Drawn(name + suffix, number, caption, draw(evaluation))
        except WaitsFor as reason:
            yield Drawn(name + suffix, number, caption, None, str(reason))


def _beyond_the_paper() -> Iterator[tuple[str, str, _Draw]]:
    """The primary measure of each task that the paper does not have."""
    ours = [task for task in TASKS.values() if task not in (SEQUENCE, AGE, IDH, SURVIVAL)]
    for number, task in enumerate(ours, start=4):
        caption = f"{task.title}: {task.primary.title} by training data."
        yield f"Extra {number}", caption, _curve(task, "test")
