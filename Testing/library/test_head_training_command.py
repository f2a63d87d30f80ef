"""``brainiac train-head`` and ``models export`` as a person types them."""

from __future__ import annotations

import html
import json

import numpy as np
import pytest
from in_process import InProcess
from small_encoder import SIZE, install_small_encoder

from BrainIACLib.checkpoints.installed import find_model
from BrainIACLib.cli import main
from BrainIACLib.embeddings.files import read_table, write_table
from BrainIACLib.embeddings.table import table_of


@pytest.fixture
def brainiac(capsys, monkeypatch, tmp_path_factory):
    """Run a command; gives (exit status, standard output, standard error)."""
    folder = tmp_path_factory.mktemp("worker")
    monkeypatch.setattr("BrainIACLib.cli.answering.Client", lambda models: InProcess(folder, models))

    def run(*arguments):
        status = main([str(argument) for argument in arguments])
        out, err = capsys.readouterr()
        return status, out, err

    return run


@pytest.fixture
def cohort(tmp_path):
    """A store with one encoder, a table of 40 scans of 20 patients, and a file of labels by patient."""
    store = tmp_path / "store"
    contract = install_small_encoder(store)
    vectors = np.random.default_rng(0).standard_normal((40, SIZE))
    facts = {"model": contract.id, "encoder_sha256": contract.encoder.sha256, "preset": "standard", "sequence": "T1"}
    rows = [
        {**facts, "scan": f"{i}.nii", "patient": f"p{i // 2}", "session": str(i % 2), "sha256": f"{i}"}
        for i in range(40)
    ]
    write_table(table_of(rows, vectors), tmp_path / "table.npz")
    labels = [("ill" if vectors[2 * p : 2 * p + 2, 0].sum() > 0 else "well") for p in range(20)]
    text = "patient,diagnosis\n" + "".join(f"p{p},{label}\n" for p, label in enumerate(labels))
    (tmp_path / "labels.csv").write_text(text)
    return tmp_path, store


def test_from_table_and_labels_to_an_installed_task(cohort, brainiac):
    folder, store = cohort
    command = ["train-head", "--embeddings", folder / "table.npz", "--labels", folder / "labels.csv"]
    command += ["--target", "diagnosis", "--task", "my-task", "--models-dir", store]
    status, out, _ = brainiac(*command, "--report", folder / "report.json")
    assert status == 0
    assert "40 cases of 20 patients" in out
    assert "Research use only" in out
    assert "brainiac analyze SCAN --task my-task" in out
    report = json.loads((folder / "report.json").read_text())
    assert report["patients"] == 20
    assert report["notice"].startswith("Research use only. Not a medical device")
    status, out, error = brainiac(*command)
    assert (status, "replace it. Use: --replace" in error) == (1, True)
    status, out, _ = brainiac(*command, "--json", "--replace")
    assert status == 0
    place = json.loads(out)["folder"]
    status, out, _ = brainiac("models", "list", "--json", "--models-dir", store)
    rows = {row["id"]: row for row in map(json.loads, out.splitlines())}
    head = find_model("my-task", [store]).contract.id
    assert (rows[head]["status"], rows[head]["folder"]) == ("trained", place)

    status, _, _ = brainiac("models", "export", head, "--out", folder / "head.zip", "--models-dir", store)
    assert status == 0
    status, _, error = brainiac("models", "import", folder / "head.zip", "--yes", "--models-dir", folder / "elsewhere")
    assert (status, error) == (0, "")
    assert find_model("my-task", [folder / "elsewhere"]).contract.encoder_model is None


