"""From logits to words: what a warning says must be true as it is printed."""

import dataclasses
import re

import pytest
import torch

from BrainIACLib.answers import classification
from BrainIACLib.checkpoints.installed import find_model


@pytest.mark.parametrize(
    ("probability", "gate"), [(0.5, 0.9), (0.894, 0.9), (0.8951, 0.9), (0.8996, 0.9), (0.89996, 0.9), (0.8546, 0.855)]
)
def test_a_confidence_below_the_gate_is_printed_below_the_gate(probability, gate):
    head = dataclasses.replace(find_model("sequence").contract.head, confidence_gate=gate)
    others = (1 - probability) / (len(head.labels) - 1)
    probabilities = torch.tensor([probability] + [others] * (len(head.labels) - 1), dtype=torch.float64)
    answer = classification(head, probabilities.log() * head.temperature)
    (doubt,) = answer.doubts
    shown, limit = re.search(r"confidence ([\d.]+) is below ([\d.]+);", doubt.text).groups()
    assert probability - 0.01 < float(shown) <= probability  # cut, not rounded
    assert float(shown) < float(limit) == gate
    assert len(shown) <= 7
