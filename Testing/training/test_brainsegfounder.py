"""BrainSegFounder's file as a start: in the layout of its authors' code, with random weights, since no file is here."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from torch import nn

pytest.importorskip("pandera", reason="needs the 'training' extra")

from BrainIACLib.errors import ModelError
from BrainIACLib.models.swin import Swin
from Training.data.cache import write_cache
from Training.downstream import finetune
from Training.downstream.brainsegfounder import read_brainsegfounder
from Training.downstream.initialisation import load_initialisation
from Training.downstream.plan import Plan, write_plan
from Training.downstream.queue import work_through
from Training.report import evaluate
from Training.reproduction import reproduce
from Training.runs.cell import Cell
from Training.runs.layout import read_grid
from Training.runs.reading import read_run, read_runs

WIDTH = 0.125
NARROW = int(48 * WIDTH) * 16


def encoder_keys(width: float = WIDTH, channels: int = 1, blocks_of_stage_3: int = 2) -> tuple[nn.Module, dict]:
    """The authors' call of MONAI's class, and its tensors."""
    from monai.networks.nets.swin_unetr import SwinTransformer

    torch.manual_seed(0)
    depths, heads = (2, 2, blocks_of_stage_3, 2), (3, 6, 12, 24)
    net = SwinTransformer(
        **{"in_chans": channels, "embed_dim": int(48 * width), "depths": depths, "num_heads": heads},
        **{"window_size": (7, 7, 7), "patch_size": (2, 2, 2)},
    )
    return net, net.state_dict()


def write_first_stage(path: Path, encoder: dict, prefix: str = "module.swinViT.") -> Path:
    """As ``SSLHead`` in DistributedDataParallel is stored: three heads of the pretraining, and the optimizer."""
    head = prefix.removesuffix("swinViT.")
    state = {prefix + key: value for key, value in encoder.items()}
    for name in ("rotation_head", "contrastive_head", *(f"conv.{n}" for n in (0, 4, 8, 12, 16, 20))):
        state |= {f"{head}{name}.weight": torch.zeros(2, 2), f"{head}{name}.bias": torch.zeros(2)}
    optimizer = {"state": {0: {"step": torch.tensor(3.0)}}, "param_groups": [{"lr": 1e-4, "betas": (0.9, 0.999)}]}
    torch.save({"global_step": 3, "epoch": 0, "state_dict": state, "optimizer": optimizer}, path)
    return path


@pytest.mark.parametrize("prefix", ["module.swinViT.", "swinViT."])
def test_the_layout_of_the_authors_loads_key_by_key(tmp_path, prefix):
    _, encoder = encoder_keys()
    path = write_first_stage(tmp_path / "model_bestValRMSE.pt", encoder, prefix)
    start = load_initialisation("BrainSegFounder", path, None)
    net = start.encoder(seed=5)
    assert isinstance(net, Swin)
    assert net.embedding_size == start.embedding_size == NARROW
    assert len(encoder) == 126
    for key, value in net.state_dict().items():
        assert torch.equal(value, encoder[key])
    assert start.pretrained
    assert (start.facts["generation"], start.facts["architecture"]) == ("brainsegfounder", "swin_unetr")
    assert "UK Biobank" in start.facts["training_data"]
    contract = start.contract
    assert (contract.input_size, contract.resize_mode) == ((96, 96, 96), "trilinear")
    assert (contract.normalisation, contract.embedding) == ("nonzero-zscore", "gap")


def test_the_file_of_full_size_has_142_keys_and_gives_768_numbers(tmp_path):
    """What others report of the released file of the first stage."""
    path = write_first_stage(tmp_path / "64-gpu-model_bestValRMSE.pt", encoder_keys(1.0)[1])
    assert len(torch.load(path, weights_only=True)["state_dict"]) == 142
    assert read_brainsegfounder(path).contract.embedding_size == 768


def test_a_decoder_is_dropped_and_the_title_says_so(tmp_path):
    from monai.networks.nets import SwinUNETR

    torch.manual_seed(0)
    state = SwinUNETR(in_channels=1, out_channels=3, feature_size=12, depths=(2, 2, 2, 2)).state_dict()
    torch.save({"state_dict": state}, tmp_path / "finetuned.pt")
    start = load_initialisation("BrainSegFounder", tmp_path / "finetuned.pt", None)
    rest = [key for key in state if not key.startswith("swinViT.")]
    assert rest
    assert start.title.endswith(f"{len(rest)} keys of its segmentation network left out")
    assert torch.equal(start.encoder(0).patch_embed.proj.weight, state["swinViT.patch_embed.proj.weight"])


@pytest.mark.parametrize(("channels", "blocks"), [(2, 2), (4, 2), (4, 6)])
def test_files_that_take_several_scans_at_once_are_refused_in_one_sentence(tmp_path, channels, blocks):
    path = write_first_stage(tmp_path / "model.pt", encoder_keys(WIDTH, channels, blocks)[1])
    with pytest.raises(ModelError) as caught:
        read_brainsegfounder(path)
    message = str(caught.value)
    assert message.startswith(f"'model.pt' takes {channels} scans at once")
    assert message.replace(".pt", "").count(".") == 1


def without(state: dict) -> None:
    del state["layers2.0.blocks.1.attn.qkv.bias"]


def reshaped(state: dict) -> None:
    state["layers4.0.downsample.norm.weight"] = torch.zeros(3)


def stranger(state: dict) -> None:
    state["layers3.0.blocks.2.norm1.weight"] = torch.zeros(24)


def other_positions(state: dict) -> None:
    state["layers1.0.blocks.0.attn.relative_position_index"] = torch.full((343, 343), 10_000)


def not_finite(state: dict) -> None:
    state["layers1.0.blocks.0.norm1.bias"] = torch.full((6,), torch.nan)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (without, r"swinViT\.layers2\.0\.blocks\.1\.attn\.qkv\.bias: expected \(36,\), found nothing"),
        (reshaped, r"layers4\.0\.downsample\.norm\.weight: expected \(384,\), found \(3,\)"),
        (stranger, r"layers3\.0\.blocks\.2\.norm1\.weight: expected nothing, found \(24,\)"),
        (other_positions, "relative positions"),
        (not_finite, "not finite"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_with_what_is_wrong(tmp_path, damage, says):
    _, encoder = encoder_keys()
    encoder = dict(encoder)
    damage(encoder)
    with pytest.raises(ModelError, match=says):
        read_brainsegfounder(write_first_stage(tmp_path / "model.pt", encoder))


def test_other_files_and_no_file_are_refused(tmp_path):
    torch.save({"conv1.weight": torch.zeros(1)}, tmp_path / "resnet.pth")
    with pytest.raises(ModelError, match="holds no encoder of BrainSegFounder"):
        read_brainsegfounder(tmp_path / "resnet.pth")
    with pytest.raises(ModelError, match="give its authors' file with --brainsegfounder"):
        load_initialisation("BrainSegFounder", None, None)


@pytest.fixture(scope="module")
def cache(tmp_path_factory) -> Path:
    """Twelve persons with a T1 and a T2 each."""
    rng = np.random.default_rng(0)
    rows, volumes = [], []
    for person in range(12):
        for place, sequence in enumerate(("T1", "T2")):
            volumes.append((0.3 * rng.random((16, 16, 16)) + 0.5 * place).astype(np.float32))
            scan = {"scan": f"p{person}_{sequence}.nii.gz", "patient": f"p{person}", "dataset": "toy", "session": ""}
            labels = {"age_years": 20.0 + person, "idh": float(person % 2)}
            labels |= {"survival_months": 2.0 + 2 * person, "event": float(person % 3 > 0)}
            rows.append({**scan, "sequence": sequence, "role": "", **labels})
    folder = tmp_path_factory.mktemp("data") / "cache"
    write_cache(folder, pd.DataFrame(rows), volumes)
    return folder


def test_a_frozen_head_is_trained_on_it_by_finetune(cache, tmp_path):
    path = write_first_stage(tmp_path / "model.pt", encoder_keys()[1])
    command = ["--task", "age", "--init", "brainsegfounder", "--brainsegfounder", str(path), "--cache", str(cache)]
    command += ["--mode", "probe", "--probe-recipe", "ci", "--stability", "none", "--simulated"]
    assert finetune.main([*command, "--runs", str(tmp_path / "runs")]) == 0
    (run,) = read_runs(tmp_path / "runs")
    assert run.cell == Cell("age", "BrainSegFounder", 1.0, 0, "probe")
    assert run.embeddings.shape[1] == NARROW
    assert run.embeddings.to_numpy().std(axis=0).max() > 0
    assert run.initialisation_title == "encoder of BrainSegFounder (Swin UNETR)"
    assert not run.official  # published, but not by the paper's authors


def test_a_transformer_has_maps_and_perturbations_like_other_networks(cache, tmp_path):
    """It has no ReLU to guide (neither has ViT-B): plain SmoothGrad, in the place of an ended run."""
    path = write_first_stage(tmp_path / "model.pt", encoder_keys()[1])
    more = {"saliency_patients": 1, "stability": {"contrast": [0.5]}, "recipes": {"finetune": "ci", "probe": "ci"}}
    sources = {"BrainSegFounder": str(path)}
    write_plan(
        Plan(str(cache), "toy", "simulated", sources, architecture="resnet10", like="", **more), tmp_path / "runs"
    )
    cell = Cell("sequence", "BrainSegFounder", 1.0, 0, "probe")
    assert work_through(tmp_path / "runs", [cell], report=lambda text: None) == []
    run = read_run(tmp_path / "runs" / cell.name)
    assert run.stability is not None
    maps = [np.load(one)["map"] for one in run.pictures()]
    assert maps
    assert all(one.max() == pytest.approx(1) for one in maps)


def test_reproduce_has_its_line_where_its_file_is_given_and_not_otherwise(cache, tmp_path, monkeypatch):
    """The cells, their few-shot runs and the start that they load; nothing is trained."""
    path = write_first_stage(tmp_path / "model.pt", encoder_keys()[1])
    few, starts = [], []
    monkeypatch.setattr(reproduce, "_cohort_cache", lambda *arguments: cache)
    monkeypatch.setattr(reproduce, "usable_label_maps", lambda *arguments: [])
    monkeypatch.setattr(reproduce, "_possible_tasks", lambda cache: ("age", "sequence"))
    no_cache = SimpleNamespace(table={"dataset": []})
    monkeypatch.setattr(
        reproduce, "Workbench", lambda plan, runs: SimpleNamespace(plan=plan, runs=runs, cache=no_cache)
    )
    monkeypatch.setattr(reproduce, "refuse_unknown_datasets", lambda datasets, external: None)
    monkeypatch.setattr(reproduce, "remarks", lambda bench, tasks: starts.append(bench.plan.sources) or [])
    monkeypatch.setattr(reproduce, "possible_cells", lambda bench, cells: (cells, []))
    monkeypatch.setattr(reproduce, "work_in_processes", lambda runs, cells, processes: [])
    monkeypatch.setattr(reproduce, "few_shot", lambda bench, task, names: few.append(names) or pd.DataFrame())
    monkeypatch.setattr(reproduce, "write_few_shot", lambda runs, table: None)
    monkeypatch.setattr(evaluate, "main", lambda arguments: 0)
    command = ["--cohort", "synthetic", "--preset", "ci", "--brainiac", str(tmp_path)]
    found = []
    for name, more in (("with", ["--brainsegfounder", str(path)]), ("without", [])):
        assert reproduce.main([*command, "--out", str(tmp_path / name), *more]) == 0
        found.append({cell.initialisation for cell in read_grid(tmp_path / name / "work" / "runs")})
    assert found == [{"BrainIAC", "BrainSegFounder", "Scratch"}, {"BrainIAC", "Scratch"}]
    assert "BrainSegFounder" in few[0]
    assert "BrainSegFounder" not in few[-1]
    assert load_initialisation("BrainSegFounder", Path(starts[0]["BrainSegFounder"]), None).pretrained


@pytest.mark.parametrize("option", ["--brainsegfounder", "--medicalnet"])
def test_a_file_that_cannot_be_used_is_refused_before_any_work(cache, tmp_path, monkeypatch, capsys, option):
    path = write_first_stage(tmp_path / "four.pt", encoder_keys(channels=4)[1])
    monkeypatch.setattr(reproduce, "usable_label_maps", lambda *arguments: [])
    monkeypatch.setattr(reproduce, "_cohort_cache", lambda *arguments: pytest.fail("it began"))
    command = ["--cohort", "synthetic", "--preset", "ci", "--brainiac", str(tmp_path), "--out", str(tmp_path / "out")]
    assert reproduce.main([*command, option, str(path)]) == 1
    options = ["--task", "age", "--init", "scratch", "--cache", str(cache), "--runs", str(tmp_path / "runs")]
    assert finetune.main([*options, option, str(path)]) == 1
    first, second = capsys.readouterr().err.splitlines()
    assert first.removeprefix("reproduce: ") == second.removeprefix("finetune: ")
    assert not (tmp_path / "out").exists()
    assert not (tmp_path / "runs").exists()
