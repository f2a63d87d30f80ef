"""Which volumes drive an answer: the parts add up to it, and the largest are named."""

import numpy as np
import pytest

from BrainIACLib.models.anatomy import EMBEDDING_NAMES
from BrainIACLib.structures import INDEX, STRUCTURES
from BrainIACLib.trust import words
from BrainIACLib.trust.drivers import MOST, REGIONAL, drivers_found
from BrainIACLib.trust.findings import Driver, Trust
from BrainIACLib.trust.words import stated


def test_the_parts_add_up_to_the_distance_from_the_mean_answer():
    rng = np.random.default_rng(0)
    weights, usual, embedding = rng.normal(size=(3, len(EMBEDDING_NAMES)))
    found = drivers_found(weights, embedding, usual, "years")
    whole = float(weights @ (embedding - usual))
    assert sum(part.adds for part in found.parts) == pytest.approx(whole, abs=0.05 * len(found.parts))


def test_the_structure_that_moves_the_answer_most_is_named_first_with_its_share():
    size = len(EMBEDDING_NAMES)
    weights, usual = np.full(size, 0.01), np.full(size, np.log(0.02))
    index = INDEX["lateral_ventricles"]
    weights[index], embedding = 8.0, usual.copy()
    embedding[index] = np.log(0.04)
    first = drivers_found(weights, embedding, usual, "years").parts[0]
    assert first == Driver("lateral ventricles", round(8 * np.log(2), 1), 4.0, 2.0)


def test_what_is_measured_only_roughly_is_marked_and_what_is_not_measured_is_not_named():
    size = len(EMBEDDING_NAMES)
    weights, usual = np.zeros(size), np.zeros(size)
    weights[INDEX["lesion"]], weights[INDEX["cortex"]], weights[INDEX["thalamus"]] = 9.0, 2.0, 1.0
    found = drivers_found(weights, usual + 1, usual, "years")
    assert [part.what for part in found.parts[:2]] == ["cerebral cortex *", "thalamus"]
    assert {part.what: part.adds for part in found.parts}["other structures"] == 9.0
    assert words.drivers(found).endswith("* measured only roughly.")


def test_regions_are_named_only_where_the_head_reads_them():
    weights, usual, embedding = np.random.default_rng(2).normal(size=(3, len(EMBEDDING_NAMES)))
    assert REGIONAL in [part.what for part in drivers_found(weights, embedding, usual, "years").parts]
    weights[len(STRUCTURES) :] = 0
    found = drivers_found(weights, embedding, usual, "years")
    assert REGIONAL not in [part.what for part in found.parts]
    assert sum(part.adds for part in found.parts) == pytest.approx(float(weights @ (embedding - usual)), abs=0.4)


def test_the_sentence_names_the_unit_and_every_part():
    rng = np.random.default_rng(1)
    found = drivers_found(*rng.normal(size=(3, len(EMBEDDING_NAMES))), "years")
    document = Trust(drivers=found).to_json()
    (line,) = stated(document)
    assert "in years" in line
    assert len(found.parts) == MOST + 3
    assert all(part.what in line for part in found.parts)


def test_the_embedding_begins_with_the_size_and_the_structures_in_their_order():
    for index, structure in enumerate(STRUCTURES[1:], start=1):
        assert EMBEDDING_NAMES[index] == f"log {structure.name} of the intracranial volume"
