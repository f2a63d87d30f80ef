"""A contract is right or refused when it is read (PROTOCOL 3.3), with one sentence that names the field."""

from __future__ import annotations

import copy
import dataclasses
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from BrainIACLib.contracts import (
    SCHEMA_VERSION,
    EncoderContract,
    HeadContract,
    ModelContract,
    StandingDoubt,
    contract_to_json,
    json_schema,
    read_contract,
)
from BrainIACLib.errors import ModelError
from BrainIACLib.resources import resource

DOCUMENT = {
    "schema_version": SCHEMA_VERSION,
    "id": "starter-sequence",
    "title": "Sequence classification",
    "version": "1.0",
    "licence": "Apache-2.0",
    "citation": "none",
    "training_data": "synthetic",
    "intended_use": "research",
    "encoder": {
        "architecture": "resnet18",
        "width": 0.5,
        "embedding": "gap",
        "embedding_size": 256,
        "input_size": [96, 112, 96],
        "resize_mode": "area",
        "normalisation": "minmax",
        "clip_percentiles": [1.0, 99.0],
        "template": "icbm152",
        "skull_stripped": "preferred",
        "weights": "encoder.safetensors",
        "sha256": "0" * 64,
        "generation": "own",
        "orientation": "RAS",
        "orientation_matters": True,
        "template_sha256": None,
        "bias_corrected": True,
    },
    "head": {
        "task": "sequence",
        "head_type": "mlp",
        "outputs": 3,
        "link": "softmax",
        "labels": ["T1", "T2", "other"],
        "unit": None,
        "slots": ["any"],
        "missing_policy": "refuse",
        "temperature": 1.3,
        "confidence_gate": 0.5,
        "valid_range": "adults",
        "polarity_verified": True,
        "weights": "head.safetensors",
        "sha256": "ab" * 32,
        "dropout": 0.2,
        "polarity_evidence": None,
        "display_unit": None,
        "conversion": None,
        "plausible_range": None,
        "training_range": None,
        "training_age_range": [18.0, 90.0],
        "training_sets": [],
        "training_scans": 1000,
        "endpoint": None,
        "threshold": None,
        "threshold_source": None,
        "conformal": None,
        "ood_stats": None,
        "metrics": ["balanced accuracy 0.97 on simulated scans"],
        "conformal_coverage": None,
        "conformal_measured": None,
        "ood_sha256": None,
        "standing_doubt": None,
    },
    "unverified": [],
    "source": None,
    "encoder_model": None,
    "run": None,
    "mask": None,
}
MASK = {
    "decoder": "unetr",
    "label": "tumor",
    "slots": ["FLAIR"],
    "threshold": 0.5,
    "valid_range": "gliomas",
    "weights": "decoder.safetensors",
    "sha256": "ab" * 32,
}
RUN = {
    "trained": "2026-01-01T00:00:00+00:00",
    "library": "1.0",
    "table_sha256": "ef" * 32,
    "target": "label",
    "solver": "logistic",
    "regularisation": 10.0,
    "seed": 0,
    "scans": 60,
    "cases": 60,
    "patients": 58,
    "preset": "standard",
}
SOURCE = {
    "name": "model.pt",
    "sha256": "cd" * 32,
    "layout": "v1 single-scan model",
    "dropped_keys": ["bilinear_pooling.weight"],
    "allowed_missing_keys": [],
    "terms_accepted": "2026-01-01T00:00:00Z",
}
MONTHS = {"link": "identity", "labels": None, "unit": "months", "outputs": 1}
PARTS = ((None, ModelContract), ("encoder", EncoderContract), ("head", HeadContract))
FIELDS = [(part, field.name) for part, contract in PARTS for field in dataclasses.fields(contract)]
ADDED_LATER = {
    "conformal_coverage",
    "conformal_measured",
    "ood_sha256",
    "standing_doubt",
    "encoder_model",
    "run",
    "mask",
}


def changed(part: str | None, **fields: object) -> dict:
    document = copy.deepcopy(DOCUMENT)
    (document if part is None else document[part]).update(fields)
    return document


def read(folder, document: object) -> ModelContract:
    (folder / "contract.json").write_text(json.dumps(document), encoding="utf-8")
    return read_contract(folder)


def without_unsaid(document: dict) -> dict:
    """Without the fields that were added later and are empty."""
    kept = {name: value for name, value in document.items() if value is not None or name not in ADDED_LATER}
    return {name: without_unsaid(value) if isinstance(value, dict) else value for name, value in kept.items()}


