"""Official files of every layout are recognized by their keys and give the numbers of MONAI (PROTOCOL 3.1, 4.2)."""

import numpy as np
import pytest
import torch
from checkpoint_files import LAYOUTS, medicalnet, v1_backbone, v1_task, v2_backbone, v2_task
from safetensors.torch import save_file

from BrainIACLib.checkpoints.conversion_process import convert
from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.checkpoints.reading import read_checkpoint
from BrainIACLib.checkpoints.recognition import recognise
from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import ModelError
from BrainIACLib.models.resnet import ResNet


@pytest.fixture
def installed(tmp_path):
    """Converts a file as an import does, in this process, and gives back the model as it would be used."""

    def install(path, task):
        out = tmp_path / "out"
        out.mkdir()
        convert(path, task, "2026-01-01T00:00:00+00:00", out)
        return InstalledModel(out, read_contract(out))

    return install


def image_for(official, seed=1):
    size = 96 if official.encoder.__class__.__name__ in ("ViT", "MeanOfPatches") else 48
    return torch.rand((1, 1, size, size, size), generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_tensors_and_outputs_of_monai(layout, installed, tmp_path):
    official = LAYOUTS[layout]()
    torch.save(official.content, tmp_path / "file.pt")
    assert recognise(read_checkpoint(tmp_path / "file.pt").shapes).tasks == official.tasks
    model = installed(tmp_path / "file.pt", official.tasks[0])
    net = load_model(model)

    original = {key: value for key, value in official.encoder.state_dict().items() if "norm_cross_attn" not in key}
    ours = net.encoder.state_dict()
    assert set(original) <= set(ours)
    assert all(torch.equal(ours[key], value) for key, value in original.items())
    assert all(not ours[key].any() for key in set(ours) - set(original))  # MedicalNet's shortcut biases: zero
    image = image_for(official)
    with torch.inference_mode():
        embedding = official.embed(image)
        assert embedding.std() > 1e-2
        torch.testing.assert_close(net.encoder(image), embedding, rtol=1e-5, atol=1e-5)
        if official.classifier is not None:
            assert torch.equal(net.head.fc.weight, official.classifier.weight)
            torch.testing.assert_close(net(image), official.outputs(image), rtol=1e-5, atol=1e-5)
        else:
            assert model.contract.head is None


@pytest.mark.parametrize(
    ("layout", "keys", "encoder_keys"),
    [
        ("v1 backbone", 322 + 2, 322),
        ("v1 one-scan task", 324, 322),
        ("v1 Hugging Face", 322, 322),
        ("MedicalNet", 318 + 2, 318),
        ("v2 backbone", 149, 137),
        ("v2 task", 278, 137),
        ("v2 segmentation", 307, 137),
    ],
)
def test_full_size_files_have_the_released_key_counts(layout, keys, encoder_keys):
    """PROTOCOL 3.1: 322, 149, 278 and 307 keys; MedicalNet's net has 318."""
    with torch.device("meta"):
        official = LAYOUTS[layout](1.0)
    shapes = {key: tuple(value.shape) for key, value in official.state.items()}
    assert len(shapes) == keys
    recognised = recognise(shapes)
    assert len(recognised.encoder_keys) == encoder_keys
    assert (recognised.width, recognised.embedding_size) == (1.0, 768 if layout.startswith("v2") else 2048)
    assert "of width" not in recognised.title


def test_the_same_file_name_of_two_generations_is_told_apart_by_its_keys(tmp_path):
    """Issues 4 and 17: BrainIAC.ckpt exists as a ResNet and as a ViT."""
    titles = []
    for official in (v1_backbone(), v2_backbone()):
        torch.save(official.content, tmp_path / "BrainIAC.ckpt")
        titles.append(recognise(read_checkpoint(tmp_path / "BrainIAC.ckpt").shapes).title)
    assert ["v1 ResNet50" in titles[0], "v2 ViT-B" in titles[1]] == [True, True]


def test_exactly_the_24_cross_attention_norms_may_be_there_or_not():
    """Issue 3: all 24 are dropped, 23 are refused."""
    state = v2_backbone(cross_attention=True).state
    shapes = {key: tuple(value.shape) for key, value in state.items()}
    norms = [key for key in shapes if "norm_cross_attn" in key]
    assert len(norms) == 24
    assert set(norms) <= set(recognise(shapes).dropped_keys)
    del shapes[norms[5]]
    with pytest.raises(ModelError, match="norm_cross_attn"):
        recognise(shapes)


def test_twin_copies_that_differ_are_refused(installed, tmp_path):
    official = v2_task()
    official.state["backbone.backbone.norm.bias"] = official.state["backbone.backbone.norm.bias"] + 1
    torch.save(official.content, tmp_path / "brainage.ckpt")
    with pytest.raises(ModelError, match="two copies that differ"):
        installed(tmp_path / "brainage.ckpt", "age")


def test_one_half_of_a_twin_file_is_enough(installed, tmp_path):
    official = v2_task()
    half = {key: value for key, value in official.state.items() if key.startswith("model.")}
    torch.save({"state_dict": half}, tmp_path / "half.ckpt")
    model = installed(tmp_path / "half.ckpt", "mci")
    assert model.contract.head.labels == ("healthy control", "MCI")


def test_medicalnet_without_counters_loads_with_zero_shortcut_biases(installed, tmp_path):
    """Test 14: with and without num_batches_tracked; torch before 1.6 wrote no zip."""
    official = medicalnet(counters=False)
    torch.save(official.content, tmp_path / "resnet_50_23dataset.pth", _use_new_zipfile_serialization=False)
    model = installed(tmp_path / "resnet_50_23dataset.pth", "embedding")
    state = load_model(model).encoder.state_dict()
    biases = [value for key, value in state.items() if key.endswith("downsample.0.bias")]
    assert len(biases) == 4
    assert not any(bias.any() for bias in biases)
    assert sum(key.endswith("num_batches_tracked") for key in model.contract.source.allowed_missing_keys) == 53
    assert model.contract.encoder.generation == "medicalnet"


def test_a_safetensors_file_and_half_precision_are_taken_as_they_are(installed, tmp_path):
    state = {key: value.half() if value.is_floating_point() else value for key, value in v1_task().state.items()}
    save_file({key: value.contiguous() for key, value in state.items()}, tmp_path / "age.safetensors")
    net = load_model(installed(tmp_path / "age.safetensors", "age"))
    assert torch.equal(net.encoder.conv1.weight, state["backbone.backbone.conv1.weight"].float())


def test_metric_values_of_numpy_beside_the_weights_do_no_harm(installed, tmp_path):
    official = v1_task()
    torch.save({**official.content, "best_mae": np.float64(3.9), "out": tmp_path}, tmp_path / "age.pt")
    assert load_model(installed(tmp_path / "age.pt", "age")).head.fc.out_features == 1


def test_our_own_checkpoint_means_what_the_contract_beside_it_says(installed, tmp_path):
    torch.save(v1_task(4).content, tmp_path / "sequence.pt")
    model = installed(tmp_path / "sequence.pt", "sequence")
    net = load_model(model)
    with torch.no_grad():
        net.head.fc.bias.add_(1)
    folder = tmp_path / "training"
    folder.mkdir()
    (folder / "contract.json").write_text((model.folder / "contract.json").read_text())
    torch.save({"net": net.state_dict(), "recipe": {"epochs": 3}}, folder / "checkpoint.pt")
    recognised = recognise(read_checkpoint(folder / "checkpoint.pt").shapes)
    assert recognised.tasks == ("own",)
    out = tmp_path / "again"
    out.mkdir()
    convert(folder / "checkpoint.pt", "own", "2026-01-01T00:00:00+00:00", out)
    again = InstalledModel(out, read_contract(out))
    assert again.contract.head.labels == model.contract.head.labels
    assert torch.equal(load_model(again).head.fc.bias, net.head.fc.bias)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (
            lambda s: s.pop("backbone.backbone.layer3.2.bn1.weight"),
            r"layer3.2.bn1.weight: expected \(32,\), found nothing",
        ),
        (
            lambda s: s.update({"backbone.backbone.bn1.weight": torch.zeros(9)}),
            r"bn1.weight: expected \(8,\), found \(9,\)",
        ),
        (lambda s: s.update({"extra.weight": torch.zeros(1)}), r"extra.weight: expected nothing, found \(1,\)"),
        (
            lambda s: s.update({"classifier.fc.weight": torch.zeros(1, 7)}),
            r"classifier.fc.weight: expected \(1, 256\), found \(1, 7\)",
        ),
        (lambda s: s.pop("classifier.fc.weight"), r"classifier.fc"),
        (
            lambda s: s.update({"classifier.fc.weight": torch.zeros(3, 256), "classifier.fc.bias": torch.zeros(3)}),
            "3 outputs",
        ),
        (lambda s: s.pop("backbone.backbone.conv1.weight"), "no known encoder: expected a key that ends in"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected_and_found(change, reason):
    state = v1_task().state
    change(state)
    with pytest.raises(ModelError, match=reason):
        recognise({key: tuple(value.shape) for key, value in state.items()})


def test_a_head_beside_a_bare_backbone_is_not_dropped_silently():
    state = v1_backbone().state | {"classifier.fc.weight": torch.zeros(1, 256)}
    with pytest.raises(ModelError, match=r"classifier\.fc\.weight: expected nothing"):
        recognise({key: tuple(value.shape) for key, value in state.items()})


def test_another_resnet_under_an_official_layout_has_no_meaning():
    """MedicalNet offers smaller nets too; the official contracts are those of its ResNet50."""
    shapes = {f"module.{key}": tuple(value.shape) for key, value in ResNet("resnet10").state_dict().items()}
    with pytest.raises(ModelError, match=r"ResNet10.*nothing says what its numbers mean"):
        recognise(shapes)


def test_at_most_three_reasons_are_given():
    with pytest.raises(ModelError) as refusal:
        recognise(
            {key: (1, *value.shape[1:]) for key, value in v1_task().state.items() if "conv1.weight" not in key}
            | {"backbone.backbone.conv1.weight": (8, 1, 7, 7, 7)}
        )
    assert str(refusal.value).count("expected") == 3
    assert "differences in all" in str(refusal.value)


@pytest.mark.parametrize("layout", ["v2 nidl", "v2 port's backbone", "v2 port's task"])
def test_the_forms_of_ports_are_read_from_safetensors(layout, installed, tmp_path):
    official = LAYOUTS[layout]()
    save_file({key: value.contiguous() for key, value in official.state.items()}, tmp_path / "model.safetensors")
    model = installed(tmp_path / "model.safetensors", official.tasks[0])
    assert model.contract.encoder.generation == "v2"
    averaged = layout == "v2 nidl"
    assert model.contract.encoder.embedding == ("token_mean" if averaged else "token0")
    assert any("averaged over the patches" in said for said in model.contract.unverified) == averaged
    assert "10.1038/s41593-026-02202-6" in model.contract.citation


@pytest.mark.parametrize("prefix", ["fc.", "fc.fc.", "classifier.fc."])
def test_a_head_without_its_encoder_is_refused_in_true_words(prefix, tmp_path):
    """brainage_head.safetensors of a port: which encoder it was trained with is not in the file."""
    save_file({f"{prefix}weight": torch.zeros(1, 768), f"{prefix}bias": torch.zeros(1)}, tmp_path / "head.safetensors")
    with pytest.raises(ModelError, match="holds a head without its encoder"):
        recognise(read_checkpoint(tmp_path / "head.safetensors").shapes)
