"""The answers as a structured report: TID 1500 (PS3.16), one measurement group an answer, coded values and units."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementProperties,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    RelationshipTypeValues,
    SourceImageForMeasurementGroup,
    TextContentItem,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes as standard

import BrainIACLib
from BrainIACLib.dicom_objects import codes
from BrainIACLib.dicom_objects.equipment import MANUFACTURER, MODEL_NAME, uid_of
from BrainIACLib.studies.document import Answer, StudyDocument
from BrainIACLib.trust.age_gap import AgeGap

NUMBER = 9700


def structured_report(
    document: StudyDocument, sources: Mapping[str, Sequence[Dataset]], volumes_ml: Mapping[str, float]
) -> Comprehensive3DSR:
    """The report of a study.

    Parameters
    ----------
    sources : key of a series -> headers of its images. volumes_ml : key -> volume of its brain mask.
    """
    groups = [_answer(answer, sources) for answer in document.answers]
    groups += [_volume(key, volume, sources[key]) for key, volume in volumes_ml.items()]
    study = str(next(iter(sources.values()))[0].StudyInstanceUID)
    device = ObserverContext(
        observer_type=standard.DCM.Device,
        observer_identifying_attributes=DeviceObserverIdentifyingAttributes(
            uid=uid_of("device"),
            name=f"{MODEL_NAME} {BrainIACLib.__version__}",
            manufacturer_name=MANUFACTURER,
            model_name=MODEL_NAME,
        ),
    )
    content = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=device),
        procedure_reported=codes.MRI_OF_BRAIN,
        imaging_measurements=groups,
        title=standard.DCM.ImagingMeasurementReport,
    )
    made = [f"{answer.task} {answer.model} {answer.headline}" for answer in document.answers]
    report = Comprehensive3DSR(
        evidence=[header for headers in sources.values() for header in headers],
        content=content[0],
        series_instance_uid=uid_of("report series", study),
        series_number=NUMBER,
        sop_instance_uid=uid_of("report", study, BrainIACLib.__version__, *made, *map(str, volumes_ml.values())),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
    )
    report.SeriesDescription = "BrainIAC answers (research use only)"
    report.ManufacturerModelName, report.SoftwareVersions = MODEL_NAME, BrainIACLib.__version__
    return report


def _answer(answer: Answer, sources: Mapping[str, Sequence[Dataset]]) -> MeasurementsAndQualitativeEvaluations:
    measurements, evaluations = [], [QualitativeEvaluation(codes.INTENDED_USE, codes.RESEARCH_ONLY)]
    if answer.value is not None:
        measurements.append(_value(answer, answer.value))
        if answer.age_gap is not None:
            measurements.append(_gap(answer.age_gap))
    else:
        evaluations.insert(0, QualitativeEvaluation(codes.own_code(_kind(answer)), codes.own_code(answer.label)))
        if answer.confidence is not None:
            measurements.append(Measurement(name=codes.PROBABILITY, value=answer.confidence, unit=codes.NO_UNITS))
    model = answer.provenance.get("model", {})
    group = MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=uid_of("answer", str(_first(sources, answer).StudyInstanceUID), answer.task),
            identifier=answer.task[:64],
        ),
        finding_type=codes.own_code(_kind(answer)),
        finding_sites=[FindingSite(anatomic_location=codes.BRAIN)],
        algorithm_id=AlgorithmIdentification(
            name=f"BrainIAC {answer.model}",
            version=str(model.get("version", BrainIACLib.__version__)),
            family=codes.ARTIFICIAL_INTELLIGENCE,
            manufacturer=MANUFACTURER,
            parameters=[f"{name}={value}" for name, value in model.items()] + [f"BrainIAC={BrainIACLib.__version__}"],
        ),
        measurements=measurements or None,
        qualitative_evaluations=evaluations,
        source_images=_images(answer, sources),
    )
    group[0].ContentSequence += [  # template 1501 may be extended; a code would cut a sentence off
        TextContentItem(codes.COMMENT, f"Doubt: {warning}", RelationshipTypeValues.CONTAINS)
        for warning in answer.warnings
    ]
    group[0].ContentSequence.append(
        TextContentItem(codes.COMMENT, f"Valid for: {answer.valid_range}", RelationshipTypeValues.CONTAINS)
    )
    return group


def _value(answer: Answer, value: float) -> Measurement:
    properties = None
    if answer.interval is not None:
        properties = MeasurementProperties(
            upper_measurement_uncertainty=round(answer.interval.high, 4),
            lower_measurement_uncertainty=round(answer.interval.low, 4),
        )
    name = codes.BRAIN_AGE if answer.age_gap is not None or answer.task == "age" else codes.own_code(answer.task)
    return Measurement(name=name, value=round(value, 4), unit=codes.unit_code(answer.unit), properties=properties)


def _gap(gap: AgeGap) -> Measurement:
    properties = None
    if gap.low is not None:
        properties = MeasurementProperties(
            upper_measurement_uncertainty=gap.high, lower_measurement_uncertainty=gap.low
        )
    return Measurement(name=codes.AGE_GAP, value=gap.gap_years, unit=codes.YEARS, properties=properties)


def _volume(key: str, volume: float, headers: Sequence[Dataset]) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(
            uid=uid_of("brain volume", str(headers[0].SeriesInstanceUID)), identifier=f"Brain mask of series {key}"
        ),
        finding_type=codes.BRAIN,
        finding_sites=[FindingSite(anatomic_location=codes.BRAIN)],
        measurements=[Measurement(name=codes.VOLUME, value=round(volume, 1), unit=codes.MILLILITERS)],
        qualitative_evaluations=[QualitativeEvaluation(codes.INTENDED_USE, codes.RESEARCH_ONLY)],
        source_images=[_image(headers)],
    )


def _kind(answer: Answer) -> str:
    return answer.task.split(" of series ")[0]


def _first(sources: Mapping[str, Sequence[Dataset]], answer: Answer) -> Dataset:
    return next((sources[key][0] for key in answer.series.values() if key in sources), next(iter(sources.values()))[0])


def _images(answer: Answer, sources: Mapping[str, Sequence[Dataset]]) -> list[SourceImageForMeasurementGroup] | None:
    return [_image(sources[key]) for key in answer.series.values() if key in sources] or None


def _image(headers: Sequence[Dataset]) -> SourceImageForMeasurementGroup:
    """The middle image stands for its series."""
    header = headers[len(headers) // 2]
    return SourceImageForMeasurementGroup(str(header.SOPClassUID), str(header.SOPInstanceUID))
