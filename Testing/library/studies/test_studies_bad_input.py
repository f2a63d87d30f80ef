"""Bad input is ordinary input: each case becomes one sentence about its series, and the rest of the study is read.

Series are read as ``brainiac study`` reads them; preparation and models are replaced by ones that take no time.
"""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fabricated_study import IDENTITY_WORDS, MPRAGE, TSE_T2, FabricatedStudy
from pydicom.encaps import encapsulate

from BrainIACLib.errors import ScanError
from BrainIACLib.job import Job
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.studies.naming import NamedSeries, name_series
from BrainIACLib.studies.opening import open_study


def ball(size=(40, 40, 60), spacing=(4.0, 4.0, 3.0)) -> sitk.Image:
    """A bright ball in noise."""
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in size[::-1]], indexing="ij")
    values = 900 * (sum(axis**2 for axis in grid) < 0.5) + np.random.default_rng(0).integers(0, 60, size[::-1])
    image = sitk.GetImageFromArray(values.astype(np.uint16))
    image.SetSpacing(spacing)
    return image


class _Quick:
    """A predictor that prepares nothing and is sure of nothing."""

    models_folder = None

    def set_study(self, scans, options, job, near=None):
        return {name: SimpleNamespace(record=(), warnings=()) for name in scans}

    def predict(self, task, scans, model_id=None):
        return SimpleNamespace(label="T1", confidence=0.3)


def named(folder: Path) -> dict[str, NamedSeries]:
    """Every series of the study, by its key, and none of them by a word of the person."""
    with open_study([folder]) as study:
        found = name_series(study, _Quick(), PreprocessingOptions(), set(), Job())
    said = " ".join(f"{one.set_aside} {' '.join(one.warnings)}" for one in found)
    assert not [word for word in (*IDENTITY_WORDS, str(folder)) if word in said]
    return {one.found.key: one for one in found}


@pytest.fixture
def study(tmp_path) -> FabricatedStudy:
    """One good series; a test adds a bad one, the second."""
    made = FabricatedStudy(tmp_path / "Doe" / "study")
    made.add(ball((40, 40, 20), (4.0, 4.0, 9.0)), MPRAGE)
    return made


def joined(study: FabricatedStudy, folders: str, series: str) -> None:
    """All images of ``folders`` become images of one series."""
    for file in study.folder.glob(f"{folders}/*.dcm"):
        header = pydicom.dcmread(file)
        header.SeriesInstanceUID = series
        header.save_as(file, enforce_file_format=True)


def check_rest_is_read(found: dict[str, NamedSeries]) -> None:
    assert found["1"].scan is not None
    assert not found["1"].set_aside


def test_one_missing_slice_is_filled_in_with_a_doubt(study):
    whole = ball()
    study.add(whole, MPRAGE, leave_out=(30,))
    found = named(study.folder)
    read = sitk.GetArrayFromImage(found["2"].scan.image)
    voxels = sitk.GetArrayFromImage(whole).astype(float)
    assert read.shape == voxels.shape
    assert np.allclose(read[30], (voxels[29] + voxels[31]) / 2, atol=1)
    assert any("lacks 1 of 60 slices" in warning and "doubt" in warning for warning in found["2"].warnings)
    check_rest_is_read(found)


def test_many_missing_slices_are_refused_with_their_number(study):
    study.add(ball(), MPRAGE, leave_out=(10, 20, 30, 40, 50))
    found = named(study.folder)
    assert "lacks 5 of 60 slices" in found["2"].set_aside
    check_rest_is_read(found)


def test_one_slice_missing_in_one_of_two_echoes_costs_neither_echo(study):
    first = study.add(ball(), {**TSE_T2, "EchoTime": 15}, leave_out=(30,))
    study.add(ball(), {**TSE_T2, "EchoTime": 95}, SeriesNumber=2)
    joined(study, "s03", first)
    found = named(study.folder)
    assert {key: one.found.header.name for key, one in found.items()} == {"1": "T1", "2a": "PD", "2b": "T2"}
    assert any("lacks 1 of 60 slices" in warning for warning in found["2a"].warnings)
    assert not [warning for warning in found["2b"].warnings if "lacks" in warning]
    assert [one.scan.image.GetSize()[2] for one in (found["2a"], found["2b"])] == [60, 60]


