"""One vocabulary of requests: what travels over the pipe is made and checked from the dataclasses."""

from __future__ import annotations

import argparse
import dataclasses
import inspect
import json
from pathlib import Path

import pytest

from BrainIACLib.cli import scan_options
from BrainIACLib.embeddings.key import preprocessing_sha256
from BrainIACLib.errors import RequestError
from BrainIACLib.head_training.training import train_head
from BrainIACLib.preprocessing.options import PreprocessingOptions, option
from BrainIACLib.typed_json import decoded, encoded
from BrainIACLib.worker import requests
from BrainIACLib.worker.answering import answer
from BrainIACLib.worker.requests import CaseFile, EmbedCases, Predict, PrepareStudy, Request, Save, Steps, TrainHead

HERE = Path("scan.nii.gz").absolute()
STUDY = PrepareStudy({"T1": HERE}, PreprocessingOptions(seed=3), {"T1": HERE}, mask=HERE, frame=2, device="cpu")
EXAMPLES = [
    STUDY,
    Predict("idh", {"T1CE": "a", "FLAIR": "b"}, accept_missing=True, age_years=61.5),
    Save(HERE.parent, "age", {"T1": "a"}, "a", age_years=40),
    EmbedCases((CaseFile(HERE, {"scan": "a"}), CaseFile(HERE, {"scan": "b"}, HERE)), HERE, options=STUDY.options),
    TrainHead(HERE, "label", "my-task", facts=({"scan": "a", "label": "yes"},)),
]


def test_what_is_asked_of_a_head_is_what_its_training_takes():
    of_the_table = {"table", "facts", "labels", "decisions"}
    taken = inspect.signature(train_head).parameters
    for field in dataclasses.fields(TrainHead):
        if field.name not in of_the_table:
            default = inspect.Parameter.empty if field.default is dataclasses.MISSING else field.default
            assert taken[field.name].default == default, field.name
    assert set(taken) - {field.name for field in dataclasses.fields(TrainHead)} == {"job", "shuffles"}


@pytest.mark.parametrize("request_", EXAMPLES, ids=lambda one: type(one).__name__)
def test_a_request_comes_out_of_the_pipe_as_it_went_in(request_):
    assert Request.from_json(**json.loads(json.dumps(request_.to_json()))) == request_


def test_every_request_has_a_handler_and_says_what_it_is_answered_by():
    import BrainIACLib.worker.service  # noqa: F401 (imports the handlers)

    for cls in Request.known.values():
        assert cls in answer.registry, cls
        assert "answered by" in cls.__doc__.lower(), cls


@pytest.mark.parametrize(
    ("action", "arguments", "words"),
    [
        ("Dance", {}, "Unknown action 'Dance'; known: Status,"),
        (["Predict"], {}, "Unknown action"),
        (None, {}, "Unknown action"),
        ("Predict", [], "The request 'Predict' must be a JSON object, not \\[\\]"),
        ("Predict", {"task": "age"}, "'Predict' lacks the field 'scans'"),
        ("Predict", {"task": "age", "scans": {}, "age": 3}, "'Predict' has no field 'age'; its fields: task, scans,"),
        ("Predict", {"task": 3, "scans": {}}, "field 'task', must be text, not 3"),
        ("Predict", {"task": "age", "scans": ["a"]}, "field 'scans', must be an object"),
        ("Predict", {"task": "age", "scans": {"any": 3}}, "part 'any', must be text, not 3"),
        ("Predict", {"task": "age", "scans": {}, "accept_missing": 1}, "must be true or false, not 1"),
        ("Predict", {"task": "age", "scans": {}, "age_years": True}, "must be a number, not True"),
        ("Predict", {"task": "age", "scans": {}, "age_years": float("nan")}, "must be a number, not nan"),
        ("PrepareStudy", {"scans": {"a": "/s"}, "frame": 1.0}, "field 'frame', must be a whole number, not 1.0"),
        ("PrepareStudy", {"scans": {"a": "/s"}, "options": {"bias": 1}}, "field 'options', has no field 'bias'"),
        ("PrepareStudy", {"scans": {"a": "a\0b"}}, "must be a path"),
        ("EmbedCases", {"cases": {}, "out": "/t"}, "field 'cases', must be a list"),
        ("EmbedCases", {"cases": [{"facts": {}}], "out": "/t"}, "lacks the field 'path'"),
    ],
)
def test_what_does_not_fit_is_named_in_one_sentence(action, arguments, words):
    with pytest.raises(RequestError, match=words) as caught:
        Request.from_json(action, arguments)
    assert "\n" not in str(caught.value)


def test_paths_travel_whole(monkeypatch, tmp_path):
    """The worker has another working directory than its client."""
    monkeypatch.chdir(tmp_path)
    assert encoded(Steps("a")) == {"scan": "a"}
    assert encoded(PrepareStudy({"a": Path("scan.nii")}))["scans"] == {"a": str(tmp_path / "scan.nii")}


def test_a_further_preprocessing_option_is_one_field(monkeypatch, tmp_path):
    """It appears on the command line with its help, in the request, behind the pipe, and in the key of an embedding."""
    from BrainIACLib.checkpoints.installed import find_encoder

    @dataclasses.dataclass(frozen=True)
    class More(PreprocessingOptions):
        denoise: bool = option(False, "remove noise before everything else")
        passes: int = option(2, "how often")
        strength: str = option("weak", "how much", ("weak", "strong"))

    monkeypatch.setattr(scan_options, "PreprocessingOptions", More)
    parser = argparse.ArgumentParser()
    scan_options.add_scan_options(parser)
    assert "remove noise before everything else" in " ".join(parser.format_help().split())
    asked = scan_options.preprocessing_options(parser.parse_args(["--denoise", "--passes", "3", "--strength=strong"]))
    assert asked == More(denoise=True, passes=3, strength="strong")
    assert decoded(More, json.loads(json.dumps(encoded(asked))), "The options") == asked
    encoder = find_encoder().contract.encoder
    assert preprocessing_sha256(asked, encoder) != preprocessing_sha256(More(), encoder)
    assert scan_options.preprocessing_options(parser.parse_args([])) == More()


def test_every_option_has_a_help_text_and_every_request_is_frozen():
    for field in dataclasses.fields(PreprocessingOptions):
        assert field.metadata["help"]
    for cls in Request.known.values():
        assert cls.__dataclass_params__.frozen, cls
    assert requests.NO_OPTIONS == PreprocessingOptions()
