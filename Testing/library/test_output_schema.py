"""The JSON of the command line is what its schema says, with every finding that an answer can carry."""

from __future__ import annotations

import argparse
import dataclasses
import json

import pytest
from jsonschema import Draft202012Validator

from BrainIACLib.checkpoints.official_files import OFFICIAL_FILES
from BrainIACLib.cli import command_line, main
from BrainIACLib.predictions import Prediction
from BrainIACLib.resources import resource
from BrainIACLib.trust.findings import (
    Distance,
    Driver,
    Drivers,
    Measured,
    PredictionInterval,
    PredictionSet,
    SanityCheck,
    Spread,
    Stability,
    Trust,
)

PATH = resource().parent / "BrainIACLib" / "cli" / "output.schema.json"
SCHEMA = Draft202012Validator(json.loads(PATH.read_text(encoding="utf-8")))
COVERAGE = Measured(0.9, None, ("A", "B"))
EVERYTHING = Trust(
    prediction_set=PredictionSet(("T1", "T1CE"), COVERAGE),
    prediction_interval=PredictionInterval(20.0, 30.0, "years", COVERAGE),
    novelty=Distance(0.5, 1.2),
    drivers=Drivers("years", (Driver("ventricles", 3.0, 2.5, 2.0), Driver("rest", -1.0))),
    spread=Spread(("as it is", "flipped"), (25.0, 26.0), "years"),
    stability=(Stability("gibbs", ((0.0, 25.0), (1.0, 27.0)), 25.0, "years"),),
    sanity_check=SanityCheck(None, 5),
    grave=("careful",),
    standing=("it errs",),
)
PROVENANCE = dict.fromkeys(("model", "inputs", "versions", "device", "seed", "preset", "preprocessing"))


def commands(parser: argparse.ArgumentParser, path: tuple[str, ...] = ()):
    """(name, parser) of every command, those of several words too."""
    for action in parser._actions:
        for name, command in (action.choices or {}).items() if isinstance(action, argparse._SubParsersAction) else ():
            inner = list(commands(command, (*path, name)))
            yield from inner or [(" ".join((*path, name)), command)]


def test_every_command_that_prints_json_has_its_line_in_the_schema():
    defined = [name for kind in SCHEMA.schema["$defs"].values() for name in kind.get("commands", ())]
    prints = {name: "--json" in command.format_help() for name, command in commands(command_line())}
    assert len(prints) > 15
    assert {name for name, can in prints.items() if can} == set(defined)
    assert {name for name, can in prints.items() if not can} == {"serve", "node"}  # the pipe itself; a service
    every = {part["$ref"].rsplit("/", 1)[1] for part in SCHEMA.schema["anyOf"]}
    assert every == set(SCHEMA.schema["$defs"]) - {"paths"}


def line(trust: Trust) -> dict:
    prediction = Prediction(
        "age", {"T1": "a"}, "25.0 years", None, {}, ("careful",), "adults", PROVENANCE, 25.0, "years", trust
    )
    gap = {"age_years": 24.0, "gap_years": 1.0, "low": None, "high": None, "coverage": None}
    beside = {"file": "a.nii", "files": {"T1": "a.nii"}, "results": {}, "note": "", "age_gap": gap}
    answer = {**beside, **prediction.to_json()}
    return json.loads(json.dumps(answer))


@pytest.mark.parametrize("trust", [Trust(), EVERYTHING], ids=["nothing", "everything"])
def test_an_answer_is_what_the_schema_says(trust):
    SCHEMA.validate(line(trust))


def test_every_finding_stands_in_the_schema_and_in_this_test():
    known = json.loads(PATH.read_text(encoding="utf-8"))["$defs"]["answer"]["properties"]["trust"]["properties"]
    assert set(known) == {field.name for field in dataclasses.fields(Trust)} == set(EVERYTHING.to_json())
    for name, found in EVERYTHING.to_json().items():
        if name not in ("grave", "standing"):
            assert all(one["meaning"] for one in (found.values() if name == "stability" else [found]))


@pytest.mark.parametrize("wrong", [{"label": 3}, {"note": None}, {"other": 1}, {"trust": {"mood": 1}}])
def test_the_schema_refuses_what_is_not_so(wrong):
    assert list(SCHEMA.iter_errors({**line(EVERYTHING), **wrong}))


@pytest.mark.parametrize(
    "document",
    [
        {"file": "a.nii", "files": {"any": "a.nii"}, "model": "m", "out": "t.csv"},
        {"folder": None, "report": {}},
        {"task": "age", "file": "a.nii", "files": {"T1": "a.nii"}, "error": "It is a CT."},
        {"error": "No model."},
    ],
)
def test_the_other_lines_are_what_the_schema_says(document):
    SCHEMA.validate(document)


def test_what_models_commands_print_is_what_the_schema_says(capsys):
    missing = ["show", OFFICIAL_FILES[0].id]
    for command in (["list"], ["show", "sequence-starter"], missing, ["verify", "sequence-starter"]):
        assert main(["models", *command, "--json"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert lines
        for text in lines:
            SCHEMA.validate(json.loads(text))
