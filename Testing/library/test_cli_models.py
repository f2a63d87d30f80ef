"""``brainiac models``, the official tasks and ``embed``, as a person types them."""

import contextlib
import csv
import hashlib
import io
import json
import subprocess
import sys
import types

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from checkpoint_files import install, v1_backbone, v1_task

from BrainIACLib.checkpoints import conversion, conversion_process, parity
from BrainIACLib.checkpoints.installed import installed_models
from BrainIACLib.cli import main


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    folder = tmp_path_factory.mktemp("store")
    torch.manual_seed(0)  # another seed may give an age beyond 100 years, which is refused
    for task, official in {"age": v1_task(), "idh": v1_task(bilinear=True), "embedding": v1_backbone()}.items():
        install(official, task, folder)
    return folder


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """Two preprocessed-looking scans on disk: noisy ellipsoids of 200 mm, zero outside."""
    folder = tmp_path_factory.mktemp("scans")
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, 50) for _ in range(3)), indexing="ij"))
    for seed, name in enumerate(("a.nii.gz", "b.nii.gz")):
        noise = np.random.default_rng(seed).standard_normal((50, 50, 50))
        image = sitk.GetImageFromArray(np.where((grid**2).sum(0) < 0.7, 100 + 20 * noise, 0).astype(np.float32))
        image.SetSpacing((4, 4, 4))
        sitk.WriteImage(image, str(folder / name))
    return folder / "a.nii.gz", folder / "b.nii.gz"


@pytest.fixture(autouse=True)
def conversion_in_this_process(monkeypatch):
    """A child process takes seconds to start; test_checkpoints_store.py and test_checkpoints_download.py use it."""

    def run(command, **_):
        out = io.StringIO()
        with contextlib.redirect_stdout(out):
            status = conversion_process.main(command[command.index("-m") + 2 :])
        return subprocess.CompletedProcess(command, status, out.getvalue().encode(), b"")

    monkeypatch.setattr(conversion.subprocess, "run", run)
    monkeypatch.setattr(conversion_process, "limit_resources", lambda size: None)


@pytest.fixture
def brainiac(capsys):
    """Run a command; gives (exit status, JSON objects on standard output, standard error)."""

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, [json.loads(line) for line in out.splitlines()] if "--json" in arguments else out, err

    return run


def model_id(store, task):
    return next(path.name for path in store.iterdir() if f"-{task}-" in path.name)


def test_the_list_names_imported_and_missing_models(brainiac, store):
    status, rows, _ = brainiac("models", "list", "--json", "--models-dir", store)
    assert status == 0
    by_id = {row["id"]: row for row in rows}
    imported = by_id[model_id(store, "age")]
    assert (imported["status"], imported["task"], imported["from"]) == ("imported", "age", "age.pt")
    assert "brainiac-v1-age" not in by_id
    missing = by_id["brainiac-v2-age"]
    assert (missing["status"], missing["from"], missing["encoder"]) == ("missing", "brainage.ckpt", "vit_b")
    assert all(row["licence"] for row in rows)
    _, table, _ = brainiac("models", "list", "--models-dir", store)
    assert table.splitlines()[0].split() == ["status", "id", "task", "encoder", "megabytes", "licence", "from"]


def test_a_model_is_imported_verified_shown_and_removed(brainiac, tmp_path):
    torch.save(v1_task().content, tmp_path / "brainage_model_latest.pt")
    path, folder = tmp_path / "brainage_model_latest.pt", tmp_path / "store"

    status, out, error = brainiac("models", "import", path, "--models-dir", folder, "--yes")
    assert status == 1
    assert "one of: age, mci, stroke" in error
    assert "suggests 'age'" in error
    status, out, error = brainiac("models", "import", path, "--task", "idh", "--models-dir", folder, "--yes")
    assert (status, folder.exists()) == (1, False)
    assert "not for 'idh'" in error
    status, out, error = brainiac("models", "import", path, "--task", "age", "--models-dir", folder)
    assert (status, folder.exists()) == (1, False)  # nobody is there to accept the license
    assert "License: CC BY-NC" in out
    assert "--yes" in error

    status, (answer,), _ = brainiac(
        "models", "import", path, "--task", "age", "--models-dir", folder, "--yes", "--json"
    )
    assert (status, answer["new"], answer["task"]) == (0, True, "age")
    assert brainiac("models", "verify", "--json", "--models-dir", folder)[1][-1]["ok"]
    _, (shown,), _ = brainiac("models", "show", answer["id"], "--json", "--models-dir", folder)
    source = shown["contract"]["source"]
    assert source["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    assert source["terms_accepted"].startswith("20")
    assert "License" in brainiac("models", "show", answer["id"], "--models-dir", folder)[1]
    weights = folder / answer["id"] / "encoder.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\0")
    status, rows, _ = brainiac("models", "verify", answer["id"], "--json", "--models-dir", folder)
    assert (status, rows[0]["ok"]) == (1, False)
    assert brainiac("models", "remove", answer["id"], "--models-dir", folder)[0] == 0
    assert list(folder.iterdir()) == []
    assert brainiac("models", "remove", answer["id"], "--models-dir", folder)[0] == 1


