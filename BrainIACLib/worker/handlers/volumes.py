"""Volumes of brain structures of a scan of the study."""

from __future__ import annotations

import dataclasses
import typing
from typing import Any

from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.checkpoints.installed import find_model
from BrainIACLib.errors import ModelError
from BrainIACLib.job import Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.scans import write_image
from BrainIACLib.structures import LOOSE
from BrainIACLib.trust.assessment import sequence_doubt
from BrainIACLib.worker.answering import answer
from BrainIACLib.worker.requests import MeasureVolumes
from BrainIACLib.worker.scan_files import on_grid
from BrainIACLib.worker.session import Session

if typing.TYPE_CHECKING:
    from BrainIACLib.volumes.measurement import Measurement


@answer.register
def measure(request: MeasureVolumes, session: Session, job: Job) -> dict[str, Any]:
    """The measurement, and its files where they were asked for."""
    from BrainIACLib.reports.volume_files import write_volumes

    def on(predictor: Predictor) -> Measurement:
        found = predictor.volumes(request.scan, request.age)
        about_scan = predictor.study.scans[request.scan].warnings
        warnings = (*about_scan, *found.warnings, *other_sequence(predictor, request.scan, "T1"))
        return dataclasses.replace(found, warnings=tuple(dict.fromkeys(warnings)))

    found = session.with_study(on, job)
    result = None if request.folder is None else write_volumes(found, request.folder)
    labels = session.new_file("structures.mha") if request.labels else None
    if labels is not None:
        write_image(on_grid(found.labels, session.grid(request.scan)), labels)
    files = {"result": result and str(result), "labels": labels and str(labels)}
    return {**found.to_json(), "loose": list(LOOSE), **files, "note": session.note}


def other_sequence(predictor: Predictor, scan: str, expected: str) -> list[str]:
    """A doubt where the bundled sequence model is sure that the scan is not of the sequence that is expected."""
    try:
        answered = predictor.predict(SEQUENCE_TASK, scan)
        head = find_model(SEQUENCE_TASK, predictor.models_folder).contract.head
    except ModelError as error:  # the check must not cost the answer
        return [f"The sequence of the scan could not be checked: {error}"]
    gate = head.confidence_gate if head else None
    return [doubt.text for doubt in sequence_doubt(expected, answered.label, answered.confidence or 0.0, gate)]
