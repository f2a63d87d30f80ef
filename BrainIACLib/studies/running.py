"""From files to the folder of a report: what the worker does for one study, and what a batch calls."""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.studies.analysis import AnalyzedStudy, StudyOptions, analyze_open_study
from BrainIACLib.studies.document import Finding, StudyDocument
from BrainIACLib.studies.opening import open_study
from BrainIACLib.studies.report import write_report


@dataclass(frozen=True)
class ReportedStudy:
    """The document, the path of the page, and the paths of the DICOM objects if they were asked for."""

    document: StudyDocument
    page: Path
    objects: tuple[Path, ...]


def report_study(
    paths: Sequence[Path],
    out: Path,
    predictor: Predictor,
    options: StudyOptions | None = None,
    dicom: bool = False,
    job: Job = UNATTENDED,
) -> ReportedStudy:
    """Analyze the study in ``paths`` and publish its report in the folder ``out``.

    Parameters
    ----------
    dicom : also make DICOM objects (needs the extra ``dicom``); they hold the identity of the person.

    Raises
    ------
    BrainIACError : nothing can be read, ``out`` cannot be written or holds another study, the extra is not installed.
    """
    options = options or StudyOptions()
    if dicom:
        check_objects_can_be_made()
    with open_study(paths, options.study, job.part(0.0, 0.05)) as study:
        analyzed = analyze_open_study(study, predictor, options, job.part(0.0, 0.9))
        more: dict[str, bytes] = {}
        if dicom:
            analyzed, more = _with_objects(analyzed, job.part(0.9, 0.97))
    job.report("writing", 0.97)
    page = write_report(analyzed, out, more)
    return ReportedStudy(analyzed.document, page, tuple(out / name for name in more))


def check_objects_can_be_made() -> None:
    """Raises BrainIACError where the extra ``dicom`` is not installed."""
    try:
        import highdicom  # noqa: F401
    except ImportError:
        raise BrainIACError(
            "DICOM objects need the package highdicom, which is not installed; install it with "
            "'pip install highdicom' or leave --dicom out."
        ) from None


def _with_objects(analyzed: AnalyzedStudy, job: Job) -> tuple[AnalyzedStudy, dict[str, bytes]]:
    """The objects as files; a study without any that can have them gets a note."""
    from BrainIACLib.dicom_objects import make_objects

    try:
        made = make_objects(analyzed, job)
    except BrainIACError as error:
        return _noted(analyzed, (str(error),)), {}
    more = {}
    for name, dataset in made.objects.items():
        stream = io.BytesIO()
        dataset.save_as(stream, enforce_file_format=True)
        more[name] = stream.getvalue()
    return _noted(analyzed, made.notes), more


def _noted(analyzed: AnalyzedStudy, notes: Sequence[str]) -> AnalyzedStudy:
    findings = (*analyzed.document.findings, *(Finding(note, (), "note") for note in notes))
    return dataclasses.replace(analyzed, document=dataclasses.replace(analyzed.document, findings=findings))
