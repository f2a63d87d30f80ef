"""What a folder of runs is made from: data, initializations, recipes. Written once, read by every worker."""

from __future__ import annotations

import dataclasses
import functools
import json
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.errors import TrainingError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.publishing import write_text
from Training.data.cache import INDEX, Cache
from Training.data.fingerprints import seen_before
from Training.data.splits import refuse_overlaps
from Training.downstream.baselines import BASELINES
from Training.downstream.fractions import fold_columns, split_column
from Training.downstream.initialisation import NO_DIGEST, Initialisation, load_initialisation
from Training.downstream.inputs import ResizedVolumes
from Training.downstream.recipe import load_recipe
from Training.downstream.studies import Studies, studies
from Training.runs.cell import BUNDLED, HELD_OUT, UNTRAINED, Cell
from Training.runs.layout import LABELS, cell_folders, finished, read_grid, read_json
from Training.tasks import TASKS
from Training.tasks.task import ONE_YEAR, Settings

PLAN = "plan.json"


@dataclass(frozen=True)
class Plan:
    """Plain values only, so that it is kept as JSON in the folder of runs; paths are absolute.

    ``sources`` : initialization -> model folder or file. ``like`` : the initialization whose net Scratch has, or empty
    for ``architecture`` and ``width``. ``folds`` : 0, or the number of folds of a cross-validation by patient in place
    of a hold-out. ``stability`` : perturbation -> levels, for cells with all data; of the initializations
    ``few_levels`` those levels alone that ``perturbations.FEW_LEVELS`` names too, of ``unswept`` none.
    ``saliency_patients`` : test patients whose saliency is looked at, for cells with all data; ``tumours`` : file of
    tumor masks by patient (P-36);
    ``spacing_mm`` : voxel size of the cache. ``embeddings`` : folder that keeps those of frozen encoders, which several
    folders of runs may share; empty for one in the folder of runs.
    """

    cache: str
    cohort: str
    labels: str
    sources: dict[str, str]
    like: str = "BrainIAC"
    architecture: str = "resnet50"
    width: float = 1.0
    normalisation: str = "minmax"
    recipes: dict[str, str] = field(default_factory=lambda: {"finetune": "paper", "probe": "probe"})
    external: tuple[str, ...] = ()
    age_unit: str = "years"
    horizon: float = ONE_YEAR
    folds: int = 0
    stability: dict[str, list[float]] = field(default_factory=dict)
    few_levels: tuple[str, ...] = ()
    unswept: tuple[str, ...] = ()
    device: str = "cpu"
    command: str = ""
    simulated_note: str = ""
    saliency_patients: int = 0
    tumours: str = ""
    spacing_mm: tuple[float, float, float] = (1.0, 1.0, 1.0)
    embeddings: str = ""

    def __post_init__(self):
        if self.labels not in LABELS:
            raise TrainingError(f"labels must be 'real' or 'simulated', not '{self.labels}'.")
        if self.folds and self.external:
            raise TrainingError("External datasets are never trained on, but folds train on all; give one of the two.")
        object.__setattr__(self, "external", tuple(self.external))
        object.__setattr__(self, "few_levels", tuple(self.few_levels))
        object.__setattr__(self, "unswept", tuple(self.unswept))
        object.__setattr__(self, "spacing_mm", tuple(self.spacing_mm))

    @property
    def settings(self) -> Settings:
        """What the plan chose of the tasks."""
        return Settings(self.age_unit, self.horizon)


def write_plan(plan: Plan, runs: Path) -> None:
    """Keep the plan in the folder; finished cells of another plan there would not be comparable.

    Raises
    ------
    TrainingError : the folder was made from another plan (the command alone may differ), or holds finished runs on an
        earlier state of the cache.
    """
    runs.mkdir(parents=True, exist_ok=True)
    if (runs / PLAN).is_file():
        before = read_plan(runs)
        differing = [
            item.name
            for item in dataclasses.fields(Plan)
            if item.name not in ("command", "embeddings") and getattr(before, item.name) != getattr(plan, item.name)
        ]
        if differing:
            raise TrainingError(
                f"'{runs}' holds runs with other settings ({', '.join(differing)}); choose another folder of runs."
            )
        _refuse_runs_of_an_earlier_cache(plan, runs)
    write_text(json.dumps(dataclasses.asdict(plan), indent=2) + "\n", runs / PLAN)


def _refuse_runs_of_an_earlier_cache(plan: Plan, runs: Path) -> None:
    """An edited manifest changes the cache under finished runs, whose cases and labels are then no longer the same."""
    index = Path(plan.cache) / INDEX
    now = file_sha256(index) if index.is_file() else ""
    earlier = []
    for folder in filter(finished, cell_folders(runs)):
        config = read_json(folder / "config.json", ("provenance",))
        if config["provenance"].get("sha256", {}).get("cache", now) != now:
            earlier.append(folder.name)
    if earlier:
        raise TrainingError(
            f"'{runs}' holds {len(earlier)} finished runs on an earlier state of the cache '{plan.cache}', the first "
            f"is {earlier[0]}; choose another folder of runs, or delete that one to train them again."
        )


