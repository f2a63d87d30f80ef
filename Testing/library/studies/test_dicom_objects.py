"""The DICOM objects of a real study, read back by highdicom and pydicom and checked by independent validators."""

from __future__ import annotations

import io
import shutil
import subprocess

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fabricated_study import NAME, PATIENT_ID

hd = pytest.importorskip("highdicom", reason="needs highdicom (pip install highdicom)")


def again(dataset):
    """The object after a way through a file."""
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return pydicom.dcmread(io.BytesIO(stream.getvalue()))


def test_there_is_one_of_each_and_every_object_is_of_the_person_and_the_study(made, study_folder):
    source = pydicom.dcmread(next(study_folder.glob("s02/*.dcm")))
    assert set(made.objects) >= {
        "report.dcm",
        "summary.dcm",
        "segmentation_2.dcm",
        "saliency_2_1.dcm",
        "segmentation_3.dcm",
    }
    uids = [dataset.SOPInstanceUID for dataset in made.objects.values()]
    assert len(set(uids)) == len(uids)
    for dataset in made.objects.values():
        assert (dataset.PatientName, dataset.PatientID) == (NAME, PATIENT_ID)
        assert dataset.StudyInstanceUID == source.StudyInstanceUID
        assert "research use only" in dataset.SeriesDescription


def test_the_report_says_answers_units_models_and_that_it_is_for_research(made, analyzed):
    report = hd.sr.srread(io.BytesIO(_bytes(made.objects["report.dcm"])))
    groups = report.content.get_image_measurement_groups()
    answers = {group.tracking_identifier: group for group in groups}
    for answer in (one for one in analyzed.document.answers if one.confidence is not None):
        group = answers[answer.task]
        evaluations = {item.name.meaning: item.value.meaning for item in group.get_qualitative_evaluations()}
        assert evaluations["sequence"] == answer.label
        assert evaluations["Intended use"].startswith("Research use only")
        (probability,) = group.get_measurements()
        assert probability.value == pytest.approx(answer.confidence, rel=1e-12)  # the number of the JSON
        assert f"BrainIAC {answer.model}" in texts(again(made.objects["report.dcm"]))
    volume = next(group for group in groups if group.tracking_identifier == "Brain mask of series 2")
    (measurement,) = volume.get_measurements()
    assert measurement.unit.value == "ml"
    assert 700 < measurement.value < 2200
    assert report.VerificationFlag == "UNVERIFIED"


def test_the_segmented_brain_is_the_mask_on_the_scans_own_frame_of_reference(made, analyzed, study_folder):
    source = pydicom.dcmread(next(study_folder.glob("s02/*.dcm")))
    segments = hd.seg.segread(io.BytesIO(_bytes(made.objects["segmentation_2.dcm"])))
    assert segments.FrameOfReferenceUID == source.FrameOfReferenceUID
    brain, *regions = [item.segmented_property_type.meaning for item in segments.SegmentSequence]
    assert (brain, set(regions)) == ("Brain", {"Region of strong saliency"})
    volume = segments.get_volume(segment_numbers=[1], combine_segments=True)
    mask = analyzed.prepared["2"].native_mask
    expected = sitk.GetArrayFromImage(mask)
    indices = np.argwhere(volume.array > 0)
    points = (volume.affine @ np.column_stack([indices, np.ones(len(indices))]).T)[:3].T
    assert len(indices) == expected.sum()
    found = [mask.TransformPhysicalPointToIndex(point.tolist()) for point in points[::997]]
    assert all(mask[index] for index in found)


def test_the_map_has_the_values_of_the_saliency_in_its_places(made, analyzed):
    maps = [one for name, one in made.objects.items() if name.startswith("saliency_2_")]
    (found,) = [one for one in maps if "sequence of series 2" in one.SeriesDescription]
    stored = hd.imread(io.BytesIO(_bytes(found)))
    heat = analyzed.maps["sequence of series 2"]["any"].map
    volume = stored.get_volume()
    assert volume.array.max() == pytest.approx(1.0, abs=1e-3)
    peak = np.unravel_index(int(volume.array.argmax()), volume.array.shape)
    point = (volume.affine @ [*peak, 1])[:3]
    assert heat[heat.TransformPhysicalPointToIndex(point.tolist())] == pytest.approx(1.0, abs=0.02)


def test_the_same_result_has_the_same_identifiers(made, analyzed, study_folder):
    from BrainIACLib.dicom_objects.making import make_objects

    again = make_objects(analyzed)
    assert {name: one.SOPInstanceUID for name, one in again.objects.items()} == {
        name: one.SOPInstanceUID for name, one in made.objects.items()
    }


def test_the_summary_is_a_picture_without_a_name_burned_in(made):
    picture = again(made.objects["summary.dcm"])
    assert picture.pixel_array.shape[2] == 3
    assert picture.BurnedInAnnotation == "NO"
    assert picture.pixel_array.max() > 200


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (apt-get install dicom3tools)")
def test_an_independent_validator_finds_no_error(made, tmp_path):
    for name, dataset in made.objects.items():
        (tmp_path / name).write_bytes(_bytes(dataset))
        found = subprocess.run(["dciodvfy", str(tmp_path / name)], capture_output=True, text=True)
        assert not [line for line in (found.stdout + found.stderr).splitlines() if line.startswith("Error")], name


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="needs dsrdump (apt-get install dcmtk)")
def test_dcmtk_reads_the_report(made, tmp_path):
    (tmp_path / "report.dcm").write_bytes(_bytes(made.objects["report.dcm"]))
    found = subprocess.run(["dsrdump", str(tmp_path / "report.dcm")], capture_output=True, text=True)
    assert found.returncode == 0
    assert "Imaging Measurement Report" in found.stdout
    assert "Research use only" in found.stdout


def texts(dataset) -> list[str]:
    """All texts of a report, at any depth."""
    found = [str(dataset.TextValue)] if "TextValue" in dataset else []
    return found + [text for item in dataset.get("ContentSequence", ()) for text in texts(item)]


def _bytes(dataset) -> bytes:
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def test_a_brain_age_has_its_unit_its_interval_and_the_gap(made, analyzed, study_folder):
    import dataclasses

    from BrainIACLib.dicom_objects.structured_report import structured_report
    from BrainIACLib.studies.document import Interval
    from BrainIACLib.trust.age_gap import AgeGap

    age = dataclasses.replace(
        analyzed.document.answers[0], task="age", label="60.1 years", confidence=None, probabilities={}, value=60.1,
        unit="years", interval=Interval(52.0, 68.2, 0.9, "it holds"), age_gap=AgeGap(54.2, 5.9, -2.2, 14.0),
    )  # fmt: skip
    document = dataclasses.replace(analyzed.document, answers=(age,))
    headers = [pydicom.dcmread(file, stop_before_pixels=True) for file in sorted(study_folder.glob("s02/*.dcm"))]
    report = hd.sr.srread(io.BytesIO(_bytes(structured_report(document, {"2": headers}, {"2": 1300.0}))))
    group = next(one for one in report.content.get_image_measurement_groups() if one.tracking_identifier == "age")
    brain_age, gap = group.get_measurements()
    assert (brain_age.name.meaning, brain_age.value, brain_age.unit.value) == ("Brain age", 60.1, "a")
    assert (gap.value, gap.unit.value) == (5.9, "a")
    numbers = {
        str(item.ConceptNameCodeSequence[0].CodeMeaning): float(item.MeasuredValueSequence[0].NumericValue)
        for item in brain_age[0].ContentSequence
        if item.ValueType == "NUM"
    }
    assert sorted(numbers.values()) == [52.0, 68.2]