def test_a_person_at_the_terminal_is_asked_once_and_may_refuse(brainiac, tmp_path, monkeypatch):
    torch.save(v1_task(4).content, tmp_path / "sequence.pt")
    monkeypatch.setattr(sys, "stdin", types.SimpleNamespace(isatty=lambda: True))
    asked = []
    monkeypatch.setattr("builtins.input", lambda question: asked.append(question) or "n")
    options = ("models", "import", tmp_path / "sequence.pt", "--models-dir", tmp_path / "store")
    status, _, error = brainiac(*options)
    assert (status, len(asked)) == (1, 1)
    assert "nothing was installed" in error
    monkeypatch.setattr("builtins.input", lambda question: (_ for _ in ()).throw(EOFError))  # Ctrl+D
    assert brainiac(*options)[0] == 1
    assert not (tmp_path / "store").exists()


def test_a_damaged_model_is_named_and_can_be_removed(brainiac, tmp_path):
    (tmp_path / "brainiac-v1-age-00000000").mkdir()
    (tmp_path / "brainiac-v1-age-00000000" / "contract.json").write_text("{")
    for action in ("verify", "show"):
        status, (answer,), _ = brainiac(
            "models", action, "brainiac-v1-age-00000000", "--json", "--models-dir", tmp_path
        )
        assert status == 1
        assert "cannot be read as JSON" in answer["error"]
    assert brainiac("models", "list", "--json", "--models-dir", tmp_path)[1][-1]["status"] == "damaged"
    assert brainiac("models", "remove", "brainiac-v1-age-00000000", "--models-dir", tmp_path)[0] == 0
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "command",
    [
        ("models", "import", "missing.pt", "--yes"),
        ("models", "show", "nothing"),
        ("models", "remove", "nothing"),
        ("models", "verify", "nothing"),
        ("models", "download", "nothing"),
        ("models", "parity", "--weights", "missing"),
        ("age", "scan.nii.gz"),
        ("embed", "scan.nii.gz", "--out", "t.csv", "--model", "nothing"),
    ],
)
def test_errors_are_json_too(command, brainiac, tmp_path):
    (tmp_path / "store").mkdir()
    status, (answer,), error = brainiac(*command, "--json", "--models-dir", tmp_path / "store")
    assert (status, error) == (1, "")
    assert len(answer["error"].split()) > 4  # a sentence


def test_age_answers_each_scan_and_reports_the_one_that_fails(brainiac, store, scans, tmp_path):
    missing = tmp_path / "missing.nii.gz"
    (imported,) = (model.contract.id for model in installed_models([store]) if model.task == "age")
    options = ("--preset", "official", "--device", "cpu", "--json", "--models-dir", store)
    # a bundled one answers first
    status, rows, _ = brainiac("age", *scans, missing, "--age", 60, "--model", imported, *options)
    assert status == 1
    assert rows[0]["age_gap"]["gap_years"] == pytest.approx(rows[0]["value"] - 60, abs=0.01)
    assert [row.get("unit") for row in rows] == ["years", "years", None]
    assert "missing.nii.gz" in rows[2]["error"]
    assert rows[0]["scans"] == {"T1": "a"}
    assert any(warning.startswith("Unverified") for warning in rows[0]["warnings"])


