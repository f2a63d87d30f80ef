"""From files to the folder of a report: what the worker does for one study, and what a batch can call."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.studies.analysis import AnalyzedStudy, StudyOptions, analyze_open_study
from BrainIACLib.studies.document import Finding, StudyDocument
from BrainIACLib.studies.opening import open_study
from BrainIACLib.studies.report import refuse_another, write_report

MoreFiles = Callable[[AnalyzedStudy, Job], tuple[dict[str, bytes], tuple[str, ...]]]
"""Makes further files of a study while its own are still open: name -> content, and sentences for the report."""


@dataclass(frozen=True)
class ReportedStudy:
    """The document, the path of the page, and the paths of the further files."""

    document: StudyDocument
    page: Path
    more: tuple[Path, ...]


def report_study(
    paths: Sequence[Path],
    out: Path,
    predictor: Predictor,
    options: StudyOptions | None = None,
    more_files: MoreFiles | None = None,
    job: Job = UNATTENDED,
    replace: bool = False,
) -> ReportedStudy:
    """Analyze the study in ``paths`` and publish its report in the folder ``out``.

    Parameters
    ----------
    more_files : what else is to be published with it, such as ``dicom_objects.files.object_files``.
    replace : the report of another study that ``out`` may hold.

    Raises
    ------
    BrainIACError : nothing can be read, or ``out`` cannot be written or holds another study.
    """
    options = options or StudyOptions()
    more: dict[str, bytes] = {}
    notes: tuple[str, ...] = ()
    with open_study(paths, options.study, job.part(0.0, 0.05)) as study:
        if not replace:
            refuse_another(study.identity.pseudonym, out)  # before the minutes of analysis
        analyzed = analyze_open_study(study, predictor, options, job.part(0.05, 0.9))
        if more_files is not None:
            more, notes = more_files(analyzed, job.part(0.9, 0.97))
    findings = (*analyzed.document.findings, *(Finding(note, (), "note") for note in notes))
    analyzed = dataclasses.replace(analyzed, document=dataclasses.replace(analyzed.document, findings=findings))
    job.report("writing", 0.97)
    page = write_report(analyzed, out, more, replace)
    return ReportedStudy(analyzed.document, page, tuple(out / name for name in more))
