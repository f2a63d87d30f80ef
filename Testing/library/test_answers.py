"""From logits to words: what a warning says must be true as it is printed."""

import re

import pytest
import torch

from BrainIACLib.answers import classification
from BrainIACLib.checkpoints.installed import find_model


@pytest.mark.parametrize("probability", [0.5, 0.894, 0.8951, 0.8996, 0.89996])
def test_a_confidence_below_the_gate_is_printed_below_the_gate(probability):
    head = find_model("sequence").contract.head
    others = (1 - probability) / (len(head.labels) - 1)
    probabilities = torch.tensor([probability] + [others] * (len(head.labels) - 1), dtype=torch.float64)
    answer = classification(head, probabilities.log() * head.temperature)
    (warning,) = answer["warnings"]
    shown, gate = re.search(r"confidence ([\d.]+) is below ([\d.]+);", warning).groups()
    assert float(shown) == pytest.approx(probability, abs=0.005)
    assert float(shown) < float(gate) == head.confidence_gate