def test_a_study_of_two_scans_is_answered_with_a_map_for_each(brainiac, store, scans, tmp_path):
    out = tmp_path / "out"
    options = ("--preset", "official", "--device", "cpu", "--samples", 1, "--models-dir", store)
    status, (answer,), _ = brainiac("idh", "--t1ce", scans[0], "--flair", scans[1], "--out", out, *options, "--json")
    assert status == 0
    assert set(answer["results"]) == {"T1CE", "FLAIR"}
    assert "unverified" in answer["label"]
    for slot, path in zip(("T1CE", "FLAIR"), scans, strict=True):
        heat = sitk.ReadImage(str(out / slot / "saliency.nii.gz"))
        assert heat.GetSize() == sitk.ReadImage(str(path)).GetSize()
        assert json.loads((out / slot / "result.json").read_text())["saliency"]["target"].startswith("logit of class")
    status, text, _ = brainiac("idh", "--t1ce", scans[0], "--flair", scans[1], *options)
    assert "probability" in text
    assert "Research use only" in text


def test_missing_scans_and_missing_models_are_said_before_any_work(brainiac, store, scans, monkeypatch):
    monkeypatch.setattr("BrainIACLib.worker.client.Client._start", lambda self: pytest.fail("started the worker"))
    status, (answer,), _ = brainiac("idh", "--t1ce", scans[0], "--models-dir", store, "--json")
    assert status == 1
    assert "missing: FLAIR" in answer["error"]
    status, _, error = brainiac("survival", "--t1", scans[0], "--models-dir", store)
    assert status == 1
    assert "os_model.pt" in error
    assert "brainiac models import FILE --task survival" in error


@pytest.mark.parametrize("suffix", ["csv", "npz", "parquet"])
def test_embeddings_are_one_row_a_scan_in_each_format(suffix, brainiac, store, scans, tmp_path):
    if suffix == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet")
    out, model = tmp_path / f"table.{suffix}", model_id(store, "embedding")
    status, text, _ = brainiac(
        "embed",
        *scans,
        "--out",
        out,
        "--model",
        model,
        "--preset",
        "official",
        "--device",
        "cpu",
        "--models-dir",
        store,
    )
    assert status == 0
    assert "2 embeddings of 256 numbers" in text
    if suffix == "csv":
        rows = list(csv.DictReader(out.open(newline="")))
        files, models = [row["scan"] for row in rows], {row["model"] for row in rows}
        matrix = np.array([[float(row[f"e{i}"]) for i in range(256)] for row in rows])
    elif suffix == "npz":
        table = np.load(out)
        files, models, matrix = list(table["scan"]), set(table["model"]), table["embedding"]
    else:
        table = parquet.read_table(out).to_pydict()
        files, models = table["scan"], set(table["model"])
        matrix = np.array([table[f"e{i}"] for i in range(256)]).T
    assert files == [str(path) for path in scans]
    assert models == {model}
    assert matrix.shape == (2, 256)
    assert np.ptp(matrix, axis=0).max() > 0


def test_parquet_without_pyarrow_is_said_before_any_work(brainiac, scans, tmp_path, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    status, _, error = brainiac("embed", scans[0], "--out", tmp_path / "t.parquet")
    assert status == 1
    assert "pip install pyarrow" in error


def test_downloading_without_the_extra_is_said(brainiac, monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    status, _, error = brainiac("models", "download", "medicalnet-resnet50")
    assert status == 1
    assert 'pip install ".[download]"' in error


def test_parity_compares_real_files_and_names_what_is_missing(brainiac, scans, tmp_path, monkeypatch):
    """3.4, with a golden value taken from MONAI's net: found equal; another one: differs; the rest: no weights."""
    official = v1_task()
    weights = tmp_path / "weights"
    weights.mkdir()
    torch.save(official.content, weights / "brainage_model_latest.pt")
    (weights / "notes.txt").write_text("no weight file at all")
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(scans[0]))).transpose(2, 1, 0)[None, None]
    resized = torch.nn.functional.interpolate(torch.from_numpy(image.copy()), size=(128,) * 3, mode="area")
    normalised = (resized - resized.min()) / (resized.max() - resized.min())
    with torch.inference_mode():
        months = official.outputs(normalised).item()
    sample = {"sample": hashlib.sha256(scans[0].read_bytes()).hexdigest(), "sample_0000 tensor": "0" * 64}
    monkeypatch.setattr(parity, "SAMPLES", sample)
    golden = [
        parity.Golden("v1", task, ("sample",), (0,), (value,), 1e-3, name)
        for task, value, name in (("age", months, "months"), ("age", months + 1, "other"), ("idh", 0.5, "probability"))
    ]
    monkeypatch.setattr(parity, "GOLDEN", golden)
    options = ("--weights", weights, "--scans", scans[0].parent)
    status, rows, _ = brainiac("models", "parity", *options, "--json")
    assert [row["result"].split(":")[0] for row in rows] == ["equal", "differs", "no weights", "not used"]
    assert status == 1


