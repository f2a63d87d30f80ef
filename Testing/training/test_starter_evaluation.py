"""The evaluation of the bundled model: what it counts as odd, its AUROC, its cache, and that it is the Predictor's."""

from __future__ import annotations

import csv
import hashlib
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from sklearn.metrics import roc_auc_score

from BrainIACLib.checkpoints.installed import InstalledModel
from BrainIACLib.contracts import read_contract
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.resources import resource
from BrainIACLib.scans import read_scan
from Training.starter.evaluate import Answer, answers, report
from Training.starter.novelty_report import novelty_section, oddness

MODEL = resource("Models", "sequence-starter")
LABELS = ("T1", "T2", "FLAIR", "T1CE", "other")


@pytest.mark.parametrize(
    ("file", "kind", "sequence", "age", "why"),
    [
        ("scans/a_T1w.nii.gz", "scan", "T1", "", ""),
        ("dicom/a.zip", "dicom", "FLAIR", "3", ""),
        ("dicom/pd.zip", "dicom", "PD", "28", "sequences outside the four"),
        ("scans/ct.nii.gz", "scan", "CT", "", "sequences outside the four"),
        ("bad/letters.nii.gz", "scan", "T1", "", "bad inputs"),
        ("bad/dwi.nii.gz", "scan", "", "", "bad inputs"),
        ("atlas/month0.nii.gz", "atlas", "T1", "0", "newborn"),
        ("atlas/white_matter.nii.gz", "atlas", "", "", "tissue maps and masks"),
        ("atlas/adult_mean.nii.gz", "atlas", "T1", "", None),
        ("labelmaps/a.nii.gz", "labelmap", "", "", None),
    ],
)
def test_the_manifest_says_which_inputs_are_odd(file, kind, sequence, age, why):
    assert oddness({"file": file, "kind": kind, "sequence": sequence, "age_years": age}) == why


def answer(number: int, odd: str, novelty: float | None, truth: str = "T1") -> Answer:
    probabilities = {} if novelty is None else {label: float(label == "T1") for label in LABELS}
    refusal = "no brain" if novelty is None else ""
    return Answer(f"{number}.nii.gz", f"p{number}", False, "auto", truth, odd, probabilities, refusal, novelty)


def test_refusals_count_once_as_nothing_and_once_as_the_most_novel():
    """Against scikit-learn on the same scores, the refused ones at infinity."""
    usual = [0.5, 0.6, 0.7, 0.8, 0.9, 1.3, None]
    odd = [0.65, 1.2, 2.0, None, None]
    chosen = [answer(i, "", score) for i, score in enumerate(usual)]
    chosen += [answer(10 + i, "bad inputs", score, truth="") for i, score in enumerate(odd)]
    text = novelty_section(chosen, 1.1)
    some = [[score for score in scores if score is not None] for scores in (usual, odd)]
    among = roc_auc_score([0] * len(some[0]) + [1] * len(some[1]), some[0] + some[1])
    scores = [9.0 if score is None else score for score in usual + odd]
    counted = roc_auc_score([0] * len(usual) + [1] * len(odd), scores)
    (row,) = [line for line in text.splitlines() if line.startswith("| all |")]
    cells = [cell.strip() for cell in row.strip("|").split("|")]
    assert cells[1:4] == ["5", "2", "2 of 3 (67%)"]
    assert cells[4].startswith(f"{among:.3f} (")
    assert cells[5].startswith(f"{counted:.3f} (")
    low, high = (float(number) for number in cells[5].partition("(")[2].rstrip(")").split(" to "))
    assert low <= counted <= high
    assert "1 refused; of the others 1 of 6 (17%) are warned of" in text
    assert "- `5.nii.gz`: T1, score 1.30" in text


def test_a_group_that_was_refused_whole_has_no_figure_among_the_answered():
    few = [answer(0, "", 0.5), answer(1, "", 0.6), answer(2, "newborn", 2.0), answer(3, "bad inputs", None)]
    text = novelty_section(few, 1.1)
    assert "| bad inputs | 1 | 1 | 0 of 0 | - | 1.000 (" in text
    assert "nan" not in text


def test_odd_inputs_are_no_errors_of_the_classifier():
    """An odd input with a sequence of its own (letters burned into a T1) stays out of the accuracy."""
    chosen = [answer(0, "", 0.5), answer(1, "bad inputs", 0.4, truth="T2")]
    text = report(chosen, LABELS, 0.9, 1.1)
    assert "accuracy 1/1" in text
    assert "| `1.nii.gz` | bad inputs | auto | T1 | 1.00 | YES | 0.40 | no |" in text


def test_two_sequences_of_one_subject_each_give_an_accuracy_without_an_interval():
    """Most resamples of the subjects lack one of the two."""
    chosen = [answer(0, "", 0.5, truth="T2"), answer(1, "", 0.5, truth="FLAIR")]
    chosen += [answer(number, "", 0.5) for number in range(2, 12)]
    assert "balanced accuracy 0.333 (too few scans of a sequence for an interval)" in report(chosen, LABELS, 0.9, 1.1)


def brain(path: Path, seed: int) -> None:
    generator = np.random.default_rng(seed)
    grid = np.stack(np.meshgrid(*(np.linspace(-1, 1, n) for n in (40, 46, 42)), indexing="ij"))
    values = np.where((grid**2).sum(0) < 0.7, 100 + 20 * generator.standard_normal((40, 46, 42)), 0)
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing((4, 4, 4))
    path.parent.mkdir(parents=True, exist_ok=True)
    sitk.WriteImage(image, str(path))


@pytest.fixture
def data(tmp_path):
    """Two scans of one name in two folders, and a file that is none."""
    brain(tmp_path / "scans" / "a.nii", 0)
    brain(tmp_path / "age" / "a.nii", 1)
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "letter.nii").write_text("Dear colleague,")
    with (tmp_path / "MANIFEST.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file", "kind", "sequence", "subject", "age_years", "skull_stripped", "sha256"])
        for file, sequence in (("scans/a.nii", "T1"), ("age/a.nii", "T1"), ("bad/letter.nii", "")):
            sha256 = hashlib.sha256((tmp_path / file).read_bytes()).hexdigest()
            writer.writerow([file, "scan", sequence, file, "", "no", sha256])
    return tmp_path


def test_its_numbers_are_the_predictors_and_are_computed_once(data, tmp_path):
    model = InstalledModel(MODEL, read_contract(MODEL))
    folders = ["scans", "age", "bad"]
    found = {a.file: a for a in answers(data, model, folders, tmp_path / "inputs", ["none"])}
    predictor = Predictor("cpu", [MODEL.parent])
    predictor.set_study({"scan": read_scan(data / "age" / "a.nii")}, PreprocessingOptions(brain_extraction="none"))
    prediction = predictor.predict("sequence", "scan")
    assert found["age/a.nii"].probabilities == pytest.approx(dict(prediction.probabilities), abs=1e-5)
    assert found["age/a.nii"].novelty == pytest.approx(prediction.trust.novelty.score, rel=1e-4)
    assert found["scans/a.nii"].novelty != found["age/a.nii"].novelty  # not taken for each other
    assert (found["bad/letter.nii"].novelty, found["bad/letter.nii"].odd) == (None, "bad inputs")
    assert "bad/letter.nii" in found["bad/letter.nii"].refusal
    assert str(data) not in found["bad/letter.nii"].refusal
    for file in ("scans/a.nii", "age/a.nii"):
        (data / file).unlink()
    again = {a.file: a for a in answers(data, model, folders, tmp_path / "inputs", ["none"])}
    assert again == found
