"""What a batch leaves: names of BIDS, the numbers of ``embed``, tables that ``train-head`` reads, a page that works."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import subprocess
from functools import partial

import numpy as np
import pytest
import SimpleITK as sitk
from batch_cases import checked_names
from small_encoder import install_small_encoder

pytest.importorskip("pyarrow", reason="needs the 'cluster' extra")

from BrainIACLib.batch import one_case
from BrainIACLib.batch.cases import BatchCase, cases_of
from BrainIACLib.batch.index import DECISIONS, EMBEDDINGS, update_index, write_embeddings, write_failures
from BrainIACLib.batch.index_file import read_index
from BrainIACLib.batch.layout import Names, begin_dataset
from BrainIACLib.batch.quality_page import MOST_PICTURES, _histogram, done_in_words, write_page
from BrainIACLib.batch.quality_tables import sites_told
from BrainIACLib.batch.settings import Settings
from BrainIACLib.batch.site_check import check_sites
from BrainIACLib.batch.work import Work, begin
from BrainIACLib.checkpoints.installed import SeveralModels, find_encoder
from BrainIACLib.embeddings.cohort import read_cohort
from BrainIACLib.embeddings.files import read_table
from BrainIACLib.embeddings.store import embed_cohort
from BrainIACLib.errors import ModelError
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions

OFFICIAL = PreprocessingOptions(preset="official")


@pytest.fixture(scope="module")
def batch(tmp_path_factory):
    """Three scans and a file that is none, prepared as stored and embedded by a small encoder: (folder, settings)."""
    folder = tmp_path_factory.mktemp("batch")
    install_small_encoder(folder / "store")
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, 40) for _ in range(3)), indexing="ij"))
    rows = ["scan,patient,sequence,site,age_years"]
    for name, seed in (("a", 0), ("=b", 1), ("c", 2)):
        noise = np.random.default_rng(seed).standard_normal((40, 40, 40))
        image = sitk.GetImageFromArray(np.where((grid**2).sum(0) < 0.7, 100 + 20 * noise, 0).astype(np.float32))
        image.SetSpacing((4, 4, 4))
        sitk.WriteImage(image, str(folder / f"{name}.nii.gz"))
        rows.append(f"{name}.nii.gz,p{seed},{('T1', 'T2', '')[seed]},{'AB'[seed % 2]},{30 + seed}")
    (folder / "letter.nii").write_text("Dear colleague,")
    (folder / "cohort.csv").write_text("\n".join([*rows, "letter.nii,p9,,,"]) + "\n")
    model = find_encoder([folder / "store"]).contract.id
    settings = Settings(tasks=(), preprocessing=OFFICIAL, device="cpu", models_dir=str(folder / "store"), encoder=model)
    run_batch(folder, settings)
    return folder, settings


def run_batch(folder, settings):
    begin_dataset(folder / "out", folder)
    work = Work(folder / "out", begin(folder / "out", cases_of(folder / "cohort.csv"), settings))
    found = [work.one(number) for number in list(work.left())]
    work.ledger.close()
    return found


def test_the_embeddings_are_those_of_embed(batch):
    folder, settings = batch
    index = update_index(folder / "out")
    assert write_embeddings(folder / "out", index) == 3
    ours = read_table(folder / "out" / EMBEDDINGS)
    cases = [case for case in read_cohort(folder / "cohort.csv") if case.path.name != "letter.nii"]
    predictor = Predictor("cpu", settings.folders)
    theirs = embed_cohort(cases, folder / "t.npz", predictor, model_id=settings.encoder, options=OFFICIAL).table
    order = [list(ours.columns["scan"]).index(scan) for scan in theirs.columns["scan"]]
    assert np.array_equal(ours.embeddings[order], theirs.embeddings)
    for name in ("sha256", "preprocessing_sha256", "encoder_sha256", "patient", "age_years", "brain_ml"):
        assert list(ours.columns[name][order]) == list(theirs.columns[name])


def test_names_are_those_of_the_specification(batch):
    pytest.importorskip("bidsschematools", reason="needs bidsschematools")
    out = batch[0] / "out"
    checked, misnamed = checked_names(out)
    assert misnamed == []
    assert checked >= 12
    description = json.loads((out / "dataset_description.json").read_text())
    assert {"Name", "BIDSVersion", "DatasetType", "GeneratedBy"} <= set(description)


def test_another_model_takes_the_prepared_brain_and_another_preprocessing_does_not(batch, tmp_path, monkeypatch):
    folder, settings = batch
    shutil.copytree(folder, tmp_path / "copy")
    prepared = []
    monkeypatch.setattr(Predictor, "set_study", _counted(Predictor.set_study, prepared))
    settings = dataclasses.replace(settings, models_dir=str(tmp_path / "copy" / "store"))
    case = cases_of(tmp_path / "copy" / "cohort.csv")[0]
    worker = one_case.CaseWorker(tmp_path / "copy" / "out", settings)
    before = np.load(tmp_path / "copy" / "out" / case.folder / Names(case).embedding)
    former = tmp_path / "copy" / "out" / case.folder / Names(case, ["former"]).saliency["former"]
    former.touch()
    assert worker.process(case)["prepared_anew"] is False
    assert prepared == []
    assert not former.exists()  # the map of an answer that is not given any more
    assert np.array_equal(np.load(tmp_path / "copy" / "out" / case.folder / Names(case).embedding), before)
    other = dataclasses.replace(settings, preprocessing=dataclasses.replace(OFFICIAL, seed=1))
    assert one_case.CaseWorker(tmp_path / "copy" / "out", other).process(case)["prepared_anew"] is True
    assert prepared == [1]


def _counted(method, calls):
    return lambda self, *arguments, **options: calls.append(1) or method(self, *arguments, **options)


def test_a_case_that_fails_stands_in_a_table_with_its_reason(batch):
    folder, _ = batch
    index = update_index(folder / "out")
    assert write_failures(folder / "out", index) == 1
    text = (folder / "out" / "failures.csv").read_text()
    assert "letter.nii' is not a NIfTI image, whatever its suffix .nii says; give the image itself." in text


@pytest.fixture
def page(batch, tmp_path):
    import pyarrow

    folder, _ = batch
    out = tmp_path / "out"
    shutil.copytree(folder / "out", out)
    index = update_index(out)
    overlaps = pyarrow.array([0.9 - 0.1 * row for row in range(len(index))])  # the preset of these scans has no such
    return write_page(out, index.append_column("registration_overlap", overlaps))


def test_the_page_shows_what_it_must_and_no_text_of_a_stranger_acts(page):
    text = page.read_text()
    assert "3 scans done, 1 failed" in text
    assert "Failures by cause" in text
    assert "Research use only" in text
    assert not re.search(r"(src|href)=[\"']?https?:", text)
    assert "failures.csv" in text
    data = data_of(page)
    assert {case["scan"] for case in data["cases"]} == {"a.nii.gz", "=b.nii.gz", "c.nii.gz"}


def data_of(page):
    return json.loads(re.search(r'id="data"[^>]*>(.*?)</script>', page.read_text(), re.S)[1])


def test_a_page_goes_on_from_earlier_decisions_and_loses_none_of_scans_that_it_does_not_show(page):
    out = page.parent
    (out / DECISIONS).write_text("scan,patient,decision\nc.nii.gz,p2,accept\nanother.nii.gz,p8,reject\n")
    data = data_of(write_page(out, update_index(out)))
    assert {case["scan"]: case["decision"] for case in data["cases"]} == {
        "a.nii.gz": "",
        "=b.nii.gz": "",
        "c.nii.gz": "accept",
    }
    assert data["elsewhere"] == [["another.nii.gz", "p8", "reject"]]


def test_a_decision_is_that_of_one_person_where_two_have_scans_of_one_name(page):
    import pyarrow

    out = page.parent
    index = update_index(out)
    index = index.set_column(
        index.column_names.index("scan"),
        "scan",
        pyarrow.array(["T1.nii" if name else "" for name in index["scan"].to_pylist()]),
    )
    (out / DECISIONS).write_text("scan,patient,decision\nT1.nii,p1,reject\nT1.nii,p8,accept\n")
    data = data_of(write_page(out, index))
    assert {case["patient"]: case["decision"] for case in data["cases"]} == {"p0": "", "p1": "reject", "p2": ""}
    assert data["elsewhere"] == [["T1.nii", "p8", "accept"]]
    assert write_embeddings(out, index) == 2
    assert sorted(read_table(out / EMBEDDINGS).columns["patient"]) == ["p0", "p2"]
    (out / DECISIONS).write_text("scan,decision\nT1.nii,reject\n")  # of no patient: of all
    assert {case["decision"] for case in data_of(write_page(out, index))["cases"]} == {"reject"}


def test_a_corrected_patient_keeps_the_decision(page):
    out = page.parent
    (out / DECISIONS).write_text("scan,patient,decision\nc.nii.gz,p7,reject\n")
    assert write_embeddings(out, update_index(out)) == 2


def test_where_several_models_answer_a_task_a_batch_advises_what_it_takes(monkeypatch):
    def unclear(task, folders, model_id):
        raise SeveralModels(task, ["first", "second"])

    monkeypatch.setattr("BrainIACLib.batch.settings.find_model", unclear)
    with pytest.raises(ModelError, match=r"installed \(first, second\); a batch needs one: remove the others") as error:
        Settings(tasks=("age",)).models()
    assert error.value.command == "brainiac models remove ID"


def test_sites_stand_beside_each_other_with_the_medians_of_their_figures(tmp_path):
    import pyarrow

    done = pyarrow.table({"id": ["a/1_T1w", "a/2_T1w", "a/3_T1w"], "path": ["1", "2", "3"], "site": ["A", "A", "<b>"]})
    failed = pyarrow.table({"site": ["A", None]})
    text = sites_told(tmp_path, done, failed, {"volume (ml)": np.array([1000.0, 1301, np.nan])})
    rows = re.findall(r"<tr>(.*?)</tr>", text)
    assert [re.findall(r"<t[hd]>(.*?)</t[hd]>", row) for row in rows] == [
        ["site", "scans", "failed", "median volume (ml)"],
        ["A", "2", "1", "1150"],
        ["&lt;b&gt;", "1", "", ""],
        ["(empty)", "0", "1", ""],
    ]


def test_a_thousand_cases_stay_below_ten_megabytes(page):
    size = len(page.read_bytes())
    pictures = [len(text) for text in re.findall(r'"picture": "([^"]*)"', page.read_text())]
    assert size / 3 * 1 < 1e6
    assert max(pictures) * MOST_PICTURES < 9e6


def test_in_chromium_a_key_decides_and_the_table_is_what_the_batch_reads(page, tmp_path):
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    if browser is None:
        pytest.skip("needs Chromium")
    act = """
