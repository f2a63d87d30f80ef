"""The main job as its user runs it: files in, answers and maps out, on the bundled study and on real scans."""

import json
import shutil
import zipfile
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from jsonschema import Draft202012Validator
from scipy import ndimage

from BrainIACLib import RESEARCH_USE_ONLY
from BrainIACLib.cli import main
from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.errors import BrainIACError
from BrainIACLib.job import Job
from BrainIACLib.reports import result_files
from BrainIACLib.reports.earlier_results import refuse_results_of_another_scan
from BrainIACLib.resources import resource
from BrainIACLib.scans import read_scan

SCHEMA = resource().parent / "BrainIACLib" / "cli" / "output.schema.json"

SAMPLES = {name: resource("SampleData", f"simulated_{name}.nii.gz") for name in ("T1", "T2", "FLAIR", "T1CE")}
FAST = ["--device", "cpu", "--brain-extraction", "bundled"]


def json_lines(capsys) -> list[dict]:
    return [json.loads(line) for line in capsys.readouterr().out.splitlines()]


def test_sequence_answers_what_it_can_and_reports_the_rest(capsys, tmp_path):
    text = tmp_path / "letter.nii.gz"
    text.write_text("Dear colleague,")
    files = [SAMPLES["T2"], text, SAMPLES["T1"]]
    status = main(["sequence", *map(str, files), "--json", *FAST])
    answers = json_lines(capsys)
    assert status == 1
    assert [answer["file"] for answer in answers] == [str(file) for file in files]
    assert [answer.get("label") for answer in answers] == ["T2", None, "T1"]
    assert "letter.nii.gz" in answers[1]["error"]
    schema = Draft202012Validator(json.loads(SCHEMA.read_text(encoding="utf-8")))
    for answer in answers:
        schema.validate(answer)
    for answer in (answers[0], answers[2]):
        assert answer["notice"] == RESEARCH_USE_ONLY
        assert set(answer["probabilities"]) == {"T1", "T2", "FLAIR", "T1CE", "other"}
        assert sum(answer["probabilities"].values()) == pytest.approx(1)
        assert answer["confidence"] == max(answer["probabilities"].values())


def test_the_table_tells_scans_of_equal_names_apart_and_ends_with_the_notice(capsys, tmp_path):
    files = [tmp_path / folder / "scan.nii.gz" for folder in ("first", "second")]
    for file in files:
        file.parent.mkdir()
        file.write_bytes(SAMPLES["T1"].read_bytes())
    assert main(["sequence", *map(str, files), *FAST]) == 0
    out, err = capsys.readouterr()
    assert [line.split()[:2] for line in out.splitlines()[1:]] == [[str(file), "T1"] for file in files]
    assert err.splitlines()[-1] == RESEARCH_USE_ONLY


@pytest.mark.parametrize("command", ["sequence", "analyze", "age", "idh", "embed", "train-head", "models", "serve"])
def test_every_help_says_what_it_is_not_for(command, capsys):
    with pytest.raises(SystemExit, match="0"):
        main([command, "--help"])
    assert RESEARCH_USE_ONLY in " ".join(capsys.readouterr().out.split())


def test_the_progress_bar_never_falls(tmp_path, monkeypatch):
    """Of a whole analysis with everything that can be asked for."""
    places = []

    class Watched(ProgressBar):
        def job(self, name, begin, end):
            job = super().job(name, begin, end)
            return Job(lambda what, part: (places.append(begin + (end - begin) * part), job.progress(what, part)))

    monkeypatch.setattr("BrainIACLib.cli.answering.ProgressBar", Watched)
    options = ["--out", str(tmp_path), "--samples", "2", "--trust", "--sanity-check", *FAST]
    assert main(["analyze", str(SAMPLES["FLAIR"]), *options]) == 0
    assert places == sorted(places)
    assert len(set(places)) > 20
    assert places[-1] < 1


@pytest.fixture(scope="module")
def analysed(tmp_path_factory):
    """The folder that ``analyze`` wrote for the oblique, thick-slice FLAIR of the sample study."""
    out = tmp_path_factory.mktemp("results")
    assert main(["analyze", str(SAMPLES["FLAIR"]), "--out", str(out), "--samples", "2", *FAST]) == 0
    return out


def test_analyze_writes_exactly_what_the_readme_says(analysed):
    assert {path.name for path in analysed.iterdir()} == set(result_files.FILES)
    readme = (resource().parent / "README.md").read_text(encoding="utf-8")
    assert all(f"`{name}`" in readme for name in result_files.FILES)


def test_maps_lie_on_the_patients_own_grid(analysed):
    """D-13: never an identity affine. nibabel reads the geometry independently of SimpleITK."""
    scan = nibabel.load(SAMPLES["FLAIR"])
    assert np.abs(scan.affine[:3, :3]).min() > 0.01, "the sample must be oblique for this test to mean anything"
    for name in (result_files.SALIENCY, result_files.MASK):
        written = nibabel.load(analysed / name)
        assert written.shape == scan.shape
        np.testing.assert_allclose(written.affine, scan.affine, atol=1e-3)


