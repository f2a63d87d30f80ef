"""The bundled model: readable, intact, small, and right on simulated heads that it was not trained on."""

import json
from collections import Counter

import torch

from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.resources import resource
from Training.starter.image_formation import INPUT_SIZE
from Training.starter.samples import CLIP_PERCENTILES, LABELS, decode, draw_samples

FOLDER = resource("Models", "sequence-starter")


def test_contract_says_how_training_made_its_input():
    contract = read_contract(FOLDER)
    assert contract.head.labels == LABELS == ("T1", "T2", "FLAIR", "T1CE", "other")
    assert contract.encoder.input_size == INPUT_SIZE
    assert contract.encoder.clip_percentiles == CLIP_PERCENTILES


def test_folder_is_small_and_its_weights_are_intact():
    load_model(InstalledModel(FOLDER, read_contract(FOLDER)))  # checks the sha256 of both files
    assert sum(path.stat().st_size for path in FOLDER.iterdir()) < 8e6


def test_right_on_held_out_simulated_heads(label_map):
    recipe = json.loads((FOLDER / "recipe.json").read_text(encoding="utf-8"))
    assert label_map.name in recipe["held_out"]
    assert recipe["label_maps"][label_map.name] == label_map.sha256
    model = InstalledModel(FOLDER, read_contract(FOLDER))
    net, right, total = load_model(model), Counter(), Counter()
    for index in range(16):
        samples = draw_samples(777, index, [label_map], model.contract.encoder)
        with torch.inference_mode():
            answers = net(decode(torch.stack([s.volume for s in samples]))[:, None]).argmax(1).tolist()
        for sample, answer in zip(samples, answers, strict=True):
            total[sample.label] += 1
            right[sample.label] += LABELS[answer] == sample.label
    assert sum(right.values()) / sum(total.values()) > 0.82
    assert min(right[label] / total[label] for label in LABELS) > 0.6
