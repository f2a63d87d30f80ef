"""Features without training, and linear heads that are solved: as numpy has it, and as lines beside the encoders."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import SimpleITK as sitk
import torch

pytest.importorskip("pandera", reason="needs the 'training' extra")

from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import TrainingError
from BrainIACLib.models.anatomy import EMBEDDING_NAMES
from BrainIACLib.models.heads import LinearHead
from BrainIACLib.preprocessing.intensity import model_input, resize
from BrainIACLib.resources import resource
from BrainIACLib.sequences import STANDARD_NAMES
from Training.cohorts.open_data import learned_from
from Training.data.cache import write_cache
from Training.data.fingerprints import seen_before
from Training.downstream import embeddings
from Training.downstream.baselines import BINS, BLOCKS, Blocks, Constant, Histogram
from Training.downstream.exact_head import solve
from Training.downstream.few_shot import drawn_cases, few_shot
from Training.downstream.initialisation import load_initialisation
from Training.downstream.inputs import ResizedVolumes, VolumeInputs
from Training.downstream.plan import Plan, Workbench, write_plan
from Training.downstream.queue import work_through
from Training.evaluation.evaluation import evaluate
from Training.runs.cell import TRIVIAL, Cell
from Training.runs.layout import write_grid
from Training.runs.reading import read_runs
from Training.tables.few_shot import few_shot_table
from Training.tasks import TASKS

SIZE = (16, 20, 16)


def brains(count: int) -> torch.Tensor:
    volumes = torch.randn((count, 1, *SIZE), generator=torch.Generator().manual_seed(0))
    volumes[..., :4] = 0
    return volumes


def test_histogram_and_blocks_are_numpy_s():
    volumes = brains(2)
    inside = volumes[0][volumes[0] != 0].numpy()
    counts, _ = np.histogram(inside.clip(-3, 2.9999), BINS, (-3, 3))
    np.testing.assert_allclose(Histogram()(volumes)[0].numpy(), counts / len(inside), atol=1e-6)
    blocks = volumes[0, 0].numpy().reshape(8, 2, 10, 2, 8, 2).mean((1, 3, 5))
    assert blocks.shape == BLOCKS
    np.testing.assert_allclose(Blocks()(volumes)[0].numpy(), blocks.ravel(), atol=1e-6)
    assert not Constant()(volumes).any()


def solved(task: str, features: np.ndarray, targets: np.ndarray, train: np.ndarray) -> np.ndarray:
    """Scores of all cases."""
    head = LinearHead(features.shape[1], TASKS[task].outputs)
    embeddings = torch.from_numpy(features).float()
    everybody = np.arange(len(targets))
    fitted = solve(head, embeddings, targets, everybody, train, everybody, TASKS[task], 0)
    with torch.no_grad():
        return TASKS[task].scores(head(embeddings), fitted.scale)


def test_without_features_a_head_says_the_mean():
    ages = np.array([20.0, 30.0, 70.0, 80.0])
    np.testing.assert_allclose(solved("age", np.zeros((4, 1)), ages, np.arange(2)), 25, rtol=1e-5)


def test_a_line_is_found():
    features = np.random.default_rng(0).normal(size=(60, 5))
    ages = 50 + features @ np.array([5.0, -3.0, 0, 0, 0])
    np.testing.assert_allclose(solved("age", features, ages, np.arange(50)), ages, atol=0.2)


@pytest.mark.parametrize("classes", [(0, 1, 2, 3), (0, 2, 3), (1, 3), (2,)])
def test_a_class_without_training_cases_is_never_answered(classes):
    """As where few cases are drawn of few persons."""
    rng = np.random.default_rng(0)
    targets = np.array([classes[n % len(classes)] for n in range(40)], float)
    features = np.eye(len(STANDARD_NAMES))[targets.astype(int)] + 0.1 * rng.normal(size=(40, 4))
    answers = solved("sequence", features, targets, np.arange(30))
    np.testing.assert_allclose(answers.sum(1), 1, rtol=1e-6)
    assert set(answers.argmax(1)) == set(classes)
    assert (answers.argmax(1) == targets).mean() > 0.95


def test_a_class_of_one_patient_is_learned_with_a_fixed_penalty():
    targets = np.array([0, 0, 0, 1], float)
    features = np.array([[0.0], [0.1], [0.2], [2.0]])
    answers = solved("idh", features, targets, np.arange(4))
    assert answers.argmax() == 3


def test_few_cases_a_class_are_drawn_of_different_patients_and_never_of_the_held_out(tmp_path):
    rng = np.random.default_rng(0)
    names = [f"p{n}" for n in range(30) for _ in STANDARD_NAMES]
    table = pd.DataFrame({"scan": [f"{n}.nii.gz" for n in range(120)], "patient": names, "session": "", "role": ""})
    table = table.assign(dataset=["here"] * 80 + ["away"] * 40, sequence=list(STANDARD_NAMES) * 30)
    volumes = [rng.random(SIZE).astype(np.float32) * 0.3 for _ in range(120)]
    for number, volume in enumerate(volumes):
        volume[: 3 * (number % 4 + 1)] += 0.6  # a bright part as large as the class has it
    write_cache(tmp_path / "cache", table, volumes)
    recipes = {"finetune": "ci", "probe": "exact"}
    settings = {"architecture": "resnet10", "width": 0.0625, "like": "", "recipes": recipes, "external": ("away",)}
    plan = Plan(str(tmp_path / "cache"), "toy", "simulated", {}, **settings)
    found = few_shot(Workbench(plan, tmp_path / "runs"), "sequence", ["Histogram", "Constant"], draws=5)
    of = found.set_index(["split", "initialisation", "shots"])["value"]
    assert set(found["split"]) == {"test", "external"}
    assert of["external", "Constant", 5] == pytest.approx(0.25)
    assert of["external", "Histogram", 5] >= of["external", "Histogram", 1] > 0.25
    assert (found["low"] <= found["value"]).all()
    assert (found["value"] <= found["high"]).all()
    markdown = few_shot_table(found, simulated=True).markdown()
    assert "| Sequence classification | external | 5 |" in markdown
    assert "SIMULATED LABELS" in markdown
    targets, patients = np.repeat([0.0, 1.0], 6), np.repeat(["a", "b", "c"] * 2, 2)
    drawn = drawn_cases(targets, patients, np.arange(12), 5, 0)
    assert len(drawn) == 6  # three patients of each class, one case each
    assert len(set(zip(targets[drawn], patients[drawn], strict=True))) == 6
    with pytest.raises(TrainingError, match="classes and a hold-out"):
        few_shot(Workbench(plan, tmp_path / "runs"), "age", ["Constant"])


def test_they_are_lines_beside_an_encoder_and_compared_with_it(tmp_path):
    rng = np.random.default_rng(0)
    ages = np.linspace(20, 80, 40)
    table = pd.DataFrame({"scan": [f"p{n}.nii.gz" for n in range(40)], "patient": [f"p{n}" for n in range(40)]})
    table = table.assign(dataset=["here"] * 30 + ["away"] * 10, sequence="T1", session="", role="", age_years=ages)
    volumes = [(rng.random(SIZE) * 0.2 + 0.7 * age / 80).astype(np.float32) for age in rng.permutation(ages)]
    write_cache(tmp_path / "cache", table, volumes)
    recipes = {"finetune": "ci", "probe": "exact"}
    settings = {"architecture": "resnet10", "width": 0.0625, "like": "", "recipes": recipes, "external": ("away",)}
    runs = tmp_path / "runs"
    cells = [Cell("age", name, 1.0, 0, "probe") for name in ("Scratch", *TRIVIAL)]
    write_plan(Plan(str(tmp_path / "cache"), "toy", "simulated", {}, **settings), runs)
    write_grid(runs, cells)
    assert work_through(runs, cells) == []
    constant = next(run for run in read_runs(runs) if run.cell.initialisation == "Constant")
    trained = constant.rows("train")["truth"]
    np.testing.assert_allclose(constant.rows("external")["score"], trained.mean(), rtol=1e-5)
    assert len(constant.rows("external")) == 10
    (evaluation,) = evaluate(runs, resamples=50)
    assert set(evaluation.numbers["initialisation"]) == {"Scratch", *TRIVIAL}
    assert set(evaluation.numbers["split"]) == {"test", "external"}
    refused = Cell("age", "Constant", 1.0, 0, "finetune")
    assert work_through(runs, [refused], report=lambda text: None) == [refused]


def test_volumes_are_the_first_numbers_of_the_anatomy_encoder_which_runs_once_for_both(tmp_path, monkeypatch):
    table = pd.DataFrame({"scan": ["a", "b"], "patient": ["IXI012-HH-1211", "p"], "session": "", "role": ""})
    table = table.assign(dataset="here", sequence="T1", age_years=[30.0, 40.0])
    write_cache(tmp_path / "cache", table, [np.ones(SIZE, np.float32)] * 2)
    model = str(resource("Models", "structure-volumes"))
    plan = Plan(str(tmp_path / "cache"), "toy", "simulated", {"Anatomy": model, "Volumes": model}, like="")
    bench, ran = Workbench(plan, tmp_path / "runs"), []

    def embedded(encoder, inputs, rows, device):
        ran.append(len(rows))
        return np.arange(2.0 * len(EMBEDDING_NAMES), dtype=np.float32).reshape(2, -1)

    monkeypatch.setattr(embeddings, "embed_volumes", embedded)
    anatomy, volumes = (embeddings.embeddings_of(bench, name, 0) for name in ("Anatomy", "Volumes"))
    assert ran == [2]
    np.testing.assert_array_equal(volumes, anatomy[:, : volumes.shape[1]])
    start = bench.initialisation("Volumes")
    assert start.embedding_size == volumes.shape[1] < anatomy.shape[1]
    assert EMBEDDING_NAMES[start.embedding_size - 1].startswith("log ")
    assert "block" in EMBEDDING_NAMES[start.embedding_size]
    assert start.fixed  # nothing to tune
    assert bench.initialisation("Anatomy").pretrained


def test_who_the_anatomy_encoder_learned_from_may_not_test_it():
    start = load_initialisation("Anatomy", resource("Models", "structure-volumes"), None)
    names = sorted(learned_from(resource("Models", "structure-volumes")))
    table = pd.DataFrame({"scan": ["a", "b"], "patient": [names[0], "somebody else"]})
    assert seen_before(start.trained_on, table, np.array([0, 1])).patients == (names[0],)


def test_a_resized_volume_is_made_once_and_the_newest_are_kept():
    rng = np.random.default_rng(0)
    volumes = torch.from_numpy((rng.random((3, 1, 8, 8, 8)) * 255).astype(np.uint8))
    read = []

    def batch(rows):
        read.extend(rows)
        return volumes[list(rows)]

    one = 4**3 * 4  # bytes of a resized volume
    kept = ResizedVolumes(SimpleNamespace(batch=batch), most=2 * one)
    for row in (0, 1, 0, 2, 0, 1):
        expected = resize(volumes[row : row + 1].float() / 255, (4, 4, 4), "area")
        assert torch.equal(kept.at(row, (4, 4, 4), "area"), expected)
    assert read == [0, 1, 2, 1]  # 0 was asked for again before 2 came, so that 1 went
    assert not torch.equal(kept.at(1, (4, 4, 4), "trilinear"), expected)


def test_an_encoder_is_given_what_the_library_gives_it_from_a_cache_that_is_finer():
    """Averaged inside the brain where its contract says so, one volume at a time or several."""
    rng = np.random.default_rng(0)
    fine = (rng.random((2, 1, 32, 40, 32)) * 255).astype(np.uint8)
    fine[:, :, :9] = 0
    contract = read_contract(resource("Models", "sequence-starter")).encoder
    contract = dataclasses.replace(contract, input_size=(16, 20, 16))
    volumes = torch.from_numpy(fine)
    cache = SimpleNamespace(size=(32, 40, 32), folder="toy", batch=lambda rows: volumes[list(rows)])
    found = VolumeInputs(cache, np.array([[0], [1]]), contract).scans(np.array([0, 1]))
    for number in range(2):
        image = sitk.GetImageFromArray(fine[number, 0].transpose(2, 1, 0).astype(np.float32))
        image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # array axes grow to the right, to anterior, to superior
        torch.testing.assert_close(found[number : number + 1], model_input(image, contract), atol=1e-4, rtol=0)
