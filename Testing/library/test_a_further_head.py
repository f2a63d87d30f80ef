"""A kind of head is one function and one entry: what docs/add/head.md says."""

from __future__ import annotations

import json

import numpy as np
import pytest
from in_process import InProcess
from small_encoder import SIZE, install_small_encoder

from BrainIACLib.checkpoints.installed import find_model, load_model
from BrainIACLib.cli import main
from BrainIACLib.embeddings.files import write_table
from BrainIACLib.embeddings.table import table_of
from BrainIACLib.head_training.head_kinds import ENDLESS, HEAD_KINDS, HeadKind, Shuffled
from BrainIACLib.head_training.linear_head import LinearHead
from BrainIACLib.head_training.shuffled_fits import by_fitting
from BrainIACLib.job import UNATTENDED


def fit_nearest_mean(embeddings, target, groups, rng, balanced=True, penalty=None, job=UNATTENDED):
    """Two classes: which mean lies nearer."""
    first, second = (embeddings[target.values == number].mean(axis=0) for number in (0, 1))
    weights = (second - first)[None]
    return LinearHead(weights, -weights @ (first + second) / 2, 1.0)


KIND = HeadKind(
    "nearest-mean",
    "linear",
    fit_nearest_mean,
    lambda _: "nearest mean",
    lambda _: Shuffled(by_fitting(fit_nearest_mean), ((ENDLESS, 39),)),
)


@pytest.fixture
def cohort(tmp_path, monkeypatch):
    """(arguments of train-head, embeddings, labels) of 30 persons whose label shows in the first number."""
    store = tmp_path / "store"
    contract = install_small_encoder(store)
    vectors = np.random.default_rng(0).standard_normal((30, SIZE))
    labels = ["ill" if vector[0] > 0 else "well" for vector in vectors]
    vectors[:, 0] *= 4
    facts = {"model": contract.id, "encoder_sha256": contract.encoder.sha256, "preset": "standard", "sequence": "T1"}
    rows = [
        {**facts, "scan": f"{i}.nii", "patient": f"p{i}", "session": "", "sha256": f"{i}", "label": label}
        for i, label in enumerate(labels)
    ]
    write_table(table_of(rows, vectors), tmp_path / "table.npz")
    monkeypatch.setattr("BrainIACLib.cli.answering.Client", lambda models: InProcess(tmp_path, models))
    command = ["train-head", "--embeddings", tmp_path / "table.npz", "--target", "label", "--task", "my-task"]
    return [str(part) for part in (*command, "--models-dir", store, "--json")], vectors, labels, store


def test_a_further_kind_of_head_is_one_function_and_one_entry(cohort, monkeypatch, capsys):
    arguments, vectors, labels, store = cohort
    assert main([*arguments, "--head", "nearest-mean"]) == 1
    assert "does not exist; choose one of: linear, two-layer" in json.loads(capsys.readouterr().out)["error"]
    monkeypatch.setitem(HEAD_KINDS, KIND.name, KIND)
    assert main([*arguments, "--head", "nearest-mean"]) == 0
    report = json.loads(capsys.readouterr().out)["report"]
    assert report["solver"] == "nearest mean"
    assert report["permutation"]["p"] < 0.05
    assert report["metrics"]["AUC"]["value"] > 0.8
    model = find_model("my-task", [store])
    net = load_model(model, [store])
    values = (np.array(labels) == model.contract.head.labels[1]).astype(float)
    means = [vectors[values == number].mean(axis=0) for number in (0, 1)]
    nearer = [np.linalg.norm(vector - means[1]) < np.linalg.norm(vector - means[0]) for vector in vectors]
    logits = vectors.astype(np.float32) @ net.head.fc.weight.numpy().T + net.head.fc.bias.numpy()
    assert (logits[:, 0] > 0).tolist() == nearer
