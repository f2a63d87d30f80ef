"""One study from files to answers: every series named, the best taken, all tasks asked whose slots are filled.

``analyze_study`` is what the command line, the worker, the node and a batch call.
"""

from __future__ import annotations

import dataclasses
import datetime
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import SimpleITK as sitk

from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.predictions import Explanation
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.provenance import versions
from BrainIACLib.scans import Scan
from BrainIACLib.studies.agreement import undecided
from BrainIACLib.studies.answering import ask_all
from BrainIACLib.studies.choice import Candidate, choose
from BrainIACLib.studies.document import SCHEMA_VERSION, Finding, Person, SeriesRow, Slot, StudyDocument
from BrainIACLib.studies.enhancement import LEAST_SHARE, enhanced_share
from BrainIACLib.studies.geometry import geometry_findings
from BrainIACLib.studies.identity import Identity
from BrainIACLib.studies.naming import NamedSeries, name_series
from BrainIACLib.studies.opening import OpenStudy, open_study
from BrainIACLib.studies.series import FoundSeries

DEFAULT = PreprocessingOptions()


@dataclass(frozen=True)
class StudyOptions:
    """What a person can choose about a study.

    Attributes
    ----------
    study : which study, where there are several in the folder (pseudonym or UID).
    use : slot -> key of the series to use for it.
    tasks : only these; all that can be answered if empty.
    samples : noise samples of each saliency map; 0 for no maps.
    age_years : at the scan; from the header if None.
    identity : put names, dates and descriptions into the report, the JSON and the table.
    label : what the caller calls these files; kept in the document. notes : sentences on how they came.
    """

    study: str | None = None
    use: Mapping[str, str] = field(default_factory=dict)
    tasks: tuple[str, ...] = ()
    samples: int = 10
    age_years: float | None = None
    identity: bool = False
    label: str = ""
    notes: tuple[str, ...] = ()
    preprocessing: PreprocessingOptions = DEFAULT


@dataclass(frozen=True)
class AnalyzedStudy:
    """The document, and the images behind it for pictures and DICOM objects. Keys are those of the series.

    ``maps``: task -> slot -> saliency on the scan's own grid. ``identity`` is for DICOM objects alone.
    """

    document: StudyDocument
    identity: Identity
    found: Mapping[str, FoundSeries]
    scans: Mapping[str, Scan]
    prepared: Mapping[str, Standardised]
    maps: Mapping[str, Mapping[str, Explanation]]


def analyze_study(
    paths: Sequence[Path],
    predictor: Predictor,
    options: StudyOptions | None = None,
    job: Job = UNATTENDED,
) -> AnalyzedStudy:
    """Analyze the study in ``paths`` (one folder or zip, or files of one person).

    Raises
    ------
    BrainIACError : nothing there can be read, or an option names what is not there. A series that cannot be used is
        no error: it is set aside with its reason.
    """
    with open_study(paths, (options or StudyOptions()).study, job.part(0.0, 0.1)) as study:
        return analyze_open_study(study, predictor, options, job)


def analyze_open_study(
    study: OpenStudy, predictor: Predictor, options: StudyOptions | None = None, job: Job = UNATTENDED
) -> AnalyzedStudy:
    """``analyze_study`` of a study that is open, so that its files can be read afterwards."""
    options, clock = options or StudyOptions(), _Clock()
    named = name_series(study, predictor, options.preprocessing, set(options.use.values()), job.part(0.1, 0.7))
    clock.tick("series")
    choices = choose([_candidate(one, one.scan.image) for one in named if one.scan is not None], options.use)
    slots = {choice.slot: choice.series for choice in choices}
    prepared = {one.found.key: one.prepared for one in named if one.prepared is not None}
    age = options.age_years if options.age_years is not None else study.identity.age_years
    answered = ask_all(predictor, slots, options, age, job.part(0.7, 1.0))
    clock.tick("answers and maps")
    findings = [Finding(one.judgement.finding, (one.found.key,)) for one in named if one.judgement.finding]
    findings += _contrast_findings(slots, named, prepared)
    for one in named:
        if one.found.key not in slots.values() and (said := undecided(one.found.key, one.judgement, one.image)):
            findings.append(Finding(said, (one.found.key,), "note"))
    frames = {one.found.key: one.found.facts.frame_of_reference if one.found.facts else "" for one in named}
    findings += geometry_findings({key: prepared[key] for key in slots.values()}, frames)
    findings += [Finding(note, (), "note") for note in (*options.notes, *study.notes)]
    clock.tick("findings")
    document = StudyDocument(
        schema_version=SCHEMA_VERSION,
        study=study.identity.pseudonym,
        created=datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"),
        age_years=age,
        sex=study.identity.sex,
        findings=tuple(findings),
        answers=answered.answers,
        not_answered=answered.not_answered,
        slots=tuple(Slot(one.slot, one.series, one.why, one.others, one.by_person) for one in choices),
        series=tuple(_row(one, slots, options.identity) for one in named),
        versions=versions(),
        options={"samples": options.samples, "device": predictor.device, **dataclasses.asdict(options.preprocessing)},
        seconds=clock.seconds | _seconds_by_step(prepared),
        label=options.label,
        person=_person(study.identity) if options.identity else None,
    )
    return AnalyzedStudy(
        document,
        study.identity,
        {one.found.key: one.found for one in named},
        {one.found.key: one.scan for one in named if one.scan is not None},
        prepared,
        answered.maps,
    )