def read_plan(runs: Path) -> Plan:
    """The plan of a folder of runs. Raises TrainingError if it has none."""
    try:
        return Plan(**json.loads((Path(runs) / PLAN).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise TrainingError(
            f"'{runs}' is no folder of runs ({error}); start it with 'python -m Training finetune'."
        ) from None


class Workbench:
    """A plan with its data opened; shared by the cells that one process works on."""

    def __init__(self, plan: Plan, runs: Path):
        self.plan, self.runs = plan, Path(runs)
        self.cache = Cache(plan.cache, verify=False)
        self.resized = ResizedVolumes(self.cache)
        self.cache_sha256 = file_sha256(Path(plan.cache) / INDEX)  # it names the sha256 of every shard and the table
        refuse_overlaps(self.cache.table, str(self.cache.folder))

    @functools.cache  # noqa: B019 -- lives as long as the process
    def studies(self, task: str) -> Studies:
        """The studies of a task."""
        return studies(self.cache.table, TASKS[task], self.plan.settings)

    @functools.cache  # noqa: B019
    def initialisation(self, name: str) -> Initialisation:
        """One of the starts."""
        source = self.plan.sources.get(name)
        return load_initialisation(
            name, Path(source) if source else None, self._like(name) if name in UNTRAINED else None
        )

    def _like(self, name: str) -> EncoderContract:
        """Of the bundled encoder for the baselines, where it is there: clipped and normalized inside the brain."""
        if name in BASELINES and BUNDLED in self.plan.sources:
            return self.initialisation(BUNDLED).contract
        if self.plan.like and self.plan.like in self.plan.sources:
            return self.initialisation(self.plan.like).contract
        return EncoderContract(
            architecture=self.plan.architecture,
            width=self.plan.width,
            embedding="gap",
            embedding_size=int((2048 if self.plan.architecture == "resnet50" else 512) * self.plan.width),
            input_size=tuple(int(n) for n in self.cache.size),
            resize_mode="area",
            normalisation=self.plan.normalisation,
            clip_percentiles=None,
            template="as prepared",
            skull_stripped="required",
            weights="encoder.safetensors",
            sha256=NO_DIGEST,
        )

    def splits(self, cell: Cell, hold_out: float, validation: float) -> list[pd.Series]:
        """The split columns of a cell: one, or one for each fold."""
        table = self.studies(cell.task).table
        if self.plan.folds:
            return fold_columns(
                table,
                TASKS[cell.task],
                folds=self.plan.folds,
                fraction=cell.fraction,
                seed=cell.seed,
                validation=validation,
            )
        return [
            split_column(
                table,
                TASKS[cell.task],
                fraction=cell.fraction,
                seed=cell.seed,
                hold_out=hold_out,
                validation=validation,
                external=self.plan.external,
            )
        ]

    def refuse_pretrained_on(self, cell: Cell, splits: list[pd.Series]) -> str:
        """What came out of comparing the test cases with those of the encoder's pretraining, as a sentence (C-09).

        Raises
        ------
        TrainingError : some were pretrained on, so that a test on them would be none.
        """
        start, volumes = self.initialisation(cell.initialisation), self.studies(cell.task).volumes
        if not start.pretrained:
            return "no training" if start.fixed else "random weights, pretrained on nobody"
        if start.trained_on is None:
            return "not compared, since the weights come without a list of what they were pretrained on"
        rows = volumes[_held_out(splits)].ravel()
        seen = seen_before(start.trained_on, self.cache.table, rows[rows >= 0])
        if seen.patients or seen.images:
            whom = f", the first is '{seen.patients[0]}'" if seen.patients else ""
            raise TrainingError(
                f"{start.name} ({start.title}) was pretrained on {len(seen.patients)} of the patients and on "
                f"{seen.images} of the images that are to test it{whom}; give these patients the role pretrain or "
                "train in the manifest, or take an encoder that has not seen them."
            )
        return f"compared by {seen.compared}: none of the test cases was pretrained on"

    @functools.cache  # noqa: B019
    def test_volumes(self, cell: Cell) -> np.ndarray:
        """int64 (n,), rows of the cache that are held out of some training of any task of the grid, for the seed of
        ``cell``: of its one split, or of one of its folds."""
        rows = [np.empty(0, np.int64)]
        asked = {one.task for one in read_grid(self.runs)} | {cell.task}
        for name in (name for name in TASKS if name in asked):
            try:
                data = self.studies(name)
                share = load_recipe(self.plan.recipes[cell.mode], name)
                splits = self.splits(
                    Cell(name, "Scratch", 1.0, cell.seed), share.hold_out_share, share.validation_share
                )
            except TrainingError:  # the data are not for this task
                continue
            rows.append(data.volumes[_held_out(splits)].ravel())
        return np.unique(np.concatenate(rows)[np.concatenate(rows) >= 0])


def _held_out(splits: list[pd.Series]) -> np.ndarray:
    """bool (studies,), whether a study tests the training of some split column."""
    return np.any([split.isin(HELD_OUT) for split in splits], axis=0)


def with_truth(studies_: Studies, split: pd.Series, *names: str) -> np.ndarray:
    """Row numbers of the studies in the named splits whose truth is known."""
    return np.flatnonzero(split.isin(names) & studies_.table["target"].notna())