<script>
const press = key => document.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
document.querySelector(".case").click(); press("r"); press("a"); press("u");
const marks = document.querySelectorAll("svg .mark").length;
document.body.append(Object.assign(document.createElement("pre"), {id: "said", textContent: marks + "|" + table()}));
</script>"""
    acting = page.with_name("acting.html")
    acting.write_text(page.read_text().replace("</body>", act + "</body>"))
    shown = subprocess.run(
        [browser, "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={tmp_path / 'profile'}",
         "--virtual-time-budget=3000", "--dump-dom", acting.as_uri()],
        capture_output=True, text=True, timeout=600, check=True,
    ).stdout  # fmt: skip
    marks, table = re.search(r'<pre id="said">(.*?)</pre>', shown, re.S)[1].split("|", 1)
    assert int(marks) > 0
    lines = table.split("\n")
    assert lines[0] == "scan,patient,decision"
    assert [line.rsplit(",", 1)[1] for line in lines[1:3]] == ["reject", "accept"]
    (page.parent / DECISIONS).write_text(table)
    assert write_embeddings(page.parent, update_index(page.parent)) == 2


def test_the_site_is_told_where_it_can_be_and_not_where_it_cannot():
    rng = np.random.default_rng(0)
    sites = np.array(["A", "B"] * 60)
    patients = [f"p{number}" for number in range(120)]
    noise = rng.standard_normal((120, 64))
    none = check_sites(noise, sites, patients)
    assert none.low < 0.5 < none.high
    assert "no more than chance" in none.in_words
    told = check_sites(noise + 3 * (sites == "A")[:, None] * (np.arange(64) < 8), sites, patients)
    assert told.accuracy > 0.95
    assert "leave one site out" in told.in_words
    assert check_sites(noise, ["A"] * 120, patients) is None


def test_the_same_person_is_never_on_both_sides_of_the_site_check():
    """Scans of a person are alike: with the person on both sides, noise would tell the site."""
    alarms = 0
    for seed in range(10):
        rng = np.random.default_rng(seed)
        vectors = np.repeat(rng.standard_normal((24, 64)), 10, axis=0) + 0.01 * rng.standard_normal((240, 64))
        sites = np.repeat(rng.permutation(["A", "B"] * 12), 10)
        found = check_sites(vectors, sites, np.repeat([f"p{n}" for n in range(24)], 10).tolist())
        alarms += found.low > found.chance
    assert alarms <= 2


def test_the_command_runs_a_cohort_and_says_how_far_it_is(tmp_path, capsys, batch):
    from BrainIACLib.cli import main

    folder, settings = batch
    options = ["--tasks", "--preset", "official", "--device", "cpu", "--models-dir", settings.models_dir]
    options += ["--model", settings.encoder, "--out", str(tmp_path / "out"), "--jobs", "1"]
    assert main(["batch", "--manifest", str(folder / "cohort.csv"), *options]) == 1
    assert "3 scans done, 1 failed" in capsys.readouterr().err
    assert (tmp_path / "out" / "report.html").is_file()
    assert main(["batch", "--out", str(tmp_path / "out"), "--status"]) == 0
    assert "3 of 4 done, 1 failed, 0 running, 0 left" in capsys.readouterr().out
    assert main(["batch", "--out", str(tmp_path / "empty"), "--status"]) == 1


def test_the_bids_app_takes_a_data_set_and_labels(tmp_path, capsys, batch):
    from BrainIACLib.cli.bids_app import main

    folder, settings = batch
    for label in ("01", "02"):
        place = tmp_path / "ds" / f"sub-{label}" / "anat"
        place.mkdir(parents=True)
        shutil.copy(folder / "a.nii.gz", place / f"sub-{label}_T1w.nii.gz")
    (tmp_path / "ds" / "dataset_description.json").write_text('{"Name": "d", "BIDSVersion": "1.10.0"}')
    options = ["--tasks", "--preset", "official", "--device", "cpu", "--models-dir", settings.models_dir]
    options += ["--model", settings.encoder, "--jobs", "1"]
    out = tmp_path / "out"
    run = partial(main, [str(tmp_path / "ds"), str(out), "participant", "--participant-label", "02", *options])
    assert run() == 0
    assert [path.name for path in out.glob("sub-*")] == ["sub-02"]
    assert (out / "sub-02/anat/sub-02_space-MNI152NLin2009aSym_desc-preproc_T1w.nii.gz").is_file()
    assert not (out / "report.html").exists()
    assert main([str(tmp_path / "ds"), str(out), "group"]) == 0
    assert (out / "report.html").is_file()
    (tmp_path / "ds" / "participants.tsv").write_text("participant_id\tsite\nsub-02\tC\n")
    assert run() == 0
    assert main([str(tmp_path / "ds"), str(out), "group"]) == 0
    assert read_index(out)["site"].to_pylist() == ["C"]
    capsys.readouterr()
    assert main([str(tmp_path / "ds"), str(out), "participant", "--participant-label", "03", *options]) == 1
    assert "holds no T1w, T2w or FLAIR image of sub-03" in capsys.readouterr().err


def test_one_scan_alone_has_an_axis_of_possible_figures_and_studies_are_called_so():
    import pyarrow

    found = _histogram(np.array([0.94]))
    assert 0 <= found["low"] < 0.94 < found["high"] <= 1
    assert done_in_words(1, pyarrow.table({"id": ["a"]})) == "1 scan done"
    assert done_in_words(2, pyarrow.table({"slots": ["T1"]})) == "2 studies done"


def test_entities_of_a_case_are_told_apart():
    case = BatchCase("sub-1/ses-2/anat/sub-1_ses-2_acq-x_T1w", "x.nii", {})
    assert (case.folder, case.entities, case.suffix) == ("sub-1/ses-2/anat", "sub-1_ses-2_acq-x", "T1w")
