"""What to do with every scan of a cohort, and what its results depend on."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import BrainIACLib
from BrainIACLib.checkpoints.installed import InstalledModel, SeveralModels, find_encoder, find_model, installed_models
from BrainIACLib.checkpoints.store import model_folders
from BrainIACLib.contracts import EMBEDDING_TASK
from BrainIACLib.embeddings.key import preprocessing_sha256
from BrainIACLib.errors import BrainIACError, ModelError
from BrainIACLib.preprocessing.options import PreprocessingOptions


@dataclass(frozen=True)
class Settings:
    """``tasks`` of which each takes one scan; ``saliency``: also a map for each task.

    ``studies``: the cases are studies of several scans, and ``tasks`` may take several; none named asks all.
    ``answered_by``: task -> id of its model, where the cases are scans; a task that is not named must have a clear one.
    """

    tasks: tuple[str, ...] = ("sequence",)
    studies: bool = False
    saliency: bool = False
    samples: int = 10  # of each map
    preprocessing: PreprocessingOptions = field(default_factory=PreprocessingOptions)
    device: str = "auto"
    models_dir: str | None = None
    encoder: str | None = None  # id of the model whose encoder embeds
    answered_by: dict[str, str] = field(default_factory=dict)

    @property
    def folders(self) -> list[Path]:
        """Where the models lie."""
        return model_folders(Path(self.models_dir) if self.models_dir else None)

    def models(self) -> dict[str, InstalledModel]:
        """task -> the model that answers it.

        Raises
        ------
        BrainIACError : no model for a task, or one that takes several scans of a person where the cases are scans.
        """
        found = {}
        tasks = self.tasks
        if self.studies and not tasks:
            tasks = tuple(sorted({model.task for model in installed_models(self.folders)} - {EMBEDDING_TASK}))
        for task in tasks:
            model = self._model(task)
            if not self.studies and (model.contract.head is None or len(model.contract.head.slots) > 1):
                raise BrainIACError(
                    f"The task '{task}' needs several scans of one person: answer it by study.", "--studies"
                )
            found[task] = model
        return found

    def _model(self, task: str) -> InstalledModel:
        try:
            return find_model(task, self.folders, self.answered_by.get(task))
        except SeveralModels as error:  # no option of a batch names one for each task
            ids = ", ".join(error.ids)
            raise ModelError(
                f"Several models for the task '{task}' are installed ({ids}); a batch needs one: remove the others.",
                "brainiac models remove ID",
            ) from None

    def prepared_by(self) -> str:
        """Of everything that a preprocessed brain and an embedding depend on but the scan: the key of ``embed``."""
        encoder = find_encoder(self.folders, self.encoder).contract.encoder
        return preprocessing_sha256(self.preprocessing, encoder)

    def key(self) -> str:
        """Of everything that a case's files depend on but its scan."""
        models = {
            task: (model.contract.id, model.contract.encoder.sha256, model.contract.head.sha256)
            for task, model in self.models().items()
            if model.contract.head is not None
        }
        encoder = find_encoder(self.folders, self.encoder).contract
        facts = {
            "prepared_by": self.prepared_by(),
            "encoder": encoder.encoder.sha256,
            "models": models,
            "saliency": self.samples if self.saliency else None,
        }
        if self.studies:
            facts["studies"] = BrainIACLib.__version__  # whose rules name the series of a study and choose among them
        return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()

    def to_json(self) -> dict[str, Any]:
        """Plain values."""
        return dataclasses.asdict(self)


def settings_from_json(document: dict[str, Any]) -> Settings:
    """What ``Settings.to_json`` gave."""
    preprocessing = PreprocessingOptions(**document["preprocessing"])
    return Settings(**{**document, "tasks": tuple(document["tasks"]), "preprocessing": preprocessing})