def with_mask(**fields: object) -> dict:
    document = changed("encoder", architecture="vit_b", embedding="token0")
    return {**document, "head": None, "mask": {**MASK, **fields}}


def test_reads_every_field_with_its_type(tmp_path):
    contract = read(tmp_path, DOCUMENT)
    assert (contract.id, contract.encoder.width, contract.head.outputs) == ("starter-sequence", 0.5, 3)
    assert contract.encoder.input_size == (96, 112, 96)
    assert contract.encoder.clip_percentiles == (1.0, 99.0)
    assert contract.head.labels == ("T1", "T2", "other")
    assert contract.head.polarity_verified is True
    assert contract.head.unit is None


@pytest.mark.parametrize(
    "document",
    [
        DOCUMENT,
        changed("encoder", clip_percentiles=None),
        changed("head", temperature=None, confidence_gate=None),
        changed(
            "head", link="identity", labels=None, unit="months", outputs=1, display_unit="years", conversion=1 / 12
        ),
        changed(None, head=None),
        changed(None, source=SOURCE),
        changed(None, run=RUN, encoder_model="sequence-starter"),
        with_mask(),
        changed("head", conformal=0.8, conformal_coverage=0.9, conformal_measured=0.91),
        changed("head", ood_stats="ood.safetensors", ood_sha256="12" * 32),
        changed("head", link="cloglog", labels=["alive", "dead"], outputs=1, endpoint="12 months"),
        changed("head", link="sigmoid", labels=["wild type", "mutated"], outputs=1, slots=["T1CE", "FLAIR"]),
    ],
)
def test_round_trip(tmp_path, document):
    contract = read(tmp_path, document)
    text = contract_to_json(contract)
    assert json.loads(text) == without_unsaid(document)
    (tmp_path / "contract.json").write_text(text, encoding="utf-8")
    assert read_contract(tmp_path) == contract


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"decoder": "unet"}, "mask.decoder"),
        ({"threshold": 1.5}, "mask.threshold"),
        ({"slots": ["FLAIR", "T1"]}, "mask.slots"),
        ({"weights": "../decoder.safetensors"}, "mask.weights"),
        ({"sha256": "no"}, "mask.sha256"),
    ],
)
def test_a_wrong_value_of_a_mask_is_refused_and_named(tmp_path, fields, named):
    assert read(tmp_path, with_mask()).files()["decoder.safetensors"] == "ab" * 32
    with pytest.raises(ModelError, match=named):
        read(tmp_path, with_mask(**fields))
    with pytest.raises(ModelError, match=r"mask\.decoder"):
        read(tmp_path, changed(None, mask=MASK))  # its encoder is no transformer


def test_a_contract_cannot_be_changed(tmp_path):
    contract = read(tmp_path, DOCUMENT)
    with pytest.raises(dataclasses.FrozenInstanceError):
        contract.head.temperature = 2.0


def test_whole_numbers_may_stand_for_floats(tmp_path):
    contract = read(tmp_path, changed("encoder", width=1, clip_percentiles=[0, 100]))
    assert (type(contract.encoder.width), contract.encoder.clip_percentiles) == (float, (0.0, 100.0))


@pytest.mark.parametrize(("part", "name"), FIELDS)
def test_a_missing_field_is_named_unless_it_was_added_later(tmp_path, part, name):
    document = copy.deepcopy(DOCUMENT)
    del (document if part is None else document[part])[name]
    if name in ADDED_LATER:
        assert read(tmp_path, document) == read(tmp_path, DOCUMENT)
        return
    with pytest.raises(ModelError, match=name):
        read(tmp_path, document)


@pytest.mark.parametrize("part", [None, "encoder", "head"])
def test_an_unknown_field_is_named(tmp_path, part):
    with pytest.raises(ModelError, match="treshold"):
        read(tmp_path, changed(part, treshold=0.5))


@pytest.mark.parametrize(("part", "name"), FIELDS)
@pytest.mark.parametrize("wrong", [{"a": 1}, [[]], [True, False, True]], ids=["object", "list", "booleans"])
def test_a_field_of_a_wrong_type_is_named(tmp_path, part, name, wrong):
    with pytest.raises(ModelError, match=name):
        read(tmp_path, changed(part, **{name: wrong}))