class _Clock:
    """Wall time of consecutive steps."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._last = time.perf_counter()

    def tick(self, step: str) -> None:
        now = time.perf_counter()
        self.seconds[step], self._last = round(now - self._last, 3), now


def _seconds_by_step(prepared: Mapping[str, Standardised]) -> dict[str, float]:
    """Wall time of each step of the preprocessing, over all series."""
    total: dict[str, float] = {}
    for one in prepared.values():
        for step in one.record:
            total[step.name] = round(total.get(step.name, 0.0) + step.seconds, 3)
    return {f"of these, {name}": seconds for name, seconds in total.items()}


def _candidate(one: NamedSeries, image: sitk.Image) -> Candidate:
    spacing = image.GetSpacing()
    return Candidate(
        key=one.found.key,
        name=one.judgement.name,
        relation=one.judgement.relation,
        spacing=spacing,
        extent=tuple(n * mm for n, mm in zip(image.GetSize(), spacing, strict=True)),
        derived=one.found.derived,
        repeats=one.found.repeats,
        warnings=len(one.warnings),
        time=one.found.facts.time if one.found.facts else "",
    )


def _row(one: NamedSeries, slots: Mapping[str, str], identity: bool) -> SeriesRow:
    found, header, image = one.found, one.found.header, one.image
    size, spacing = found.size or (), found.spacing or ()
    if one.scan is not None:
        size, spacing = one.scan.image.GetSize(), one.scan.image.GetSpacing()
    return SeriesRow(
        key=found.key,
        name=one.judgement.name,
        relation=one.judgement.relation,
        header_class=header.name if header else "",
        header_reason=header.reason if header else "",
        header_by_words=bool(header and header.by_words),
        image_class=image.name if image else "",
        image_confidence=image.confidence if image else None,
        set_aside=one.set_aside,
        used_as=tuple(slot for slot, key in slots.items() if key == found.key),
        derived=found.derived,
        size=tuple(size),
        spacing_mm=tuple(round(mm, 3) for mm in spacing),
        repeats=found.repeats,
        files=len(found.dicom.files) if found.dicom else 1,
        warnings=one.warnings,
        seconds=round(one.seconds, 3),
        description=found.description if identity else "",
    )


def _contrast_findings(
    slots: Mapping[str, str], named: Sequence[NamedSeries], prepared: Mapping[str, Standardised]
) -> list[Finding]:
    """A label of contrast agent that the images or the times do not bear out."""
    if "T1" not in slots or "T1CE" not in slots:
        return []
    before, after = slots["T1"], slots["T1CE"]
    findings = []
    share = enhanced_share(prepared[before], prepared[after])
    if share < LEAST_SHARE:
        text = (
            f"Series {after} is called contrast-enhanced, but is hardly brighter than series {before} anywhere "
            f"({100 * share:.2f}% of the brain): check whether contrast agent was given."
        )
        findings.append(Finding(text, (before, after)))
    facts = {one.found.key: one.found.facts for one in named}
    times = [known.time if (known := facts.get(key)) else "" for key in (before, after)]
    if all(times) and times[0] > times[1]:
        text = (
            f"Series {before} was acquired after the contrast-enhanced series {after} and is called T1 without "
            "contrast agent: it may be enhanced as well."
        )
        findings.append(Finding(text, (before, after)))
    return findings


def _person(identity: Identity) -> Person:
    return Person(
        name=identity.patient_name,
        id=identity.patient_id,
        birth_date=identity.birth_date,
        study_date=identity.study_date,
        accession_number=identity.accession_number,
    )
