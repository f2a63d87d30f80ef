"""Networks, initializations, recipes and the training loop (P-13, P-15 to P-19, D-01, D-02, D-05, D-12, U-01, U-16)."""

import dataclasses

import numpy as np
import pytest
import torch

pytest.importorskip("pandera", reason="needs the 'training' extra")

from BrainIACLib.contracts import EncoderContract
from BrainIACLib.errors import Cancelled, ModelError, TrainingError
from BrainIACLib.models.resnet import ResNet
from Training.downstream.fitting import fit, predict
from Training.downstream.initialisation import load_initialisation
from Training.downstream.inputs import EmbeddingInputs
from Training.downstream.network import StudyNet, absorb_input_scale, absorb_output_scale, masked_mean, new_head
from Training.downstream.recipe import Optimisation, Recipe, load_recipe, recipe_names
from Training.tasks import TASKS
from Training.tasks.task import TargetScale

LIKE = EncoderContract(
    architecture="resnet10",
    width=0.125,
    embedding="gap",
    embedding_size=64,
    input_size=(32, 32, 32),
    resize_mode="area",
    normalisation="minmax",
    clip_percentiles=None,
    template="none",
    skull_stripped="required",
    weights="encoder.safetensors",
    sha256="0" * 64,
)


def test_masked_mean_is_the_mean_of_present_scans():
    """D-12, test idea 5: a plain loop; permuting the scans changes nothing."""
    torch.manual_seed(0)
    embeddings, study = torch.randn(7, 5), torch.tensor([0, 0, 2, 1, 1, 1, 2])
    expected = torch.stack([embeddings[study == number].mean(0) for number in range(3)])
    torch.testing.assert_close(masked_mean(embeddings, study, 3), expected)
    order = torch.randperm(7)
    torch.testing.assert_close(masked_mean(embeddings[order], study[order], 3), expected)


