"""The own pretrainings of a reproduction: on patients, simulated or real, that test nothing; resumable, watched."""

from __future__ import annotations

import dataclasses
import logging
import warnings
from pathlib import Path

from BrainIACLib.errors import TrainingError
from Training.cohorts.synthetic import SyntheticCohort, draw_cohort
from Training.data.cache import Cache
from Training.reproduction.presets import Preset
from Training.reproduction.pretraining_volumes import with_real_scans
from Training.runs.cell import PAPER, VARIANTS
from Training.ssl.config import Pretraining

PATIENTS, VOLUMES = "pretraining-patients", "pretraining-volumes"


def only_for_pretraining(cohort: SyntheticCohort) -> SyntheticCohort:
    """The patients of the cohort that are pretrained on, and nobody else: what a comparison on real scans needs."""
    nobody = {"train": 0, "test": 0, "external": 0, "test_maps": 0, "external_maps": 0}
    return dataclasses.replace(cohort, **nobody)


def pretraining_folders(work: Path, first: Path | None, variants: list[str]) -> dict[str, Path]:
    """Initialization -> the folder of its pretraining; that of "BrainIAC" is ``first`` where one is given."""
    folders = {name: work / f"pretraining-{name}" for name in VARIANTS if name in variants}
    return {PAPER[0]: first or work / "pretraining", **folders}


def finished_model(folder: Path, settings: Pretraining) -> Path | None:
    """The model folder of a pretraining that has done all its steps; None where there are steps left.

    Raises
    ------
    TrainingError : the folder holds a pretraining with other settings, or a damaged one.
    """
    from Training.ssl.callbacks import CHECKPOINT
    from Training.ssl.config import refuse_other_settings
    from Training.ssl.pretrain import read_checkpoint

    if not (folder / CHECKPOINT).is_file():
        return None
    stored = read_checkpoint(folder / CHECKPOINT)
    refuse_other_settings(stored["config"], settings, 1, stored["processes"])
    joined = stored["config"]["optimisation"]["batch_size"] * stored["processes"]
    steps = stored["rows"] // joined * stored["config"]["optimisation"]["epochs"]
    return folder / "last" if stored["step"] >= steps else None


def refuse_no_pretraining(folder: Path) -> None:
    """Raise TrainingError if nothing was ever pretrained in the folder, which was given as one to go on with."""
    from Training.ssl.callbacks import CHECKPOINT

    if not (folder / CHECKPOINT).is_file():
        raise TrainingError(
            f"'{folder}' holds no pretraining to go on with (no {CHECKPOINT}); give the folder that a reproduction or "
            "'python -m Training pretrain' wrote, or leave --pretraining out to begin one."
        )


def own_pretraining(settings: Pretraining, cache: Path, folder: Path) -> Path:
    """Pretrain, or go on with what lies in ``folder``, to the end; the model folder. Its monitors are drawn beside it.

    Raises
    ------
    KeyboardInterrupt : a signal asked for it; what was done is saved.
    TrainingError : as ``Training.ssl.pretrain.pretrain``.
    """
    from Training.ssl.callbacks import Stopped
    from Training.ssl.monitor_curves import draw_monitors
    from Training.ssl.pretrain import pretrain

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # it advertises
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    try:
        pretrain(settings, Cache(cache, verify=False), folder)
    except Stopped:  # a signal, acted on when the step was done and saved
        draw_monitors(folder)
        raise KeyboardInterrupt from None
    draw_monitors(folder)
    return folder / "last"


@dataclasses.dataclass(frozen=True)
class OwnPretrainings:
    """``settings`` : initialization -> what it is pretrained with; ``folders`` : where; ``patients`` : on whom."""

    settings: dict[str, Pretraining]
    folders: dict[str, Path]
    patients: SyntheticCohort

    @classmethod
    def of(
        cls, preset: Preset, work: Path, first: Path | None, variants: list[str], whole_cohort: bool
    ) -> OwnPretrainings:
        """Of a preset.

        Parameters
        ----------
        first : folder of a pretraining that is there already.
        whole_cohort : the simulated patients are also trained on and tested, so that all of them are drawn.
        """
        patients = preset.cohort if whole_cohort else only_for_pretraining(preset.cohort)
        folders = pretraining_folders(work, first, variants)
        return cls({name: preset.pretrainings[name] for name in folders}, folders, patients)

    def unfinished(self) -> list[str]:
        """The initializations whose pretraining has steps left."""
        return [name for name, folder in self.folders.items() if finished_model(folder, self.settings[name]) is None]

    def models(
        self, labelmaps: Path, work: Path, prepared: Path, processes: int, real: Path | None = None
    ) -> dict[str, Path]:
        """Initialization -> model folder; patients are drawn and networks trained as far as they are not yet.

        Parameters
        ----------
        real : cache of real scans; who has the role train in it is pretrained on as well. None: simulated ones alone.
        """
        left = self.unfinished()
        if left:
            whole = self.patients.train > 0
            place = work / "synthetic" if whole else self.folders[PAPER[0]].parent / PATIENTS
            cache = draw_cohort(self.patients, labelmaps, place, prepared, processes)
            if real is not None:
                cache = with_real_scans(cache, real, place.with_name(VOLUMES))
            for name in left:
                own_pretraining(self.settings[name], cache, self.folders[name])
        return {name: folder / "last" for name, folder in self.folders.items()}
