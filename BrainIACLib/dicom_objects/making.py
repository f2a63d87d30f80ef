"""All objects of one study: report, summary, and for each used series its segments and maps."""

from __future__ import annotations

from dataclasses import dataclass

from pydicom import Dataset

from BrainIACLib.dicom_objects.equipment import FIRST_SERIES_NUMBER
from BrainIACLib.dicom_objects.sources import source_headers
from BrainIACLib.dicom_objects.structured_report import structured_report
from BrainIACLib.dicom_objects.summary_picture import summary_picture
from BrainIACLib.dicom_objects.volumes import algorithm, parametric_map, segmentation
from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.studies.analysis import AnalyzedStudy
from BrainIACLib.studies.geometry import brain_volume_ml


@dataclass(frozen=True)
class MadeObjects:
    """The objects by the name of their file (no identity in it), and sentences on what could not be made."""

    objects: dict[str, Dataset]
    notes: tuple[str, ...]


def make_objects(study: AnalyzedStudy, job: Job = UNATTENDED) -> MadeObjects:
    """The results as DICOM objects; the study's files must still be in their place.

    Raises
    ------
    BrainIACError : the study has no DICOM series, or its files cannot be read any more.
    """
    used = list(dict.fromkeys(key for answer in study.document.answers for key in answer.series.values()))
    used = used or [slot.series for slot in study.document.slots]
    dicom = {key: series for key in used if (series := study.found[key].dicom) is not None}
    if not dicom:
        raise BrainIACError("DICOM objects need a DICOM study with a series that could be used.")
    sources = {key: source_headers(series) for key, series in dicom.items()}
    volumes = {key: brain_volume_ml(study.prepared[key]) for key in dicom}
    first = sources[next(iter(dicom))]
    objects: dict[str, Dataset] = {
        "report.dcm": structured_report(study.document, sources, volumes),
        "summary.dcm": summary_picture(study, first[len(first) // 2]),
    }
    notes, made_by = [], algorithm(sorted({answer.model for answer in study.document.answers}))
    number = FIRST_SERIES_NUMBER + 10
    for position, key in enumerate(dicom):
        job.report("DICOM objects", position / len(dicom))
        if not sources[key][0].get("FrameOfReferenceUID"):
            notes.append(f"Series {key} has no frame of reference, so there is no DICOM map or segmentation of it.")
            continue
        maps = [
            (answer, study.maps[answer.task][slot].map)
            for answer in study.document.answers
            for slot, taken in answer.series.items()
            if taken == key and slot in study.maps.get(answer.task, {})
        ]
        prepared = study.prepared[key]
        objects[f"segmentation_{key}.dcm"] = segmentation(sources[key], prepared.native_mask, maps, number, made_by)
        for place, (answer, heat) in enumerate(maps, start=1):
            objects[f"saliency_{key}_{place}.dcm"] = parametric_map(sources[key], answer, heat, number + place)
        number += len(maps) + 1
    return MadeObjects(objects, tuple(notes))