def test_study_net_is_encoder_mean_head():
    encoder, head = ResNet("resnet10", 0.125).eval(), new_head("mlp", 64, 1, 0.2, seed=0).eval()
    scans = torch.rand(3, 1, 32, 32, 32)
    with torch.no_grad():
        out = StudyNet(encoder, head).eval()(scans, torch.tensor([0, 0, 1]), 2)
        expected = torch.stack([head(encoder(scans[:2]).mean(0)), head(encoder(scans[2:])[0])])
    torch.testing.assert_close(out, expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("kind", ["linear", "mlp"])
def test_scales_are_absorbed_exactly(kind):
    """A head trained on scaled embeddings and ages says the same in plain units."""
    torch.manual_seed(0)
    head = new_head(kind, 6, 1, 0.2, seed=1).double().eval()
    x, mean, deviation = torch.randn(9, 6).double(), torch.randn(6).double(), torch.rand(6).double() + 0.5
    with torch.no_grad():
        expected = head((x - mean) / deviation) * 12.5 + 40
        absorb_input_scale(head, mean, deviation)
        absorb_output_scale(head, 40, 12.5)
        torch.testing.assert_close(head(x), expected)


def test_losses_are_the_paper_s_equations():
    """Equations 1 to 3 written out (P-19); integer targets for the cross-entropy (D-01)."""
    rng = np.random.default_rng(0)
    logits, labels = rng.normal(size=(5, 4)), np.array([0, 3, 1, 2, 2.0])
    exps = np.exp(logits)
    expected = -np.mean(np.log(exps[np.arange(5), labels.astype(int)] / exps.sum(1)))
    assert float(TASKS["sequence"].loss(*_tensors(logits, labels), TargetScale())) == pytest.approx(expected)
    out, ages = rng.normal(size=(5, 1)), rng.uniform(20, 60, 5)
    scale = TargetScale(40.0, 10.0)
    expected = np.mean((ages - (out[:, 0] * 10 + 40)) ** 2) / 10**2
    assert float(TASKS["age"].loss(*_tensors(out, ages), scale)) == pytest.approx(expected)
    truth = np.array([0, 1, 1, 0, 1.0])
    p = 1 / (1 + np.exp(-out[:, 0]))
    expected = -np.mean(truth * np.log(p) + (1 - truth) * np.log(1 - p))
    assert float(TASKS["idh"].loss(*_tensors(out, truth), TargetScale())) == pytest.approx(expected)
    np.testing.assert_allclose(TASKS["idh"].scores(torch.from_numpy(out), TargetScale()), p)


def _tensors(*arrays):
    return [torch.from_numpy(array) for array in arrays]


def medicalnet_file(path, counters: bool):
    """A file as MedicalNet's authors store it: DataParallel names, no shortcut biases, a segmentation head."""
    net = ResNet("resnet50", 0.125)
    state = {f"module.{k}": v for k, v in net.state_dict().items() if not k.endswith("downsample.0.bias")}
    state = {k: v for k, v in state.items() if counters or not k.endswith("num_batches_tracked")}
    torch.save({"state_dict": state | {"module.conv_seg.0.weight": torch.zeros(3)}}, path)
    return net


@pytest.mark.parametrize("counters", [True, False])
def test_medicalnet_loads_with_its_four_shortcut_biases_at_zero(tmp_path, counters):
    """U-01, test idea 14: and the record says which keys those are."""
    net = medicalnet_file(tmp_path / "resnet_50.pth", counters)
    start = load_initialisation("MedicalNet", tmp_path / "resnet_50.pth", LIKE)
    encoder = start.encoder(seed=5)
    biases = [key for key in encoder.state_dict() if key.endswith("downsample.0.bias")]
    assert start.facts["keys_at_zero"] == biases
    assert len(biases) == 4
    for key, value in encoder.state_dict().items():
        if key in biases:
            assert not value.any()
        elif not key.endswith("num_batches_tracked"):
            assert torch.equal(value, net.state_dict()[key])
    assert start.pretrained


def test_scratch_differs_from_the_pretrained_net_in_the_weights_alone():
    start = load_initialisation("Scratch", None, LIKE)
    first, again, other = start.encoder(0).state_dict(), start.encoder(0).state_dict(), start.encoder(1).state_dict()
    expected = ResNet("resnet10", 0.125).state_dict()
    assert {key: value.shape for key, value in first.items()} == {key: value.shape for key, value in expected.items()}
    assert all(torch.equal(value, again[key]) for key, value in first.items())
    assert not torch.equal(first["conv1.weight"], other["conv1.weight"])
    assert not start.pretrained


def test_missing_or_unaccepted_weights_are_refused(tmp_path):
    """D-05: never random weights under a trained name."""
    with pytest.raises(ModelError, match="--brainiac"):
        load_initialisation("BrainIAC", None, LIKE)
    official = {f"backbone.{key}": value for key, value in ResNet("resnet50", 0.125).state_dict().items()}
    torch.save(official, tmp_path / "official.ckpt")
    with pytest.raises(ModelError, match="brainiac models import"):
        load_initialisation("BrainIAC", tmp_path / "official.ckpt", LIKE)


def test_default_recipe_is_the_paper_s():
    """P-16, P-17; the released code's recipe has its own name (U-04)."""
    for task in TASKS:
        recipe = load_recipe("paper", task)
        assert (recipe.optimizer, recipe.scheduler, recipe.batch_size, recipe.head) == ("adam", "plateau", 16, "mlp")
        assert (recipe.learning_rate(pretrained=False), recipe.learning_rate(pretrained=True)) == (1e-3, 1e-4)
        assert recipe.epochs == (200 if task == "survival" else 100)
    released = load_recipe("released", "idh")
    assert (released.optimizer, released.scheduler, released.clip_norm, released.weight_decay) == (
        "adamw",
        "one-cycle",
        1.0,
        1e-5,
    )
    assert load_recipe("released", "age").scheduler == "cosine-restarts"
    for name in recipe_names():
        for task in TASKS:
            load_recipe(name, task)
    with pytest.raises(TrainingError, match="There is no recipe"):
        load_recipe("papper", "age")


def test_cosine_schedule_does_not_read_the_loss():
    """D-02: with the released code the learning rate becomes a function of the loss."""
    rates = []
    for validation_loss in (400.0, 60.0):
        recipe = dataclasses.replace(Recipe(), scheduler="cosine-restarts")
        optimisation = Optimisation(recipe, [torch.nn.Parameter(torch.zeros(1))], 1e-4, 3)
        for _ in range(7):
            optimisation.step((optimisation._parameters[0] ** 2).sum())
            optimisation.end_epoch(validation_loss)
        rates.append(optimisation.rate)
    assert rates[0] == rates[1] == pytest.approx(0.5e-4 * (1 + np.cos(np.pi * 7 / 50)))


def test_plateau_schedule_lowers_the_rate_when_the_loss_stays():
    recipe = dataclasses.replace(Recipe(), plateau_patience=2)
    optimisation = Optimisation(recipe, [torch.nn.Parameter(torch.zeros(1))], 1e-3, 1)
    for _ in range(5):
        optimisation.step((optimisation._parameters[0] ** 2).sum())
        optimisation.end_epoch(1.0)
    assert optimisation.rate == pytest.approx(1e-4)


def problem(task: str, n: int = 90):
    """Embeddings of which the first two features carry the target."""
    rng = np.random.default_rng(1)
    embeddings = rng.normal(size=(n, 8)).astype(np.float32)
    first, second = embeddings[:, 0].astype(float), embeddings[:, 1]
    of_task = {"sequence": 2.0 * (first > 0) + (second > 0), "age": 40 + 10 * first}
    targets = of_task.get(task, (first > 0).astype(float))
    return EmbeddingInputs(torch.from_numpy(embeddings), np.arange(50)), targets, np.arange(50), np.arange(50, n)


QUICK = Recipe(head="linear", dropout=0.1, epochs=40, scheduler="none")


def train(task: str, recipe: Recipe = QUICK, **more):
    inputs, targets, rows, validation = problem(task)
    head = new_head(recipe.head, 8, TASKS[task].outputs, recipe.dropout, seed=0)
    fitted = fit(head, inputs, targets, rows, validation, TASKS[task], recipe, rate=3e-2, seed=0, **more)
    return head, inputs, targets, validation, fitted


@pytest.mark.parametrize("task", TASKS)
def test_the_best_validation_checkpoint_is_kept(task):
    """P-15: the model holds the weights with the best validation score of all epochs, and it has learned the task."""
    head, inputs, targets, validation, fitted = train(task)
    metric = [row[TASKS[task].primary.name] for row in fitted.history]
    assert fitted.score == (min(metric) if TASKS[task].primary.lower_is_better else max(metric))
    assert metric[fitted.epoch - 1] == fitted.score
    predicted = TASKS[task].scores(predict(head, inputs, validation, 16), fitted.scale)
    assert TASKS[task].validation_score(targets[validation], predicted) == pytest.approx(fitted.score)
    good_enough = {"age": fitted.score < 3, "sequence": fitted.score > 0.65}  # by chance 8 years, and 0.25
    assert good_enough.get(task, fitted.score > 0.8)


def test_training_is_reproducible_and_stops_early_or_when_asked():
    first, second = (train("idh")[0].state_dict() for _ in range(2))
    assert all(torch.equal(value, second[key]) for key, value in first.items())
    patient = dataclasses.replace(QUICK, stop_after_epochs_without_progress=3)
    fitted = train("idh", patient)[-1]
    assert len(fitted.history) == min(QUICK.epochs, fitted.epoch + 3)
    longer = dataclasses.replace(QUICK, epochs=4, steps_at_least=30, stop_after_epochs_without_progress=2)
    assert longer.epochs_and_patience(batches=3) == (10, 5)
    assert len(train("idh", longer)[-1].history) <= 10
    with pytest.raises(Cancelled):
        train("idh", cancelled=lambda: True)


def test_mixed_precision_is_the_one_that_needs_no_gradient_scaler(monkeypatch):
    """CUDA's default, float16, would lose small gradients of the released recipe (U-04)."""
    kinds, autocast = [], torch.autocast
    monkeypatch.setattr(torch, "autocast", lambda *a, **how: (kinds.append(how["dtype"]), autocast(*a, **how))[1])
    train("idh", dataclasses.replace(QUICK, epochs=1, mixed_precision=True))
    assert set(kinds) == {torch.bfloat16}


def test_a_training_that_cannot_be_is_refused_in_words():
    """All validation cases censored (C-11), or a loss that has blown up."""
    inputs, targets, rows, validation = problem("idh")
    head = new_head("linear", 8, 1, 0.0, seed=0)
    with pytest.raises(TrainingError, match="0 validation cases have a known label"):
        fit(head, inputs, targets, rows, validation[:0], TASKS["idh"], QUICK, rate=1e-3, seed=0)
    with torch.no_grad():
        head.fc.weight.fill_(float("nan"))
    with pytest.raises(TrainingError, match="not finite in epoch 1"):
        fit(head, inputs, targets, rows, validation, TASKS["idh"], QUICK, rate=1e-3, seed=0)


def test_one_class_only_has_a_defined_score():
    assert TASKS["idh"].validation_score(np.zeros(3), np.array([0.1, 0.2, 0.3])) == 0.5
    assert TASKS["sequence"].validation_score(np.zeros(2), np.eye(4)[[0, 1]]) == 0.5