def test_the_report_is_also_a_page_with_the_same_words(cohort, brainiac):
    """Doubts first; what a stranger's table says stays text."""
    folder, store = cohort
    labels = (folder / "labels.csv").read_text().replace("ill", "<b>ill</b>")
    lines = [f"{line},{'A' if 'ill' in line else 'B'}" for line in labels.splitlines()[1:]]
    (folder / "labels.csv").write_text("\n".join(["patient,diagnosis,study", *lines]) + "\n")
    command = ["train-head", "--embeddings", folder / "table.npz", "--labels", folder / "labels.csv", "--dry-run"]
    command += ["--target", "diagnosis", "--task", "t", "--models-dir", store, "--report", folder / "report.html"]
    status, out, _ = brainiac(*command)
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert status == 0
    assert out.splitlines()[0] == "Before you use it:"
    assert "read off the column 'study'" in out.splitlines()[1]
    assert page.index("read off the column") < page.index("Cross-validated by patient")
    assert "<b>ill" not in page
    assert "<script" not in page
    for line in out.splitlines()[1:8]:
        assert html.escape(line.strip().removesuffix(":")) in page


def test_a_report_that_cannot_be_written_leaves_nothing_installed(cohort, brainiac):
    folder, store = cohort
    command = ["train-head", "--embeddings", folder / "table.npz", "--labels", folder / "labels.csv", "--task", "t"]
    command += ["--target", "diagnosis", "--models-dir", store, "--report", folder / "nodir" / "report.json"]
    before = sorted(store.iterdir())
    status, _, error = brainiac(*command)
    assert (status, "nodir" in error) == (1, True)
    assert sorted(store.iterdir()) == before


def test_the_output_can_be_read_without_the_manual(cohort, brainiac):
    """Class sizes, the direction of the AUC, a confusion matrix with names, what coverage counts, the worst answers."""
    folder, store = cohort
    command = ["train-head", "--embeddings", folder / "table.npz", "--labels", folder / "labels.csv", "--dry-run"]
    status, out, _ = brainiac(*command, "--target", "diagnosis", "--task", "t", "--models-dir", store)
    assert status == 0
    lines = out.splitlines()
    (sizes,) = [line for line in lines if line.startswith("  cases: ill ")]
    counts = dict(part.rsplit(" ", 1) for part in sizes.removeprefix("  cases: ").split(", "))
    assert sum(map(int, counts.values())) == 40
    assert "a case of 'well' scores above one of 'ill'" in out
    start = next(number for number, line in enumerate(lines) if line.split() == ["truth", "ill", "well"])
    for line, name in zip(lines[start + 1 :], ("ill", "well"), strict=False):
        truth, *row = line.split()
        assert (truth, sum(map(int, row))) == (name, int(counts[name]))
    assert "counted by case, not by patient: 40 cases of 20 patients" in out
    assert ".nii: is " in lines[lines.index("Hardest cases, answered by a head that had not seen the patient:") + 1]


def test_a_head_for_several_scans_says_how_to_use_it(cohort, brainiac):
    """Scans of a session are joined: the printed command, the hardest cases, and the error of a wrong command."""
    folder, store = cohort
    table = read_table(folder / "table.npz")
    both = {"sequence": np.array(["T1CE", "FLAIR"] * 20), "session": np.array(["0"] * 40)}
    write_table(type(table)({**table.columns, **both}, table.embeddings), folder / "table.npz")
    command = ["train-head", "--embeddings", folder / "table.npz", "--labels", folder / "labels.csv"]
    command += ["--target", "diagnosis", "--task", "both", "--models-dir", store]
    status, out, _ = brainiac(*command)
    assert status == 0
    assert f"Use it: brainiac analyze T1CE=FILE FLAIR=FILE --task both --out FOLDER --models-dir {store}" in out
    assert "The scans of a session were joined (T1CE + FLAIR)" in out
    lines = out.splitlines()
    hardest = lines[lines.index("Hardest cases, answered by a head that had not seen the patient:") + 1]
    assert hardest.count(".nii") == 2
    analyze = ["analyze", "--task", "both", "--out", folder / "out", "--models-dir", store]
    status, _, error = brainiac(*analyze, "scan.nii")
    assert (status, "name each once, like this: T1CE=FILE FLAIR=FILE (with --accept-missing, those" in error) == (
        1,
        True,
    )
    status, _, error = brainiac(*analyze, "T1CE=scan.nii")
    assert (status, "missing: FLAIR. Accept missing scans" in error) == (1, True)
    assert error.rstrip().endswith("Use: --accept-missing")

    write_table(read_table(folder / "table.npz").rows(np.arange(39)), folder / "table.npz")
    status, out, _ = brainiac(*command, "--replace")
    assert "Name those of these scans that there are" in out
    status, _, error = brainiac(*analyze, "scan.nii")
    assert (status, "name those that you have once, like this: T1CE=FILE FLAIR=FILE." in error) == (1, True)


