"""A whole study: from its files to a report."""

from __future__ import annotations

from typing import Any

from BrainIACLib.job import Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.worker.answering import answer
from BrainIACLib.worker.device import pick_device
from BrainIACLib.worker.requests import AnalyzeStudy
from BrainIACLib.worker.session import Session


@answer.register
def analyze_study(request: AnalyzeStudy, session: Session, job: Job) -> dict[str, Any]:
    """The report, the DICOM objects and the document."""
    from BrainIACLib.dicom_objects.files import check_highdicom, object_files
    from BrainIACLib.studies.analysis import StudyOptions
    from BrainIACLib.studies.running import ReportedStudy, report_study

    options = StudyOptions(
        study=request.study,
        use=request.use,
        tasks=request.tasks,
        samples=request.samples,
        age_years=request.age_years,
        identity=request.identity,
        label=request.label,
        notes=request.notes,
        preprocessing=request.options,
    )

    if request.dicom:
        check_highdicom()  # before the minutes of analysis
    more_files = object_files if request.dicom else None

    def on(device: str) -> ReportedStudy:
        predictor = Predictor(device, session.models)
        return report_study(request.paths, request.out, predictor, options, more_files, job)

    done = session.on_device(pick_device(request.device).name, on)
    return {
        "report": str(done.page),
        "objects": [str(path) for path in done.more],
        "document": done.document.to_json(),
    }
