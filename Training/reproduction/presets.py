"""How large a reproduction is: ``ci`` shows that it runs, ``small`` fits two CPU cores, ``full`` wants a GPU."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass

from Training.cohorts.synthetic import SyntheticCohort
from Training.downstream.perturbations import FEW_LEVELS, SWEEPS
from Training.downstream.run_saliency import PICTURES
from Training.runs.cell import ANATOMY, FRACTIONS, INITIALISATIONS, PAPER, PROBED_ONLY, VARIANTS, VOLUMES, Cell
from Training.ssl.config import Hardware, Monitoring, Network, Optimisation, Pretraining, read_config
from Training.tasks import AGE, SEQUENCE, TASKS

ALL_TASKS = tuple(TASKS)


@dataclass(frozen=True)
class Preset:
    """``cells`` : mode -> task -> fractions. ``recipes`` : mode -> recipe.

    ``stability`` : perturbation -> levels; of the initializations ``few_levels`` a few of them, of ``unswept`` none
    (``downstream.plan``). ``tuned`` : the initializations whose whole networks are trained.
    """

    cohort: SyntheticCohort
    pretraining: Pretraining
    cells: Mapping[str, Mapping[str, tuple[float, ...]]]
    recipes: Mapping[str, str]
    stability: Mapping[str, tuple[float, ...]]
    few_levels: tuple[str, ...] = ()
    unswept: tuple[str, ...] = ()
    tuned: tuple[str, ...] = tuple(name for name in INITIALISATIONS if name not in PROBED_ONLY)
    seeds: tuple[int, ...] = (0, 1, 2)
    resamples: int = 2000  # of the bootstrap
    saliency_patients: int = 20
    real_scans: bool = False  # on real data, pretrain also on the persons on whom no line is tested

    def wanted(self, initialisations: list[str], tasks: tuple[str, ...] = ALL_TASKS) -> list[Cell]:
        """The cells of the grid for the initializations that there are."""
        return [
            Cell(task, initialisation, fraction, seed, mode)
            for mode, of_task in self.cells.items()
            for task, fractions in of_task.items()
            if task in tasks
            for seed in self.seeds
            for initialisation in initialisations
            if mode == "probe" or initialisation in self.tuned
            for fraction in fractions
        ]

    @property
    def pretrainings(self) -> dict[str, Pretraining]:
        """Initialization -> own pretraining: "BrainIAC" with the paper's views, and the same with other views."""
        base = self.pretraining
        other = {
            "BetterViews": {"crop_probability": 0.0, "zoom": (1.0, 1.0)},  # what helped in ssl/EVIDENCE.md
            "TwoContrasts": {"other_contrast_probability": 0.75},
        }
        names = {"BetterViews": "better-views", "TwoContrasts": "two-contrasts"}
        variants = {
            name: dataclasses.replace(
                base, name=f"{base.name}-{names[name]}", views=dataclasses.replace(base.views, **other[name])
            )
            for name in VARIANTS
        }
        return {PAPER[0]: base, **variants}


def _pretraining(name: str, network: Network, epochs: int, batch: int, rate: float, hardware: Hardware) -> Pretraining:
    return Pretraining(
        name=name,
        network=network,
        optimisation=Optimisation(epochs=epochs, batch_size=batch, learning_rate=rate, warmup_epochs=1),
        monitoring=Monitoring(every=10_000, checkpoint_every=200),
        hardware=hardware,
    )


CPU = Hardware(accelerator="cpu", precision="32-true")
SMALL_NET = Network("resnet10", 0.25, "gap", projector_hidden=256, projector_size=64)
_SMALL_COHORT = SyntheticCohort(
    **{"pretrain": 60, "train": 100, "test": 50, "external": 40, "size": (40, 48, 38)},
    **{"training_maps": 3, "test_maps": 2, "external_maps": 2},
)
PRESETS = {
    "ci": Preset(
        cohort=SyntheticCohort(pretrain=4, train=12, test=6, training_maps=1, test_maps=0, size=(32, 38, 30)),
        pretraining=_pretraining("own-ci-simclr", SMALL_NET, epochs=2, batch=8, rate=1e-3, hardware=CPU),
        cells={"probe": {task: (1.0,) for task in ALL_TASKS}, "finetune": {SEQUENCE.name: (1.0,)}},
        recipes={"probe": "ci", "finetune": "ci"},
        stability={"contrast": (0.5, 1.0), "gibbs": (0.0, 0.4), "bias_field": (0.0, 0.4)},
        seeds=(0,),
        resamples=200,
        saliency_patients=2,
    ),
    "small": Preset(
        cohort=_SMALL_COHORT,
        pretraining=_pretraining("own-small-simclr", SMALL_NET, epochs=10, batch=32, rate=1e-3, hardware=CPU),
        cells={
            "probe": dict.fromkeys(ALL_TASKS, FRACTIONS),
            "finetune": {SEQUENCE.name: (0.1, 1.0), AGE.name: (1.0,)},
        },
        recipes={"probe": "probe", "finetune": "small"},
        stability=FEW_LEVELS,
    ),
    "frozen": Preset(
        cohort=_SMALL_COHORT,
        pretraining=_pretraining("own-small-simclr", SMALL_NET, epochs=10, batch=32, rate=1e-3, hardware=CPU),
        cells={"probe": dict.fromkeys(ALL_TASKS, FRACTIONS)},
        recipes={"probe": "exact", "finetune": "small"},
        stability={},
        saliency_patients=0,
    ),
    "tuned": Preset(
        cohort=_SMALL_COHORT,
        pretraining=_pretraining("own-small-simclr", SMALL_NET, epochs=10, batch=32, rate=1e-3, hardware=CPU),
        cells={
            "probe": dict.fromkeys(ALL_TASKS, (0.1, 1.0)),
            "finetune": {SEQUENCE.name: (1.0,), AGE.name: (0.1, 1.0)},
        },
        recipes={"probe": "exact", "finetune": "small"},
        stability={sweep.name: sweep.levels for sweep in SWEEPS[:3]},
        few_levels=tuple(name for name in INITIALISATIONS if name not in (*PAPER, *VARIANTS)),
        unswept=(ANATOMY, VOLUMES),  # half a second a scan and level
        tuned=(*PAPER, *VARIANTS),
        saliency_patients=PICTURES,
    ),
    "night": Preset(
        cohort=SyntheticCohort(
            **{"pretrain": 600, "train": 100, "test": 50, "external": 50, "size": (66, 78, 63)},
            **{"training_maps": 12, "test_maps": 2, "external_maps": 2},
        ),
        pretraining=read_config("night"),
        cells={"probe": dict.fromkeys(ALL_TASKS, FRACTIONS)},
        recipes={"probe": "exact", "finetune": "small"},
        stability={sweep.name: sweep.levels for sweep in SWEEPS[:3]},
        real_scans=True,
    ),
    "full": Preset(
        cohort=SyntheticCohort(
            **{"pretrain": 2000, "train": 1000, "test": 300, "external": 300, "size": (96, 112, 92)},
            **{"training_maps": 12, "test_maps": 2, "external_maps": 2},
        ),
        pretraining=_pretraining(
            "own-full-simclr", Network(), epochs=200, batch=32, rate=1e-4, hardware=Hardware(accelerator="auto")
        ),
        cells={"probe": dict.fromkeys(ALL_TASKS, FRACTIONS), "finetune": dict.fromkeys(ALL_TASKS, FRACTIONS)},
        recipes={"probe": "probe", "finetune": "paper"},
        stability={sweep.name: sweep.levels for sweep in SWEEPS},
    ),
}