def test_one_image_missing_among_repeated_ones_costs_one_slice(study):
    """Two time points; the first lacks a slice. The one that is taken is filled in, not mixed from both."""
    image = ball()
    first = study.add(image, {**TSE_T2, "TemporalPositionIdentifier": 1}, leave_out=(30,))
    later = sitk.Cast(image, sitk.sitkInt32) + 5000
    study.add(later, {**TSE_T2, "TemporalPositionIdentifier": 2}, SeriesNumber=2)
    joined(study, "s03", first)
    found = named(study.folder)
    read = sitk.GetArrayFromImage(found["2"].scan.image)
    assert read.shape[0] == 60
    assert read.max() < 2000
    assert any("lacks 1 of 60 slices" in warning for warning in found["2"].warnings)


def test_several_stations_in_one_series_are_rows_of_their_own(study):
    """Two sagittal stacks at the same heights, 200 mm apart in the plane, as of a head and a neck."""
    head = ball()
    neck = sitk.Image(head)
    neck.SetOrigin((0.0, 200.0, 0.0))
    first = study.add(head, TSE_T2)
    study.add(neck, TSE_T2, SeriesNumber=2)
    joined(study, "s03", first)
    found = named(study.folder)
    assert set(found) == {"1", "2a", "2b"}
    assert {found[key].scan.image.GetOrigin()[1] for key in ("2a", "2b")} == {0.0, 200.0}
    assert [found[key].found.repeats for key in ("2a", "2b")] == [1, 1]


def test_a_stack_that_drifts_in_its_plane_is_one_station(study):
    image = ball()
    study.add(image, MPRAGE)
    for number, file in enumerate(sorted(study.folder.glob("s02/*.dcm"))):
        header = pydicom.dcmread(file)
        header.ImagePositionPatient = [0.0, round(0.5 * number, 3), float(header.ImagePositionPatient[2])]
        header.save_as(file, enforce_file_format=True)
    assert set(named(study.folder)) == {"1", "2"}


def test_mixed_orientations_in_one_series_are_set_aside(study):
    first = study.add(ball((40, 40, 40)), MPRAGE)
    study.add(sitk.PermuteAxes(ball((40, 40, 40)), (1, 2, 0)), MPRAGE, SeriesNumber=2)
    joined(study, "s03", first)
    found = named(study.folder)
    assert "slices in 2 directions" in found["2"].set_aside
    check_rest_is_read(found)


COMPRESSIONS = {
    "JPEG lossless": ["dcmcjpeg", "+e1"],
    "JPEG-LS": ["dcmcjpls"],
    "run length": ["dcmcrle"],
}


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_lossless_compression_is_read_by_the_base_installation(study, name):
    command = COMPRESSIONS[name]
    if shutil.which(command[0]) is None:
        pytest.skip(f"needs {command[0]} (apt-get install dcmtk)")
    image = sitk.InvertIntensity(ball((40, 40, 20), (4.0, 4.0, 9.0)), 1000)
    study.add(image, TSE_T2)
    for file in study.folder.glob("s02/*.dcm"):
        subprocess.run([*command, str(file), str(file)], check=True, capture_output=True)
    found = named(study.folder)
    assert not found["2"].set_aside
    voxels = sitk.GetArrayFromImage(image)
    assert np.array_equal(sitk.GetArrayFromImage(found["2"].scan.image), voxels - voxels.min())


def test_jpeg_2000_is_read_by_the_base_installation(study):
    gdcm = pytest.importorskip("gdcm", reason="needs python-gdcm to compress (pip install python-gdcm)")
    image = sitk.InvertIntensity(ball((40, 40, 20), (4.0, 4.0, 9.0)), 1000)
    study.add(image, TSE_T2)
    for file in study.folder.glob("s02/*.dcm"):
        reader, change, writer = gdcm.ImageReader(), gdcm.ImageChangeTransferSyntax(), gdcm.ImageWriter()
        reader.SetFileName(str(file))
        assert reader.Read()
        change.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEG2000Lossless))
        change.SetInput(reader.GetImage())
        assert change.Change()
        writer.SetFileName(str(file))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        assert writer.Write()
    found = named(study.folder)
    assert not found["2"].set_aside
    voxels = sitk.GetArrayFromImage(image)
    assert np.array_equal(sitk.GetArrayFromImage(found["2"].scan.image), voxels - voxels.min())


