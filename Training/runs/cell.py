"""One training of the grid, and what its folder is called."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from BrainIACLib.errors import ResultsError
from Training.tasks import TASKS

PAPER = ("BrainIAC", "MedicalNet", "Scratch")
"""The paper's three initializations (PROTOCOL P-13)."""
VARIANTS = ("BetterViews", "TwoContrasts")
"""Own pretrainings that differ from the one called BrainIAC in their views alone."""
BRAINSEGFOUNDER = "BrainSegFounder"
"""Another group's encoder of brain MRI, which is no line of the paper's; only if its file is given."""
BUNDLED, ANATOMY, VOLUMES = "Bundled", "Anatomy", "Volumes"
"""The shipped sequence encoder; the shipped anatomy encoder; the volumes of structures alone that the latter gives."""
CONSTANT = "Constant"
TRIVIAL = ("Blocks", "Histogram", CONSTANT)
INITIALISATIONS = (PAPER[0], *VARIANTS, *PAPER[1:], BRAINSEGFOUNDER, BUNDLED, ANATOMY, VOLUMES, *TRIVIAL)
"""In the order of tables and figures: beside the paper's, other views, other encoders and untrained features."""
PROBED_ONLY = (ANATOMY, VOLUMES, *TRIVIAL)
"""Never tuned: volumes, and features without weights, have nothing to tune; the anatomy network would cost days."""
UNTRAINED = ("Scratch", *TRIVIAL)
FRACTIONS = (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)
MODES = ("finetune", "probe")
SPLITS = ("train", "validation", "test", "external")
HELD_OUT = ("test", "external")
SET_NAMES = {"test": "internal", "external": "external"}
"""As figures, tables and messages call them."""

CELL_NAME = re.compile(r"^(?P<task>[a-z_]+)-(?P<init>[A-Za-z]+)-(?P<percent>\d{3})-seed(?P<seed>\d+)-(?P<mode>[a-z]+)$")


@dataclass(frozen=True, order=True)
class Cell:
    """One training of the grid: P-13 (initializations) times P-14 (fractions) times the tasks of P-24 to P-41.

    >>> Cell("sequence", "BrainIAC", 0.1).name
    'sequence-BrainIAC-010-seed0-finetune'
    >>> Cell.parse("age-Scratch-100-seed3-probe")
    Cell(task='age', initialisation='Scratch', fraction=1.0, seed=3, mode='probe')
    """

    task: str
    initialisation: str
    fraction: float
    seed: int = 0
    mode: str = "finetune"

    def __post_init__(self) -> None:
        for value, allowed in ((self.task, TASKS), (self.initialisation, INITIALISATIONS), (self.mode, MODES)):
            if value not in allowed:
                raise ResultsError(f"a run cannot be '{value}': it must be one of {', '.join(allowed)}")
        if not 0 < self.fraction <= 1 or abs(self.fraction * 100 - round(self.fraction * 100)) > 1e-9:
            raise ResultsError(f"a training fraction must be a whole percentage of 1 to 100 %, not {self.fraction}")

    @property
    def name(self) -> str:
        """The folder's name."""
        return f"{self.task}-{self.initialisation}-{round(self.fraction * 100):03d}-seed{self.seed}-{self.mode}"

    @classmethod
    def parse(cls, name: str) -> Cell:
        """The cell of a folder's name; ResultsError if it is none."""
        match = CELL_NAME.match(name)
        if match is None:
            raise ResultsError(f"'{name}' is not the name of a run, such as sequence-BrainIAC-010-seed0-finetune")
        return cls(match["task"], match["init"], int(match["percent"]) / 100, int(match["seed"]), match["mode"])


def paper_grid(seeds: Iterable[int] = (0,), modes: Iterable[str] = ("finetune",)) -> list[Cell]:
    """All 72 cells of the paper (4 tasks, 3 initializations, 6 fractions) for each seed and mode."""
    return [
        Cell(task, initialisation, fraction, seed, mode)
        for mode in modes
        for seed in seeds
        for task in TASKS
        for initialisation in PAPER
        for fraction in FRACTIONS
    ]


def percent(fraction: float) -> str:
    """A share of the training data as text: ``0.1`` as ``10 %``."""
    return f"{round(fraction * 100)} %"