@pytest.mark.parametrize(
    ("part", "name", "wrong"),
    [
        (None, "id", 7),
        (None, "version", 1.0),
        (None, "title", None),
        (None, "encoder", "resnet50"),
        ("encoder", "width", "1"),
        ("encoder", "width", True),
        ("encoder", "width", None),
        ("encoder", "width", 10**400),
        ("encoder", "width", 0),
        ("encoder", "width", -0.5),
        ("encoder", "embedding_size", 256.0),
        ("encoder", "embedding_size", 0),
        ("encoder", "embedding_size", True),
        ("encoder", "embedding", "cls"),
        ("encoder", "architecture", "resnet34"),
        ("encoder", "input_size", [96, 96]),
        ("encoder", "input_size", [96, 96, 96, 96]),
        ("encoder", "input_size", [96, 96, 96.0]),
        ("encoder", "input_size", [96, 96, 0]),
        ("encoder", "input_size", 96),
        ("encoder", "resize_mode", "nearest"),
        ("encoder", "normalisation", "zscore"),
        ("encoder", "skull_stripped", "yes"),
        ("encoder", "clip_percentiles", [99, 1]),
        ("encoder", "clip_percentiles", [0, 101]),
        ("encoder", "clip_percentiles", [1]),
        ("encoder", "clip_percentiles", [1, None]),
        ("encoder", "weights", "../other/encoder.safetensors"),
        ("encoder", "weights", "C:\\encoder.safetensors"),
        ("encoder", "weights", "encoder.pt"),
        ("encoder", "weights", ""),
        ("encoder", "sha256", "0" * 63),
        ("encoder", "sha256", "0" * 64 + "\n"),
        ("encoder", "sha256", "G" * 64),
        ("head", "link", "logit"),
        ("head", "head_type", "MLP"),
        ("head", "missing_policy", "zeros"),
        ("head", "outputs", 0),
        ("head", "outputs", 4),
        ("head", "labels", None),
        ("head", "labels", ["T1", "T2"]),
        ("head", "labels", ["T1", "T1", "T2"]),
        ("head", "labels", ["T1", 2, "T2"]),
        ("head", "labels", "abc"),
        ("head", "slots", []),
        ("head", "slots", ["T1", "T1"]),
        ("head", "slots", None),
        ("head", "temperature", 0),
        ("head", "temperature", -1.0),
        ("head", "threshold", 1.01),
        ("head", "plausible_range", [100.0, 0.0]),
        ("head", "conformal", 0.5),  # without the coverage that it was made for
        ("head", "conformal_coverage", 1.5),
        ("head", "ood_stats", "ood.safetensors"),  # without its sha256
        ("head", "ood_stats", "../ood.safetensors"),
        (None, "run", {"trained": "2026"}),
        ("head", "training_age_range", [18.0, 18.0]),
        ("encoder", "orientation", "RAR"),
        ("encoder", "generation", "v3"),
        ("encoder", "embedding", "token0"),
        (None, "id", "../elsewhere"),
        ("head", "confidence_gate", 1.5),
        ("head", "confidence_gate", False),
        ("head", "polarity_verified", 1),
        ("head", "polarity_verified", "yes"),
    ],
)
def test_a_wrong_value_is_refused_and_named(tmp_path, part, name, wrong):
    with pytest.raises(ModelError, match="labels|outputs" if name == "outputs" else name):
        read(tmp_path, changed(part, **{name: wrong}))


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        ({"link": "identity", "labels": None, "unit": None, "outputs": 1}, "unit"),
        ({"link": "identity", "labels": None, "unit": "", "outputs": 1}, "unit"),
        (MONTHS | {"display_unit": "years", "conversion": None}, "conversion"),
        (MONTHS | {"display_unit": None, "conversion": 12.0}, "conversion"),
        (MONTHS | {"display_unit": "years", "conversion": 12.0}, "conversion"),
        (MONTHS | {"display_unit": "days", "conversion": 30.0}, "conversion"),
        ({"link": "sigmoid", "labels": ["no", "yes"], "outputs": 2}, "labels"),
        ({"link": "sigmoid", "labels": ["yes"], "outputs": 1}, "labels"),
        ({"link": "sigmoid", "labels": None, "outputs": 1}, "labels"),
        ({"link": "cloglog", "labels": None, "outputs": 1}, "labels"),
    ],
)
def test_labels_and_unit_must_fit_the_link(tmp_path, fields, named):
    with pytest.raises(ModelError, match=f"head.{named}"):
        read(tmp_path, changed("head", **fields))


