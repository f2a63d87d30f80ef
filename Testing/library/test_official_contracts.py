"""The meaning of every official head against PROTOCOL 3.2, typed here a second time by hand."""

import dataclasses
import json

import pytest

from BrainIACLib.checkpoints.official_contracts import official_contract
from BrainIACLib.checkpoints.official_files import OFFICIAL_FILES, task_by_name, where_to_get
from BrainIACLib.checkpoints.recognition import Recognised
from BrainIACLib.contracts import SourceContract, contract_to_json, json_schema, read_contract
from BrainIACLib.resources import resource

SEQUENCES = {"v1": ("T1", "T2", "T1CE", "FLAIR"), "v2": ("T1", "T2", "FLAIR", "T1CE")}
# (generation, task): link, slots, labels or units, polarity verified
HEADS = {
    ("v1", "sequence"): ("softmax", ("any",), SEQUENCES["v1"], True),
    ("v2", "sequence"): ("softmax", ("any",), SEQUENCES["v2"], False),
    ("v1", "age"): ("identity", ("T1",), ("months", "years"), True),
    ("v2", "age"): ("identity", ("T1",), ("months", "years"), True),
    ("v1", "idh"): ("sigmoid", ("T1CE", "FLAIR"), ("wild type", "mutant"), False),
    ("v2", "idh"): ("sigmoid", ("FLAIR", "T1CE"), ("wild type", "mutant"), False),
    ("v1", "survival"): ("sigmoid", ("T1", "T2", "T1CE", "FLAIR"), ("dead within 1 year", "alive at 1 year"), False),
    ("v2", "survival"): ("sigmoid", ("T1CE", "T1", "T2", "FLAIR"), ("short survival", "long survival"), False),
    ("v1", "mci"): ("sigmoid", ("T1",), ("healthy control", "MCI"), False),
    ("v2", "mci"): ("sigmoid", ("T1",), ("healthy control", "MCI"), False),
    ("v1", "stroke"): ("identity", ("T1",), ("days", "days"), False),
    ("v2", "stroke"): ("identity", ("T1",), ("days", "days"), False),
}
LATER_FIELDS = {"run", "encoder_model", "mask"}  # contracts written before them are still read
LATER_HEAD_FIELDS = {"ood_sha256", "conformal_coverage", "conformal_measured", "standing_doubt"}
SOURCE = SourceContract("file.pt", "ab" * 32, "words", (), (), "2026-01-01T00:00:00+00:00")


def contract(generation, task):
    architecture, size = ("vit_b", 768) if generation == "v2" else ("resnet50", 2048)
    recognised = Recognised("words", generation, architecture, 1.0, size, 1, (task,), {}, {}, {}, (), ())
    return official_contract(recognised, task, SOURCE, {"encoder": "cd" * 32, "head": "ef" * 32})


@pytest.mark.parametrize(("generation", "task"), HEADS)
def test_a_head_means_what_the_protocol_says(generation, task, tmp_path):
    made = contract(generation, task)
    head = made.head
    meaning = (head.unit, head.display_unit) if head.link == "identity" else head.labels
    assert (head.link, head.slots, meaning, head.polarity_verified) == HEADS[generation, task]
    assert head.head_type == "linear"
    assert head.dropout == 0.2  # U-02
    assert head.missing_policy == "refuse"  # U-03
    assert made.encoder.template != "icbm152_2009a_sym_t1_brain"  # U-09
    assert "Not for diagnosis" in made.intended_use
    assert all(statement and not statement.endswith(".") for statement in made.unverified)
    (tmp_path / "contract.json").write_text(contract_to_json(made), encoding="utf-8")
    assert read_contract(tmp_path) == made


@pytest.mark.parametrize("generation", ["v1", "v2", "medicalnet"])
def test_the_input_of_each_generation(generation):
    """U-10: v1 area resize to 128^3 then min-max; v2 trilinear to 96^3 then non-zero z-score; D-09: token 0."""
    encoder = contract(generation, "embedding").encoder
    expected = {
        "v1": ((128, 128, 128), "area", "minmax", "gap"),
        "v2": ((96, 96, 96), "trilinear", "nonzero-zscore", "token0"),
        "medicalnet": ((128, 128, 128), "area", "minmax", "gap"),
    }
    assert (encoder.input_size, encoder.resize_mode, encoder.normalisation, encoder.embedding) == expected[generation]
    assert contract(generation, "embedding").head is None


def test_end_points_thresholds_and_ranges():
    """U-15, C-10, issue 18."""
    first, second = contract("v1", "survival").head, contract("v2", "survival").head
    assert (first.endpoint, second.endpoint) == ("12 months", "15 months")
    assert first.threshold == pytest.approx(1 - 0.5215)
    assert "upstream" in first.threshold_source
    age = contract("v1", "age").head
    assert (age.training_age_range, age.training_range) == ((0, 40), (0, 40))
    assert age.conversion == pytest.approx(1 / 12)


def test_a_published_sha256_takes_one_doubt_away():
    known = SourceContract(
        **{**vars(SOURCE), "sha256": "0bbc78dc2237f08655c6b8cfb6b56d065e43c17d93d6e826d455a331189f3d8f"}
    )
    recognised = Recognised("words", "v1", "resnet50", 1.0, 2048, 1, ("age",), {}, {}, {}, (), ())
    digests = {"encoder": "cd" * 32, "head": "ef" * 32}
    doubts = [official_contract(recognised, "age", source, digests).unverified for source in (SOURCE, known)]
    assert len(doubts[0]) - len(doubts[1]) == 1
    assert "no published sha256" in doubts[0][-1]


def test_every_official_task_says_where_its_files_are():
    for file in OFFICIAL_FILES:
        assert file.licence
        for name in file.names:
            assert task_by_name(name, (file.task,)) == file.task
    for _, task in HEADS:
        assert where_to_get(task).endswith("Import one of them.")
        assert "license" in where_to_get(task)


def test_the_published_schema_is_that_of_the_classes():
    published = json.loads(resource("Models", "contract.schema.json").read_text(encoding="utf-8"))
    assert published == json_schema()
    document = {"schema_version": 1, **dataclasses.asdict(contract("v1", "idh"))}
    assert set(published["properties"]) == set(document)
    assert set(document) - set(published["required"]) == LATER_FIELDS
    head = next(option for option in published["properties"]["head"]["anyOf"] if option["type"] == "object")
    assert set(head["properties"]) == set(document["head"])
    assert set(document["head"]) - set(head["required"]) == LATER_HEAD_FIELDS
    assert head["properties"]["training_range"]["anyOf"][0] == {
        "type": "array", "items": {"type": "number"}, "minItems": 2, "maxItems": 2
    }  # fmt: skip
