"""Read, prepare and name every series that was not set aside: one after the other, each failure a reason of its own."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Sequence, Set
from dataclasses import dataclass

import SimpleITK as sitk

from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.checkpoints.installed import find_model
from BrainIACLib.errors import BrainIACError, Cancelled, ModelError
from BrainIACLib.job import Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.scans import Scan, read_scan
from BrainIACLib.scans.reading import explained, read_found_series
from BrainIACLib.scans.scan import Refused
from BrainIACLib.studies.agreement import ImageClass, Judgement, judge
from BrainIACLib.studies.opening import OpenStudy
from BrainIACLib.studies.series import FoundSeries


@dataclass(frozen=True)
class NamedSeries:
    """A series with its names; ``scan`` and ``prepared`` are None where it was set aside."""

    found: FoundSeries
    judgement: Judgement
    image: ImageClass | None = None
    scan: Scan | None = None
    prepared: Standardised | None = None
    warnings: tuple[str, ...] = ()
    set_aside: str = ""
    seconds: float = 0.0


def name_series(
    study: OpenStudy, predictor: Predictor, options: PreprocessingOptions, wanted: Set[str], job: Job
) -> list[NamedSeries]:
    """Every series of the study, in its order; ``predictor`` keeps the prepared ones as its study, by key.

    Parameters
    ----------
    wanted : keys that a person chose; they are read whatever their header says.
    """
    scans: dict[str, Scan] = {}
    named: list[NamedSeries] = []
    for number, found in enumerate(study.series):
        part = job.part(number / len(study.series), (number + 1) / len(study.series), f"series {found.key}")
        if found.set_aside and found.key not in wanted:
            named.append(_aside(found, found.set_aside))
            continue
        started = time.perf_counter()
        part.report("reading", 0.0)
        try:
            one = _read_and_name(study, found, scans, predictor, options, part, _near(found, named))
        except Cancelled:
            raise
        except Refused as reason:
            one = _aside(found, str(reason))
        except BrainIACError as error:
            one = _aside(found, _without_path(error, study, found))
        named.append(dataclasses.replace(one, seconds=time.perf_counter() - started))
    return named


def _read_and_name(
    study: OpenStudy,
    found: FoundSeries,
    scans: dict[str, Scan],
    predictor: Predictor,
    options: PreprocessingOptions,
    job: Job,
    near: sitk.Euler3DTransform | None,
) -> NamedSeries:
    scan = dataclasses.replace(_read(study, found), name=found.key)
    twin = next((key for key, known in scans.items() if known.identity == scan.identity), None)
    if twin is not None:
        return _aside(found, f"the same images as series {twin}")
    prepared = predictor.set_study({**scans, found.key: scan}, options, job, near=near)[found.key]
    scans[found.key] = scan
    image = _image_class(predictor, found.key)
    warnings = tuple(dict.fromkeys((*scan.warnings, *prepared.warnings)))
    return NamedSeries(found, judge(found.key, found.header, image), image, scan, prepared, warnings)


def _near(found: FoundSeries, named: Sequence[NamedSeries]) -> sitk.Euler3DTransform | None:
    """The pose of the last series in the same frame of reference that was registered without a doubt."""
    frame = found.facts.frame_of_reference if found.facts else ""
    for one in reversed(named if frame else ()):
        if one.prepared is not None and one.found.facts and one.found.facts.frame_of_reference == frame:
            step = next((step for step in one.prepared.record if step.name == "registration"), None)
            if step is not None and not step.warnings:
                return one.prepared.transform
    return None


def _read(study: OpenStudy, found: FoundSeries) -> Scan:
    if found.file is not None:
        return read_scan(found.file)
    assert found.dicom is not None  # one or the other
    with explained(study.path):
        return read_found_series(study.path, found.dicom, 0)


def _image_class(predictor: Predictor, key: str) -> ImageClass | None:
    """None where no sequence model is installed."""
    try:
        model = find_model(SEQUENCE_TASK, predictor.models_folder)
    except ModelError:
        return None
    answer = predictor.predict(SEQUENCE_TASK, key, model_id=model.contract.id)
    gate, confidence = model.head.confidence_gate or 0.0, answer.confidence or 0.0
    return ImageClass(answer.label, confidence, confidence >= gate)


def _aside(found: FoundSeries, reason: str) -> NamedSeries:
    return NamedSeries(found, judge(found.key, found.header, None), set_aside=reason)


def _without_path(error: BrainIACError, study: OpenStudy, found: FoundSeries) -> str:
    """The reason without the path, which may name a person."""
    text = str(error)
    for path in filter(None, (found.file, study.path)):
        text = text.removeprefix(f"'{path}' ")
    return text