def test_saliency_is_inside_the_head_and_scaled(analysed):
    heat = np.asarray(nibabel.load(analysed / result_files.SALIENCY).dataobj)
    scan = np.asarray(nibabel.load(SAMPLES["FLAIR"]).dataobj)
    assert heat.min() >= 0
    assert 0.3 < heat.max() <= 1
    head = ndimage.binary_fill_holes(scan > 0.1 * np.percentile(scan, 99))  # the fluid is dark in a FLAIR
    assert head.mean() < 0.5
    assert head[heat > 0.5].mean() > 0.9


def test_the_transform_moves_the_scan_onto_the_template(analysed):
    """The written mask, moved by the written transform alone, covers the written brain."""
    transform = sitk.ReadTransform(str(analysed / result_files.TRANSFORM))
    brain = sitk.ReadImage(str(analysed / result_files.BRAIN)) != 0
    mask = sitk.ReadImage(str(analysed / result_files.MASK), sitk.sitkUInt8)
    moved = sitk.Resample(mask, brain, transform, sitk.sitkNearestNeighbor)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(sitk.Cast(moved, sitk.sitkUInt8), sitk.Cast(brain, sitk.sitkUInt8))
    assert overlap.GetDiceCoefficient() > 0.97


def test_result_carries_its_meaning_and_provenance(analysed):
    result = json.loads((analysed / result_files.RESULT).read_text(encoding="utf-8"))
    assert result["notice"].startswith("Research use only")
    assert result["valid_range"]
    provenance = result["provenance"]
    assert len(provenance["model"]["encoder_sha256"]) == 64
    assert {"torch", "SimpleITK", "BrainIACLib"} <= set(provenance["versions"])
    assert {"bias field", "brain extraction", "registration", "resampling"} <= {
        step["name"] for step in provenance["preprocessing"]
    }
    assert result["saliency"]["method"].startswith("guided backpropagation")
    assert result["saliency"]["seed"] == 0


def test_two_runs_give_the_same_numbers_to_the_last_bit(analysed, tmp_path):
    """D-15: released registration differed by millimeters between two runs."""
    assert main(["analyze", str(SAMPLES["FLAIR"]), "--out", str(tmp_path), "--samples", "2", *FAST]) == 0
    for name in (result_files.SALIENCY, result_files.BRAIN, result_files.MASK):
        first, second = (sitk.GetArrayFromImage(sitk.ReadImage(str(folder / name))) for folder in (analysed, tmp_path))
        np.testing.assert_array_equal(first, second)
    assert (analysed / result_files.TRANSFORM).read_text() == (tmp_path / result_files.TRANSFORM).read_text()


