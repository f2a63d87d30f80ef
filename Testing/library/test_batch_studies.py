"""A batch by study: the scans of a visit together, answered by heads that take several, with one report each."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
from batch_cases import checked_names
from small_encoder import SIZE, install_small_encoder

pytest.importorskip("pyarrow", reason="needs the 'cluster' extra")

from BrainIACLib.batch.cases import BatchCase, cases_of, studies_of
from BrainIACLib.batch.index import EMBEDDINGS, update_index, write_embeddings
from BrainIACLib.batch.layout import Names, begin_dataset
from BrainIACLib.batch.one_study import StudyWorker, _named
from BrainIACLib.batch.quality_page import write_page
from BrainIACLib.batch.settings import Settings
from BrainIACLib.batch.work import Work, begin
from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.embeddings.files import read_table
from BrainIACLib.embeddings.table import table_of
from BrainIACLib.errors import BrainIACError, ManifestError
from BrainIACLib.head_training.decisions import accepted_rows
from BrainIACLib.head_training.training import train_head
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.private_folder import PREFIX
from BrainIACLib.trust.findings import Doubt, Severity

OFFICIAL = PreprocessingOptions(preset="official")


def write_scan(path, seed):
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, 40) for _ in range(3)), indexing="ij"))
    noise = np.random.default_rng(seed).standard_normal((40, 40, 40))
    image = sitk.GetImageFromArray(np.where((grid**2).sum(0) < 0.7, 100 + 20 * noise, 0).astype(np.float32))
    image.SetSpacing((4, 4, 4))
    sitk.WriteImage(image, str(path))


@pytest.fixture(scope="module")
def cohort(tmp_path_factory):
    """Two visits of one person, of two scans and of one, and a visit of another without a scan that can be read."""
    folder = tmp_path_factory.mktemp("studies")
    contract = install_small_encoder(folder / "store")
    vectors = np.random.default_rng(0).standard_normal((40, SIZE))
    facts = {"model": contract.id, "encoder_sha256": contract.encoder.sha256, "preset": "official", "session": "1"}
    both = ("T1", "FLAIR")
    rows = [
        {
            **facts,
            "scan": f"{n}.nii",
            "sha256": f"{n}",
            "patient": f"p{n // 2}",
            "sequence": both[n % 2],
            "ill": "ny"[n % 4 > 1],
        }
        for n in range(40)
    ]
    train_head(table_of(rows, vectors), "ill", "both", slots=both).install(folder / "store")
    train_head(table_of(rows, vectors), "ill", "one", slots=("T1",)).install(folder / "store")
    for seed, name in enumerate(("t1", "flair", "later")):
        write_scan(folder / f"{name}.nii.gz", seed)
    (folder / "letter.nii").write_text("Dear colleague,")
    (folder / "cohort.csv").write_text(
        "scan,patient,session,sequence,age_years,site\nt1.nii.gz,p1,1,T1,40,A\nflair.nii.gz,p1,1,FLAIR,40,A\n"
        "later.nii.gz,p1,2,T1,42,A\nletter.nii,p2,1,T1,,B\n"
    )
    settings = Settings(
        ("both",), True, preprocessing=OFFICIAL, device="cpu", models_dir=str(folder / "store"), encoder=contract.id
    )
    return folder, settings


def go(folder, settings):
    out = folder / "out"
    begin_dataset(out, folder)
    work = Work(out, begin(out, studies_of(folder / "cohort.csv"), settings))
    found = [work.one(number) for number in list(work.left())]
    work.ledger.close()
    return found


def test_rows_of_one_patient_and_session_are_one_study(cohort):
    folder, _ = cohort
    cases = studies_of(folder / "cohort.csv")
    assert [case.id for case in cases] == [
        "sub-p1/ses-1/anat/sub-p1_ses-1_study",
        "sub-p1/ses-2/anat/sub-p1_ses-2_study",
        "sub-p2/ses-1/anat/sub-p2_ses-1_study",
    ]
    assert [path.rsplit("/", 1)[1] for path in cases[0].paths] == ["t1.nii.gz", "flair.nii.gz"]
    assert (cases[0].facts["age_years"], cases[0].facts["sequence"]) == ("40", "")


def test_one_patient_name_in_two_datasets_is_two_people(tmp_path):
    (tmp_path / "c.csv").write_text("scan,dataset,patient\na.nii,A,01\nb.nii,B,01\nc.nii,A,01\n")
    cases = studies_of(tmp_path / "c.csv")
    assert [len(case.paths) for case in cases] == [2, 1]
    assert len({case.id for case in cases} | {case.facts["scan"] for case in cases}) == 4
    (tmp_path / "scans.csv").write_text("scan,dataset,patient\na/t1.nii,A1,01\nb/t1.nii,A,101\n")
    assert len({case.folder for case in cases_of(tmp_path / "scans.csv")}) == 2


def test_studies_that_would_have_one_name_are_refused(tmp_path):
    (tmp_path / "c.csv").write_text("scan,patient,session\na.nii,01,1\nb.nii,01,ses-1\n")
    with pytest.raises(ManifestError, match=r"a\.nii' and .*b\.nii' .* would both be called 'sub-01/ses-1/anat"):
        studies_of(tmp_path / "c.csv")


def test_names_of_many_studies_without_a_patient_do_not_meet(tmp_path):
    """Six digits of a hash would, of so many."""
    (tmp_path / "c.csv").write_text("scan\n" + "".join(f"{n}\n" for n in range(12_000)))
    assert len({case.id for case in studies_of(tmp_path / "c.csv")}) == 12_000


def test_named_sequences_beside_a_folder_are_not_used_and_that_is_said(tmp_path):
    (tmp_path / "series").mkdir()
    (tmp_path / "c.csv").write_text("scan,patient,sequence\nseries,1,T1\nb.nii,1,FLAIR\n")
    (case,) = studies_of(tmp_path / "c.csv")
    assert _named(case) == (
        {}, ("The sequences that the manifest names (T1, FLAIR) were not used: not all of its scans are image files.",)
    )  # fmt: skip


def test_a_corrected_sequence_of_a_study_is_asked_anew(cohort):
    folder, settings = cohort
    out = folder / "asked"
    cases = studies_of(folder / "cohort.csv")
    files = cases[0].facts["files"].replace("T1", "T2")
    other = cases[0]._replace(facts={**cases[0].facts, "files": files})
    asked = [Work(out, begin(out, [case], settings)).table["asked"][0].as_py() for case in (cases[0], other)]
    assert asked[0] != asked[1]


def test_each_folder_zip_or_image_of_a_folder_is_a_study(tmp_path):
    (tmp_path / "a" / "series").mkdir(parents=True)
    (tmp_path / "b.zip").touch()
    (tmp_path / "c.nii").touch()
    (tmp_path / "notes.txt").touch()
    assert [case.facts["scan"] for case in studies_of(tmp_path)] == ["a", "b.zip", "c.nii"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(ManifestError, match="holds no scan"):
        studies_of(tmp_path / "empty")


def test_a_batch_of_studies_leaves_reports_derivatives_one_row_a_study_and_embeddings_of_each_scan(cohort):
    folder, settings = cohort
    outcomes = go(folder, settings)
    assert [outcome.status for outcome in outcomes] == ["done", "done", "failed"]
    assert "No series of this study is one of T1" in outcomes[2].sentence
    assert go(folder, settings) == []
    out = folder / "out"
    place = out / "sub-p1/ses-1/anat"
    for name in ("report.html", "study.json", "sub-p1_ses-1_space-MNI152NLin2009aSym_desc-preproc_FLAIR.nii.gz"):
        assert (place / name).is_file()
    document = json.loads((place / "study.json").read_text())
    assert [(slot["slot"], slot["by_person"]) for slot in document["slots"]] == [("T1", True), ("FLAIR", True)]
    assert document["age_years"] == 40
    index = update_index(out)
    rows = {row["id"]: row for row in index.to_pylist()}
    first, second = (rows[f"sub-p1/ses-{visit}/anat/sub-p1_ses-{visit}_study"] for visit in "12")
    assert first["slots"] == "T1 FLAIR"
    assert first["found_both"] in ("n", "y")
    said = [text for answer in document["answers"] for text in answer["warnings"]]
    told = [finding["text"] for finding in document["findings"]]
    told += [text for row in document["series"] if row["used_as"] for text in row["warnings"]]
    assert first["warnings"] == " ".join(dict.fromkeys(told))
    assert first["doubts"] == " ".join(dict.fromkeys(text for text in said if text not in told))
    assert document["label"] == "sub-p1_ses-1"
    assert (second["found_both"], "The study has no FLAIR" in second["not_answered"]) == (None, True)
    assert write_embeddings(out, index) == 3
    table = read_table(out / EMBEDDINGS)
    assert list(table.columns["scan"]) == ["t1.nii.gz", "flair.nii.gz", "later.nii.gz"]
    assert list(table.columns["sequence"]) == ["T1", "FLAIR", "T1"]
    assert list(table.columns["session"]) == ["1", "1", "2"]
    (folder / "decisions.csv").write_text("scan,decision\nsub-p1_ses-1,reject\n")
    assert list(accepted_rows(table, folder / "decisions.csv").columns["scan"]) == ["later.nii.gz"]
    assert checked_names(out) == (18, [])
    sidecar = json.loads((place / "sub-p1_ses-1_space-MNI152NLin2009aSym_desc-preproc_FLAIR.json").read_text())
    assert sidecar["Sources"] == ["bids:raw:flair.nii.gz"]
    assert "sub-p1/ses-1/anat/report.html" in write_page(out, index).read_text()


@pytest.mark.parametrize("severity", ["doubt", "grave"])
@pytest.mark.parametrize("by_study", [False, True])
def test_what_stands_with_every_answer_is_in_no_row_unless_it_is_grave(
    cohort, tmp_path, monkeypatch, by_study, severity
):
    folder, settings = cohort
    standing = [Doubt("Its makers doubt it.", Severity(severity))]
    monkeypatch.setattr("BrainIACLib.predictor.standing_doubt", lambda head: standing)
    settings = dataclasses.replace(settings, tasks=("both",) if by_study else ("one",), studies=by_study)
    cases = (studies_of if by_study else cases_of)(folder / "cohort.csv")
    begin_dataset(tmp_path / "out", folder)
    work = Work(tmp_path / "out", begin(tmp_path / "out", cases, settings))
    assert work.one(0).status == "done"
    work.ledger.close()
    index = update_index(tmp_path / "out")
    (row,) = index.to_pylist()
    assert ("Its makers doubt it." in row["doubts"]) == (severity == "grave")
    assert ("Its makers doubt it." in write_page(tmp_path / "out", index).read_text()) == (severity == "grave")


def test_a_scan_that_left_its_study_takes_its_derivatives_with_it(cohort):
    folder, settings = cohort
    go(folder, settings)
    text = (folder / "cohort.csv").read_text()
    try:
        (folder / "cohort.csv").write_text(text.replace("flair.nii.gz,p1,1,FLAIR,40,A\n", ""))
        assert [outcome.status for outcome in go(folder, settings)] == ["done"]
        case = BatchCase("sub-p1/ses-1/anat/sub-p1_ses-1_FLAIR", "", {})
        assert not [name for name in Names(case).all if (folder / "out" / case.folder / name).exists()]
    finally:
        (folder / "cohort.csv").write_text(text)


def test_maps_lie_beside_the_scans_that_they_are_of_and_go_with_their_answers(cohort, monkeypatch):
    """Also of a head that takes any scan; a study that fails keeps what it had."""
    folder, settings = cohort
    out, case = folder / "maps", studies_of(folder / "cohort.csv")[0]
    vectors = np.random.default_rng(1).standard_normal((40, SIZE))
    contract = find_encoder([folder / "store"], settings.encoder).contract
    facts = {"model": contract.id, "encoder_sha256": contract.encoder.sha256, "preset": "official"}
    rows = [{**facts, "scan": f"{n}", "sha256": f"{n}", "patient": f"q{n}", "ill": "ny"[n % 2]} for n in range(40)]
    train_head(table_of(rows, vectors), "ill", "anyhead").install(folder / "store")
    mapped = dataclasses.replace(settings, tasks=("both", "anyhead"), saliency=True, samples=1)
    StudyWorker(out, mapped).process(case)
    place = out / case.folder
    assert sorted(path.name for path in place.glob("*_saliency.nii.gz")) == [
        "sub-p1_ses-1_desc-FLAIRboth_saliency.nii.gz",
        "sub-p1_ses-1_desc-T1wanyhead_saliency.nii.gz",
        "sub-p1_ses-1_desc-T1wboth_saliency.nii.gz",
    ]
    before = (place / "study.json").read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr("BrainIACLib.batch.derivatives.write_transform", _broken)
        with pytest.raises(BrainIACError, match=f"on purpose in {PREFIX}"):
            StudyWorker(out, settings).process(case)
    assert (place / "study.json").read_bytes() == before
    (place / "study.json").write_text('{"study": "another"}')
    monkeypatch.setattr("BrainIACLib.batch.one_study._named", lambda case: ({"T1": "1"}, ("Files of 2 people.",)))
    assert "Files of 2 people." in StudyWorker(out, settings).process(case)["warnings"]  # also what is but a note
    assert list(place.glob("*_saliency.nii.gz")) == []


def _broken(_, path):
    raise BrainIACError(f"on purpose in {path.parent.parent.name}")


def test_a_study_is_done_again_when_a_file_beside_its_image_changed_and_a_scan_is_not(tmp_path):
    for name in ("t1.nii.gz", "dwi.nii.gz"):
        (tmp_path / name).touch()
    (tmp_path / "cohort.csv").write_text("scan,patient\nt1.nii.gz,p1\ndwi.nii.gz,p1\n")
    for studies, again in ((True, [0]), (False, [])):
        out = tmp_path / f"out-{studies}"
        found = (studies_of if studies else cases_of)(tmp_path / "cohort.csv")
        work = Work(out, begin(out, found, Settings((), studies)), lambda case: {})
        for number in list(work.left()):
            work.one(number)
        assert list(work.left()) == []
        for text in ("0", "0 1000"):
            (tmp_path / "dwi.bval").write_text(text)
            assert list(work.left()) == again
            for number in again:
                work.one(number)
        work.ledger.close()
        (tmp_path / "dwi.bval").unlink()


def test_one_output_holds_scans_or_studies(cohort):
    folder, settings = cohort
    go(folder, settings)
    with pytest.raises(BrainIACError, match="holds a batch of studies; choose another folder for scans"):
        begin(folder / "out", cases_of(folder / "cohort.csv"), Settings((), models_dir=settings.models_dir))
