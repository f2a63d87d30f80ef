"""How far one answer can be trusted, as far as the contract and the statistics of its model allow to say."""

from __future__ import annotations

from typing import Any

import numpy as np

from BrainIACLib.answers import Answer
from BrainIACLib.checkpoints.installed import InstalledModel
from BrainIACLib.loaded_models import LoadedModels
from BrainIACLib.trust.assessment import novelty_doubt, novelty_found, prediction_interval, prediction_set, set_doubt
from BrainIACLib.trust.drivers import drivers_found
from BrainIACLib.trust.findings import Doubt, Trust


def trust_in(
    answer: Answer, embedding: np.ndarray, model: InstalledModel, models: LoadedModels
) -> tuple[Trust, list[Doubt]]:
    """What is known of an answer, and the doubts that follow. ``embedding``: (size,), that the head answered."""
    head = model.contract.head
    assert head is not None  # an answer has been given
    classes = prediction_set(head, answer.label, answer.probabilities)
    doubts = set_doubt(classes)
    novelty, distance = models.novelty(model, len(embedding)), None
    if novelty is not None:
        distance = novelty_found(novelty, embedding)
        doubts += novelty_doubt(distance)
    drivers = None
    volumes = model.contract.encoder.embedding == "volumes" and head.head_type == "linear"
    if novelty is not None and volumes and answer.unit is not None:
        net: Any = models.net(model)
        weights = net.head.fc.weight[0].float().cpu().numpy() * (head.conversion or 1.0)
        drivers = drivers_found(weights, embedding, novelty.mean, answer.unit)
    return Trust(classes, prediction_interval(head, answer.value), distance, drivers), doubts
