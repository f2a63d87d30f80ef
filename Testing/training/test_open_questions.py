"""The questions of the open cohort: who is trained on, who is the external test, and the page of their results."""

import pandas as pd
import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")

from fabricated_runs import fabricate_random_runs

from Training.cohorts.open_data import study_of, write_open_manifest
from Training.reproduction.designs import OPEN_DESIGNS
from Training.reproduction.results_page import BEGIN, END, main

STUDIES = ["BraTS", "IXI", "Ljubljana MS", "ds000002", "ds002748", "single scans"]


def test_nobody_of_the_external_studies_is_trained_on():
    external = {design.name: design.external(STUDIES) for design in OPEN_DESIGNS}
    assert set(external["age-from-ixi"]) == set(STUDIES) - {"IXI"}
    assert set(external["age-from-ds002748"]) == set(STUDIES) - {"ds002748"}
    assert external["sequence-by-person"] == ()
    assert external["sequence-by-study"] == ("BraTS",)


def test_the_manifest_names_studies_and_leaves_out_the_ages_of_children(shared_data, tmp_path):
    table = pd.read_csv(write_open_manifest(shared_data, tmp_path / "open.csv"), keep_default_na=False, dtype=str)
    assert set(table["dataset"]) == set(STUDIES)
    assert (table["dataset"] == [study_of(patient) for patient in table["patient"]]).all()
    ages = pd.to_numeric(table["age_years"], errors="coerce").dropna()
    assert ages.min() >= 18
    assert not table[table["sequence"] == "T1"]["patient"].duplicated().any()


def test_the_tables_are_written_between_the_marks_alone(tmp_path, capsys):
    page = tmp_path / "page.md"
    page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n", encoding="utf-8")
    arguments = ["--report", str(tmp_path), "--page", str(page), "--resamples", "20"]
    assert main(arguments) == 1
    assert "holds no runs" in capsys.readouterr().err
    runs = tmp_path / "work" / "runs-age-from-ixi"
    fabricate_random_runs(runs, cases=30, tasks=("age",), fractions=(0.1, 1.0), modes=("probe",), extras=False)
    assert main(arguments) == 0
    text = page.read_text(encoding="utf-8")
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    assert "Brain age, MAE (years)" in text
    assert "own pretraining - Scratch" in text
    assert main(arguments) == 0
    assert page.read_text(encoding="utf-8") == text