def test_a_survival_head_says_what_its_probability_is_worth(cohort, brainiac):
    folder, store = cohort
    rng = np.random.default_rng(0)
    rows = "".join(f"p{p},{rng.exponential(12) + 1:.1f},{int(rng.random() < 0.8)}\n" for p in range(20))
    (folder / "labels.csv").write_text("patient,os_months,event\n" + rows)
    command = ["train-head", "--embeddings", folder / "table.npz", "--labels", folder / "labels.csv", "--dry-run"]
    command += ["--target", "os_months", "--kind", "survival", "--task", "t", "--models-dir", store]
    status, out, _ = brainiac(*command)
    assert status == 0
    for part in (
        "events in 40 cases",
        "log-rank p =",
        "differs from Kaplan-Meier by",
        "prediction set: none for survival",
    ):
        assert part in out
    status, _, error = brainiac(*command, "--endpoint", "900")
    assert (status, "The end point 900 months must lie between" in error) == (1, True)


def test_rows_of_two_preparations_are_refused_in_one_sentence(cohort, brainiac):
    folder, store = cohort
    table = read_table(folder / "table.npz")
    mixed = {**table.columns, "preprocessing_sha256": np.array(["a"] * 30 + ["b"] * 10)}
    write_table(type(table)(mixed, table.embeddings), folder / "mixed.npz")
    command = ["train-head", "--embeddings", folder / "mixed.npz", "--labels", folder / "labels.csv", "--task", "t"]
    status, _, error = brainiac(*command, "--target", "diagnosis", "--models-dir", store)
    assert status == 1
    assert "30 rows like '0.nii', 10 rows like '30.nii'; embed all scans with the same options" in error


def test_a_dry_run_installs_nothing_and_a_wrong_column_is_named(cohort, brainiac):
    folder, store = cohort
    command = ["train-head", "--embeddings", folder / "table.npz", "--labels", folder / "labels.csv", "--task", "t"]
    before = sorted(store.iterdir())
    assert brainiac(*command, "--target", "diagnosis", "--models-dir", store, "--dry-run")[0] == 0
    assert sorted(store.iterdir()) == before
    status, _, error = brainiac(*command, "--target", "grade", "--models-dir", store)
    assert status == 1
    assert "no column 'grade' (it has diagnosis)" in error


def test_scans_that_were_rejected_on_the_quality_page_are_left_out(cohort, brainiac):
    folder, store = cohort
    command = ["train-head", "--embeddings", folder / "table.npz", "--labels", folder / "labels.csv", "--dry-run"]
    command += ["--target", "diagnosis", "--task", "t", "--models-dir", store, "--decisions", folder / "decisions.csv"]
    lines = ["scan,patient,decision", "0.nii,p0,reject", "1.nii,p0,reject", "2.nii,p1,accept", "other.nii,p2,reject"]
    (folder / "decisions.csv").write_text("\n".join(lines))
    status, out, _ = brainiac(*command)
    assert status == 0
    assert "38 cases of 19 patients" in out
    (folder / "decisions.csv").write_text("\n".join([lines[0], "0.nii,p0,perhaps"]))
    assert "Line 2 of" in brainiac(*command)[2]
    (folder / "decisions.csv").write_text("\n".join([lines[0], *(f"{number}.nii,p,reject" for number in range(40))]))
    assert "rejects every scan" in brainiac(*command)[2]
    (folder / "decisions.csv").write_text("scan,patient\n")
    assert "has no column 'decision'" in brainiac(*command)[2]
