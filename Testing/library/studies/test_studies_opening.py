"""What lies in a folder, sorted into the series of one study; all without reading a voxel."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from fabricated_study import (
    EPI_B0,
    FLAIR,
    IDENTITY_WORDS,
    LOCALIZER,
    MPRAGE,
    TSE_T2,
    FabricatedStudy,
    secondary_capture,
)  # fmt: skip

from BrainIACLib.errors import ScanError
from BrainIACLib.studies.identity import Identity, _age
from BrainIACLib.studies.opening import open_study


def blob(size=(40, 40, 20), spacing=(4.0, 4.0, 6.0)) -> sitk.Image:
    """A bright ball in noise."""
    grid = np.meshgrid(*[np.linspace(-1, 1, n) for n in size[::-1]], indexing="ij")
    values = 900 * (sum(axis**2 for axis in grid) < 0.5) + np.random.default_rng(0).integers(0, 60, size[::-1])
    image = sitk.GetImageFromArray(values.astype(np.uint16))
    image.SetSpacing(spacing)
    return image


def rows(*paths: Path, **options) -> dict:
    with open_study(list(paths), **options) as study:
        return {row.key: row for row in study.series}


def notes(*paths: Path) -> str:
    with open_study(list(paths)) as study:
        return " ".join(study.notes)


@pytest.fixture
def study(tmp_path) -> FabricatedStudy:
    made = FabricatedStudy(tmp_path / "study")
    made.add(blob(), MPRAGE)
    made.add(blob(), TSE_T2)
    return made


def test_series_are_named_by_their_numbers_and_classes(study):
    found = rows(study.folder)
    assert {key: row.header.name for key, row in found.items()} == {"1": "T1", "2": "T2"}
    assert found["1"].size == (40, 40, 20)
    assert found["1"].spacing == (4.0, 4.0, 6.0)
    assert not any(row.set_aside for row in found.values())


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        (LOCALIZER, "a localizer"),
        ({**MPRAGE, "ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE", "MIP"]}, "projection"),
        ({**MPRAGE, "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "FA"]}, "fractional anisotropy"),
        ({**MPRAGE, "ImageType": ["ORIGINAL", "PRIMARY", "P", "ND"]}, "phase"),
        ({**MPRAGE, "BodyPartExamined": "LSPINE"}, "not a head"),
        ({**MPRAGE, "Modality": "CT"}, "computed tomography"),
        ({**MPRAGE, "SeriesDescription": "localizer 3-plane"}, "localizer"),
    ],
)
def test_what_no_model_can_take_is_set_aside_with_its_reason(study, tags, reason):
    study.add(blob(), tags)
    assert reason in rows(study.folder)["3"].set_aside


def test_a_single_slice_a_fragment_and_a_screenshot_are_set_aside(study):
    study.add(blob((40, 40, 1)), MPRAGE)
    study.add(blob((40, 40, 5)), MPRAGE)
    secondary_capture(study)
    found = rows(study.folder)
    assert "single slice" in found["3"].set_aside
    assert "fragment" in found["4"].set_aside
    assert "screenshot" in found["5"].set_aside


def test_three_directions_in_one_series_are_a_localizer(study):
    first = study.add(blob((40, 40, 9)), MPRAGE)
    for axes in ((1, 2, 0), (2, 0, 1)):
        study.add(sitk.PermuteAxes(blob((40, 40, 40)), axes)[:, :, :9], MPRAGE, SeriesNumber=3)
    for file in study.folder.glob("s0[45]/*.dcm"):
        header = pydicom.dcmread(file)
        header.SeriesInstanceUID = first
        header.save_as(file, enforce_file_format=True)
    assert "directions" in rows(study.folder)["3"].set_aside


def test_echoes_and_b_values_of_one_series_are_rows_of_their_own(study):
    first = study.add(blob(), {**TSE_T2, "EchoTime": 15})
    study.add(blob(), {**TSE_T2, "EchoTime": 95}, SeriesNumber=3)
    diffusion = study.add(blob(), EPI_B0, SeriesNumber=4)
    study.add(blob(), {**EPI_B0, "DiffusionBValue": 1000.0}, SeriesNumber=4)
    for folder, uid in (("s04", first), ("s06", diffusion)):
        for file in study.folder.glob(f"{folder}/*.dcm"):
            header = pydicom.dcmread(file)
            header.SeriesInstanceUID = uid
            header.save_as(file, enforce_file_format=True)
    found = rows(study.folder)
    assert {key: row.header.name for key, row in found.items()} == {
        "1": "T1", "2": "T2", "3a": "PD", "3b": "T2", "4a": "DWI-b0", "4b": "DWI-trace",
    }  # fmt: skip
    assert found["3a"].size == (40, 40, 20)


def test_zips_inside_folders_inside_zips_are_opened(study, tmp_path):
    inner, outer = tmp_path / "inner.zip", tmp_path / "outer.zip"
    with zipfile.ZipFile(inner, "w") as archive:
        for file in study.folder.rglob("*.dcm"):
            archive.write(file, f"Doe/Jane/{file.parent.name}/{file.name}")
    with zipfile.ZipFile(outer, "w") as archive:
        archive.write(inner, "a/b/Doe.zip")
    assert set(rows(outer)) == {"1", "2"}


def test_documents_and_strange_files_are_counted_and_the_rest_is_read(study):
    (study.folder / "letter.pdf").write_bytes(b"%PDF-1.4 nothing")
    (study.folder / "film.mp4").write_bytes(b"\0" * 300)
    (study.folder / "broken.zip").write_bytes(b"PK\x03\x04 nothing")
    file = next(study.folder.glob("s02/*.dcm"))
    file.with_name("cut.dcm").write_bytes(file.read_bytes()[:400])
    said = notes(study.folder)
    assert "no images of this study" in said
    assert "zip" in said
    assert set(rows(study.folder)) >= {"1", "2"}


def test_two_studies_are_told_and_one_is_taken_or_chosen(study, tmp_path):
    other = FabricatedStudy(study.folder / "other", patient_id="PATIENT-2")
    other.add(blob(), FLAIR)
    said = notes(study.folder)
    mine, its = (Identity(study_uid=one.study_uid).pseudonym for one in (study, other))
    assert "2 studies of 2 people" in said
    assert mine in said
    assert set(rows(study.folder)) == {"1", "2"}
    assert [row.header.name for row in rows(study.folder, study=its).values()] == ["FLAIR"]
    with pytest.raises(ScanError, match=r"no study study-000"):
        rows(study.folder, study="study-000")


def test_one_study_of_two_people_is_refused(study):
    file = next(study.folder.glob("s01/*.dcm"))
    for file in study.folder.glob("s01/*.dcm"):
        header = pydicom.dcmread(file)
        header.PatientID = "PATIENT-2"
        header.save_as(file, enforce_file_format=True)
    with pytest.raises(ScanError, match="2 patient identities"):
        rows(study.folder)


def test_copies_of_a_series_count_once(study):
    for file in study.folder.glob("s01/*.dcm"):
        (study.folder / f"copy-{file.name}").write_bytes(file.read_bytes())
    assert rows(study.folder)["1"].size == (40, 40, 20)
    assert "copies" in notes(study.folder)


def test_nifti_files_of_one_person_take_their_facts_from_the_json_beside_them(tmp_path):
    for name in ("a", "b"):
        sitk.WriteImage(blob(), str(tmp_path / f"{name}.nii.gz"))
    (tmp_path / "a.json").write_text(json.dumps({"RepetitionTime": 9, "EchoTime": 0.1, "InversionTime": 2.5,
                                                 "ScanningSequence": "SE_IR"}))  # fmt: skip
    (tmp_path / "b.json").write_text("[")
    found = rows(tmp_path)
    assert found["1"].header.name == "FLAIR"
    assert found["2"].header is None
    assert "1 other files are no images" in notes(tmp_path)  # the JSON that cannot be read


def test_nothing_to_read_is_one_sentence(tmp_path):
    (tmp_path / "letter.txt").write_text("hello")
    with pytest.raises(ScanError, match="holds no scan"):
        rows(tmp_path)
    with pytest.raises(ScanError, match="does not exist"):
        rows(tmp_path / "nothing")


def test_what_is_known_of_the_person_stays_out_of_everything_that_is_printed(study):
    with open_study([study.folder]) as found:
        shown = f"{found.identity!r} {found.series!r} {found.notes!r}"
        assert found.identity.age_years == pytest.approx(54.2)
        assert found.identity.pseudonym.startswith("study-")
    shown = shown.replace(str(study.folder), "")
    assert not [word for word in IDENTITY_WORDS if word in shown]


@pytest.mark.parametrize(
    ("born", "scanned", "stated", "years"),
    [
        ("20090701", "20130308", "003Y", 3.69),
        ("2009.07.01", "2013-03-08", "", 3.69),
        ("", "", "018M", 1.5),
        ("", "", "010D", 0.03),
        ("19000101", "18990101", "", None),
        ("nonsense", "20130308", "045Y", 45.0),
        ("", "", "45", None),
    ],
)
def test_the_age_at_the_scan_comes_from_dates_or_is_stated(born, scanned, stated, years):
    assert _age(born, scanned, stated) == years


def test_three_thousand_files_of_which_ten_are_mr(tmp_path):
    made = FabricatedStudy(tmp_path / "study")
    made.add(blob((40, 40, 10), (4.0, 4.0, 12.0)), MPRAGE)
    for number in range(3000):
        (made.folder / f"{number}.txt").write_bytes(b"no image")
    assert set(rows(made.folder)) == {"1"}
    assert "3000 other files" in notes(made.folder)