def test_a_failed_write_leaves_nothing_behind(tmp_path, monkeypatch):
    """In the worker's own service, so that the disk can be made to look full."""
    from BrainIACLib.preprocessing.options import PreprocessingOptions
    from BrainIACLib.worker.requests import PrepareStudy, Save
    from BrainIACLib.worker.service import Service

    def full_disk(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(result_files, "write_transform", full_disk)
    out, service = tmp_path / "results", Service(tmp_path)
    options = PreprocessingOptions(bias_field=False, brain_extraction="none")
    service.answer(PrepareStudy({"a": SAMPLES["FLAIR"]}, options, device="cpu"))
    with pytest.raises(BrainIACError, match="No space left"):
        service.answer(Save(out, "sequence", {"any": "a"}, "a", samples=1))
    assert list(out.iterdir()) == []


def test_the_input_is_never_overwritten(tmp_path, capsys):
    scan = tmp_path / result_files.SALIENCY
    scan.write_bytes(SAMPLES["FLAIR"].read_bytes())
    options = ["--samples", "1", "--no-bias-field", "--brain-extraction", "none"]
    assert main(["analyze", str(scan), "--out", str(tmp_path), *options]) == 1
    assert "overwrite" in capsys.readouterr().err
    assert scan.read_bytes() == SAMPLES["FLAIR"].read_bytes()


def test_results_of_another_scan_are_never_replaced(analysed, tmp_path, capsys, monkeypatch):
    """Refused before anything is computed; the same scan, also as a copy elsewhere, is another matter."""
    out, copy = tmp_path / "out", tmp_path / "copy.nii.gz"
    shutil.copytree(analysed, out)
    copy.write_bytes(SAMPLES["FLAIR"].read_bytes())
    with monkeypatch.context() as patch:
        patch.setattr("BrainIACLib.worker.client.Client._start", lambda self: pytest.fail("started the worker"))
        assert main(["analyze", str(SAMPLES["T2"]), "--out", str(out), *FAST]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert f"holds the results of '{SAMPLES['FLAIR']}'; choose another folder for" in line
        (out / result_files.RESULT).write_text("[]")
        assert main(["analyze", str(SAMPLES["FLAIR"]), "--out", str(out), *FAST]) == 1
        assert "not BrainIAC's or cannot be read" in capsys.readouterr().err
    refuse_results_of_another_scan(copy, analysed, lambda: read_scan(copy).identity)
    refuse_results_of_another_scan(SAMPLES["FLAIR"], analysed, lambda: pytest.fail("the path is the same"))


def test_results_without_an_identity_count_as_those_of_their_path_alone(tmp_path):
    """As those that were written when a header of a detached image stood for the image."""
    (tmp_path / "out").mkdir()
    document = {"file": str(tmp_path / "a.mhd"), "provenance": {"inputs": {"any": {"sha256": "0"}}}}
    (tmp_path / "out" / result_files.RESULT).write_text(json.dumps(document))
    refuse_results_of_another_scan(tmp_path / "a.mhd", tmp_path / "out", lambda: "identity")
    with pytest.raises(BrainIACError, match=r"holds the results of '.*a.mhd'; choose another folder"):
        refuse_results_of_another_scan(tmp_path / "b.mhd", tmp_path / "out", lambda: "identity")


def test_results_of_one_slot_are_not_taken_for_those_of_another(tmp_path):
    """Both scans were in the earlier study; its folder T1CE holds the results of one of them only."""
    (tmp_path / "out").mkdir()
    document = {"file": str(tmp_path / "T1CE.nii"), "identity": "of the T1CE"}
    (tmp_path / "out" / result_files.RESULT).write_text(json.dumps(document))
    refuse_results_of_another_scan(tmp_path / "moved.nii", tmp_path / "out", lambda: "of the T1CE")
    with pytest.raises(BrainIACError, match=r"holds the results of '.*T1CE.nii'; choose another folder"):
        refuse_results_of_another_scan(tmp_path / "FLAIR.nii", tmp_path / "out", lambda: "of the FLAIR")


def test_a_scan_that_is_named_twice_is_one_scan(tmp_path, monkeypatch):
    from BrainIACLib.cli.questions import each_once

    monkeypatch.chdir(tmp_path)
    Path("link").symlink_to("scan")
    Path("loop").symlink_to("loop")
    names = ["scan", "another", "./scan", tmp_path / "scan", "link", "loop"]  # a link is a name of its own
    assert each_once([Path(name) for name in names]) == [Path(name) for name in ("scan", "another", "link", "loop")]


def test_the_lines_of_an_answer_are_sentences():
    """No name of the code in them, and one threshold explained by the other."""
    from BrainIACLib.cli.words import preprocessing_in_words
    from BrainIACLib.trust.words import stated

    record = [
        {"name": "brain extraction", "parameters": {"backend": "bundled"}},
        {"name": "registration", "parameters": {"already_in_template_space": True}},
    ]
    assert "brain extracted by the bundled network;" in preprocessing_in_words(record)
    (line,) = stated({"novelty": {"score": 1.25, "warn_above": 1.5, "meaning": ""}})
    assert line.endswith(": 1.25; 95% of them lie below 1, and above 1.50 a warning is given")


def test_several_scans_of_equal_names_get_folders_of_their_own(tmp_path):
    from BrainIACLib.cli.questions import result_folders

    scans = [tmp_path / "a" / "T1.nii.gz", tmp_path / "b" / "T1.nii.gz", tmp_path / "sub-01.T2.nrrd"]
    folders = result_folders(scans, tmp_path / "out")
    assert [folders[scan].name for scan in scans] == ["T1", "T1_2", "sub-01.T2"]


def test_a_dicom_study_is_answered_without_naming_the_patient(shared_data, tmp_path, capsys):
    archive = shared_data / "dicom" / "sag_anon_T1_3y.zip"
    out = tmp_path / "results"
    assert main(["analyze", str(archive), "--out", str(out), "--samples", "1", "--json", *FAST]) == 0
    (answer,) = json_lines(capsys)
    assert answer["label"] == "T1"
    with zipfile.ZipFile(archive) as opened:
        member = next(name for name in opened.namelist() if not name.endswith("/"))
        header = pydicom.dcmread(opened.open(member), stop_before_pixels=True)
    written = (out / result_files.RESULT).read_text(encoding="utf-8")
    identity = [str(header.get(tag, "")) for tag in ("PatientID", "PatientBirthDate", "StudyInstanceUID", "StudyDate")]
    identity += str(header.get("PatientName", "")).replace("^", " ").split()
    assert not [text for text in identity if len(text) > 3 and text in written.replace(str(archive), "")]


REAL = {
    "scans/ds000002_sub-01_T1w.nii.gz": "T1",
    "scans/BraTS-GLI-00001-000_T2.nii.gz": "T2",
    "scans/BraTS-GLI-00001-000_FLAIR.nii.gz": "FLAIR",
    "scans/BraTS-GLI-00001-000_T1CE.nii.gz": "T1CE",
}


def test_real_scans_get_their_sequence(shared_data, capsys):
    assert main(["sequence", *(str(shared_data / file) for file in REAL), "--json", *FAST[:2]]) == 0
    assert [answer["label"] for answer in json_lines(capsys)] == list(REAL.values())