@pytest.mark.parametrize(
    ("syntax", "said"),
    [("1.2.840.10008.1.2.4.201", "High-Throughput JPEG 2000"), ("1.2.840.10008.1.2.4.110", "JPEG XL")],
)
def test_a_compression_that_nothing_here_decodes_is_named_with_what_to_do(study, syntax, said):
    study.add(ball((40, 40, 20), (4.0, 4.0, 9.0)), TSE_T2)
    for file in study.folder.glob("s02/*.dcm"):
        header = pydicom.dcmread(file)
        header.PixelData = encapsulate([b"\xff\x4f\xff\x51" + bytes(200) + b"\xff\xd9"])
        header["PixelData"].is_undefined_length = True
        header.file_meta.TransferSyntaxUID = known = "1.2.840.10008.1.2.4.201"
        header.save_as(file, enforce_file_format=True)
        file.write_bytes(file.read_bytes().replace(known.encode(), syntax.encode()))  # pydicom may not know it yet
    found = named(study.folder)
    assert said in found["2"].set_aside
    assert "export" in found["2"].set_aside
    check_rest_is_read(found)


def test_a_document_and_a_video_among_the_images_are_set_aside_by_name(study):
    for number, (sop_class, kind) in enumerate(
        {"1.2.840.10008.5.1.4.1.1.104.1": "a document", "1.2.840.10008.5.1.4.1.1.77.1.4.1": "video"}.items(), start=2
    ):
        study.add(ball((40, 40, 1)), {"Modality": "MR"})
        (file,) = study.folder.glob(f"s{number:02d}/*.dcm")
        header = pydicom.dcmread(file)
        header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = sop_class
        if "104" in sop_class:
            del header.PixelData, header.Rows, header.Columns
            header.EncapsulatedDocument = b"%PDF-1.4 Doe"
        header.save_as(file, enforce_file_format=True)
        assert kind in named(study.folder)[str(number)].set_aside
    check_rest_is_read(named(study.folder))


def test_a_study_without_any_series_of_a_head_says_of_each_why(tmp_path):
    made = FabricatedStudy(tmp_path / "study")
    made.add(ball(), {**MPRAGE, "BodyPartExamined": "KNEE"})
    made.add(ball(), {**MPRAGE, "Modality": "CT"})
    found = named(made.folder)
    assert "not a head" in found["1"].set_aside
    assert "computed tomography" in found["2"].set_aside


def test_the_same_series_twice_is_used_once(study):
    study.add(ball((40, 40, 20), (4.0, 4.0, 9.0)), MPRAGE)
    found = named(study.folder)
    assert found["2"].set_aside == "the same images as series 1"


def test_a_cut_file_in_a_series_is_left_out_or_refuses_its_series_alone(study):
    study.add(ball(), TSE_T2)
    file = sorted(study.folder.glob("s02/*.dcm"))[30]
    file.write_bytes(file.read_bytes()[:-400])
    found = named(study.folder)
    assert "fewer pixels than its header says" in found["2"].set_aside
    check_rest_is_read(found)


def test_ten_images_among_three_thousand_files_are_found_without_reading_the_others(study, monkeypatch):
    """Other files are told by their first bytes: no more than these are read of any of them."""
    other = bytes(200_000)
    for number in range(300):
        (study.folder / f"{number:04d}.bin").write_bytes(other)
    read: list[str] = []
    original = pydicom.dcmread
    monkeypatch.setattr(
        pydicom, "dcmread", lambda file, *args, **more: read.append(str(file)) or original(file, *args, **more)
    )
    with open_study([study.folder]) as opened:
        assert [row.key for row in opened.series] == ["1"]
        assert any("300 other files" in note for note in opened.notes)
    assert not [file for file in read if file.endswith(".bin")]


def test_two_studies_without_mr_are_one_sentence(tmp_path):
    (tmp_path / "a.pdf").write_bytes(b"%PDF-1.4")
    (tmp_path / "b.mp4").write_bytes(b"\0\0\0\x18ftypmp42")
    with pytest.raises(ScanError, match=r"holds no scan; give a folder or zip") as refused, open_study([tmp_path]):
        pass
    assert "\n" not in str(refused.value)