def test_checks_hold_for_contracts_made_in_code_too(tmp_path):
    contract = read(tmp_path, DOCUMENT)
    with pytest.raises(ModelError, match="resize_mode"):
        dataclasses.replace(contract.encoder, resize_mode="nearest")


def test_a_standing_doubt_is_a_sentence_and_how_much_it_weighs(tmp_path):
    said = {"text": "It errs.", "severity": "doubt"}
    found = read(tmp_path, changed("head", standing_doubt=said)).head.standing_doubt
    assert found == StandingDoubt("It errs.", "doubt")
    for wrong in ({**said, "severity": "none"}, {**said, "text": " "}, {**said, "text": "a" * 501}):
        with pytest.raises(ModelError, match=r"head\.standing_doubt"):
            read(tmp_path, changed("head", standing_doubt=wrong))


def test_what_was_added_later_is_written_only_where_it_is_said(tmp_path):
    """A reader of an earlier version refuses fields that it does not know, even empty ones."""
    contract = read(tmp_path, DOCUMENT)
    written = json.loads(contract_to_json(contract))
    assert not ADDED_LATER & (set(written) | set(written["head"]))
    assert read(tmp_path, written) == contract
    doubt = StandingDoubt("It errs.", "grave")
    doubted = dataclasses.replace(contract, head=dataclasses.replace(contract.head, standing_doubt=doubt))
    written = json.loads(contract_to_json(doubted))
    assert written["head"]["standing_doubt"] == {"text": "It errs.", "severity": "grave"}
    assert read(tmp_path, written) == doubted


def test_bundled_contracts_are_as_they_are_written():
    files = sorted(resource("Models").glob("*/contract.json"))
    assert len(files) == 3
    for file in files:
        assert file.read_text(encoding="utf-8") == contract_to_json(read_contract(file.parent))


@pytest.mark.parametrize("version", [None, 0, 2, "1", True, 1.0])
def test_another_schema_version_is_refused(tmp_path, version):
    with pytest.raises(ModelError, match="schema version"):
        read(tmp_path, changed(None, schema_version=version))


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff\xfe",
        b"\xef\xbb\xbf{}",
        b"[" * 100_000,
        b" " * 1_000_001,
        b'{"id": 1, "id": 2}',
        b'{"id": NaN}',
        b'{"id": Infinity}',
    ],
)
def test_what_is_no_contract_is_refused_with_its_path(tmp_path, content):
    (tmp_path / "contract.json").write_bytes(content)
    with pytest.raises(ModelError, match=r"contract\.json"):
        read_contract(tmp_path)


def test_a_contract_that_is_nested_deeper_than_it_can_be_checked_is_refused(tmp_path, monkeypatch):
    """The reader of Python 3.12 takes texts of a depth at which a check of ours ends."""
    nested = []
    for _ in range(5000):
        nested = [nested]
    (tmp_path / "contract.json").write_text("{}")
    monkeypatch.setattr("BrainIACLib.contracts.file.json.loads", lambda *_, **__: {"schema_version": 1, "id": nested})
    with pytest.raises(ModelError, match="is not a valid contract: maximum recursion depth"):
        read_contract(tmp_path)


def test_a_folder_without_contract_is_refused(tmp_path):
    with pytest.raises(ModelError, match=r"holds no model: contract\.json is missing"):
        read_contract(tmp_path / "absent")
    (tmp_path / "contract.json").mkdir()
    with pytest.raises(ModelError, match="cannot be read"):
        read_contract(tmp_path)


def test_the_published_schema_is_the_one_of_the_classes():
    assert json.loads(resource("Models", "contract.schema.json").read_text(encoding="utf-8")) == json_schema()
    assert set(json_schema()["required"]) == set(DOCUMENT) - ADDED_LATER


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(where=st.sampled_from(FIELDS), value=JSON_VALUES)
def test_any_json_value_is_kept_as_it_is_or_refused(tmp_path_factory, where, value):
    """No other error than ModelError, and nothing is silently changed on the way in."""
    part, name = where
    try:
        contract = read(tmp_path_factory.mktemp("model"), changed(part, **{name: value}))
    except ModelError:
        return
    owner = contract if part is None else getattr(contract, part)
    stored = getattr(owner, name)
    assert (list(stored) if isinstance(stored, tuple) else stored) == value