def test_the_golden_samples_of_the_shared_scans_are_found(shared_data):
    found = parity._found_scans(shared_data / "scans")
    assert set(found) == {"00001_t2f", "00001_t1c", "00001_t1n", "00001_t2w", "subpixar009_T1w"}


def test_parity_that_compares_nothing_has_not_succeeded(brainiac, tmp_path):
    status, _, error = brainiac("models", "parity", "--weights", tmp_path)
    assert status == 1
    assert "Nothing could be compared" in error


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("nope.pt", None, "does not exist; check the spelling"),
        ("empty.pt", b"", "is empty (0 bytes)"),
        (
            "other.pt",
            {"layer.weight": torch.zeros(3)},
            "the files that can be imported. Use: brainiac models list",
        ),
    ],
)
def test_a_file_that_cannot_be_imported_is_named_with_what_to_do(name, content, said, brainiac, tmp_path):
    if isinstance(content, bytes):
        (tmp_path / name).write_bytes(content)
    elif content:
        torch.save(content, tmp_path / name)
    status, _, error = brainiac("models", "import", tmp_path / name, "--models-dir", tmp_path / "store", "--yes")
    assert status == 1
    assert name in error
    assert said in error


def test_of_a_zip_the_licence_inside_is_shown_before_the_question(brainiac, store, tmp_path):
    model, zipped = model_id(store, "age"), tmp_path / "model.zip"
    assert brainiac("models", "export", model, "--out", zipped, "--models-dir", store)[0] == 0
    status, out, error = brainiac("models", "import", zipped, "--models-dir", tmp_path / "other")
    assert (status, (tmp_path / "other").exists()) == (1, False)
    licence = json.loads((store / model / "contract.json").read_text())["licence"]
    assert f"License: {licence}" in out
    assert "--yes" in error


def test_show_prints_the_card_of_the_folder(brainiac, store):
    model = model_id(store, "age")
    card = store / model / "card.md"
    kept = card.read_text()
    card.write_text(kept + "\n## What it is worth\n\n- AUC 0.7\n")
    try:
        assert "- AUC 0.7" in brainiac("models", "show", model, "--models-dir", store)[1]
        card.write_bytes("Nothing \x1b[2J is unverified, für alle.".encode("latin-1"))  # a stranger's
        shown = brainiac("models", "show", model, "--models-dir", store)[1]
        assert kept.rstrip() in shown
        assert "\x1b" not in shown
    finally:
        card.write_text(kept)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("analyze", "--age", "-5"), "from 0 to 130"),
        (("analyze", "--age", "nan"), "from 0 to 130"),
        (("analyze", "--samples", "abc"), "a whole number of at least 1, not 'abc'"),
        (("analyze", "--frame", "-1"), "a whole number of at least 0, not '-1'"),
        (("analyze", "--models-dir", "no-such-folder"), "there is no folder 'no-such-folder'"),
        (("age", "--models-dir", "no-such-folder"), "there is no folder 'no-such-folder'"),
    ],
)
def test_an_impossible_number_or_folder_is_a_wrong_command_line(options, said, capsys):
    command, *options = options
    with pytest.raises(SystemExit, match="2"):
        main([command, *(["--out", "out"] if command == "analyze" else []), *options, "scan.nii.gz"])
    assert said in capsys.readouterr().err


def test_every_command_of_models_takes_json(capsys):
    for action in ("list", "import", "verify", "show", "remove", "download", "parity"):
        with pytest.raises(SystemExit):
            main(["models", action, "--help"])
        assert "--json" in capsys.readouterr().out
