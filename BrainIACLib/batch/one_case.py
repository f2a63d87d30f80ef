"""One case: read, prepared, embedded, answered, and published as one set of BIDS derivatives.

What changed decides what is computed: another scan or preprocessing computes all of it, another head or encoder takes
the prepared brain from its files, and where nothing changed, nothing is computed.
"""

from __future__ import annotations

import json
import time
from pathlib import Path

import SimpleITK as sitk

from BrainIACLib import RESEARCH_USE_ONLY
from BrainIACLib.batch.cases import BatchCase, known_age
from BrainIACLib.batch.derivatives import doubts_in, found_by, quality_of, write_derivatives
from BrainIACLib.batch.layout import Names
from BrainIACLib.batch.settings import Settings
from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.embeddings.image_measures import measures_of
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.predictions import Explanation
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.standardised import Standardised, StepRecord
from BrainIACLib.publishing import publishing_set, recover_sets, write_text
from BrainIACLib.scans import Scan, read_scan, write_image


class CaseWorker:
    """Keeps the models warm between the cases of one process.

    Parameters
    ----------
    out : folder of the derivatives.
    """

    def __init__(self, out: Path, settings: Settings):
        self._out, self._settings = out, settings
        self._predictor = Predictor(settings.device, settings.folders)
        self._models = settings.models()
        self._encoder = find_encoder(settings.folders, settings.encoder).contract
        self._prepared_by = settings.prepared_by()

    def process(self, case: BatchCase, job: Job = UNATTENDED) -> dict[str, object]:
        """Publish the results of a case; what the index says of it (plain texts and numbers).

        Raises
        ------
        BrainIACError : why there are none.
        """
        began = time.monotonic()
        names = Names(case, self._settings.tasks if self._settings.saliency else ())
        folder = self._out / case.folder
        recover_sets(folder)
        scan = read_scan(case.path)
        prepared_key = f"{scan.identity} {self._prepared_by}"
        known = _prepared(folder, names, prepared_key, scan)
        if known is None:
            standardised = self._predictor.set_study({"scan": scan}, self._settings.preprocessing, job)["scan"]
        else:
            standardised = known
            self._predictor.set_prepared({"scan": scan}, {"scan": known}, self._settings.preprocessing)
        vector, _ = self._predictor.embed("scan", self._settings.encoder)
        answers = {}
        for task, model in self._models.items():
            answers[task] = self._predictor.predict(
                task, "scan", model_id=model.contract.id, age_years=known_age(case.facts)
            )
        warnings = self._predictor.study.warnings_of("scan")
        facts: dict[str, object] = {
            "identity": scan.identity,
            "format": scan.format,
            "warnings": " ".join(warnings),
            "doubts": doubts_in(answers.values(), warnings),
            "model": self._encoder.id,
            "encoder_sha256": self._encoder.encoder.sha256,
            "preprocessing_sha256": self._prepared_by,
            **quality_of(standardised),
            **measures_of(standardised),
        }
        for task, answer in answers.items():
            facts |= found_by(task, answer)
        document = {
            "scan": case.facts["scan"],
            "notice": RESEARCH_USE_ONLY,
            "prepared_key": prepared_key,
            "facts": facts,
            "record": [vars(step) for step in standardised.record],
            "predictions": {task: answer.to_json() for task, answer in answers.items()},
        }
        former = [name for name in names.maps_in(folder) if name not in names.all]  # of tasks that are not asked now
        with publishing_set(folder, [*former, *names.all]) as staging:
            write_derivatives(staging, names, case, standardised, vector)
            for task, path in names.saliency.items():
                explained = self._explain(task, answers[task].label, job)
                write_image(explained.map, staging / path)
            write_text(json.dumps(document, indent=1) + "\n", staging / names.document)
        return {**facts, "seconds": round(time.monotonic() - began, 3), "prepared_anew": known is None}

    def _explain(self, task: str, label: str, job: Job) -> Explanation:
        model_id, samples = self._models[task].contract.id, self._settings.samples
        return self._predictor.explain(task, "scan", label, model_id=model_id, samples=samples, job=job)


def _prepared(folder: Path, names: Names, key: str, scan: Scan) -> Standardised | None:
    """The brain as it was prepared before, if it was of this scan and by this preprocessing."""
    try:
        document = json.loads((folder / names.document).read_text(encoding="utf-8"))
        if document["prepared_key"] != key:
            return None
        image, mask, native_mask = (
            sitk.ReadImage(str(folder / name)) for name in (names.brain, names.mask, names.native_mask)
        )
        transform = sitk.Euler3DTransform(sitk.ReadTransform(str(folder / names.transform)))
        record = tuple(StepRecord(**{**step, "warnings": tuple(step["warnings"])}) for step in document["record"])
    except (OSError, ValueError, LookupError, TypeError, RuntimeError):
        return None
    return Standardised(scan.image, image, mask, native_mask, transform, record)
