"""What the words of a command line ask: scans by slot, names, folders, and the same options for every command."""

from __future__ import annotations

import argparse
import dataclasses
from pathlib import Path

import pytest

from BrainIACLib.checkpoints.installed import find_model
from BrainIACLib.cli import analysis
from BrainIACLib.cli.questions import questions_of, scan_name
from BrainIACLib.contracts import HeadContract
from BrainIACLib.errors import BrainIACError, ModelError


def head(*slots: str, **facts) -> HeadContract:
    return dataclasses.replace(find_model("sequence").contract.head, slots=slots, **facts)


def nothing_wrong(question, error):
    raise AssertionError(error)


@pytest.mark.parametrize("slot", ["T1", "any"])
@pytest.mark.parametrize("text", ["scan.nii.gz", "T1=scan.nii.gz"])
def test_a_head_of_one_slot_takes_a_scan_with_or_without_its_slot(slot, text):
    (question,) = questions_of([text], head(slot), None, False, nothing_wrong)
    assert question.paths == {slot: Path("scan.nii.gz")}
    assert question.folders == {}
    assert question.to_json() == {"file": "scan.nii.gz", "files": {slot: "scan.nii.gz"}}


def test_a_scan_of_another_slot_is_reported_and_the_others_are_answered():
    wrong = []
    questions = questions_of(
        ["T2=a.nii", "b.nii"], head("T1"), None, False, lambda question, error: wrong.append((question.paths, error))
    )
    assert [question.paths["T1"] for question in questions] == [Path("b.nii")]
    assert wrong[0][0] == {"T2": Path("a.nii")}
    assert "takes T1, not T2" in str(wrong[0][1])


def test_a_file_whose_own_name_holds_an_equals_sign_is_that_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("T1=a.nii").touch()
    paths = [
        question.paths["T1"].name
        for question in questions_of(["T1=a.nii", "x=b.nii"], head("T1"), None, False, nothing_wrong)
    ]
    assert paths == ["T1=a.nii", "x=b.nii"]


def test_a_head_of_several_slots_takes_them_as_one_study_in_the_order_of_its_contract(tmp_path):
    two = head("T1CE", "FLAIR", missing_policy="refuse")
    (question,) = questions_of(["FLAIR=f.nii", "T1CE=c.nii"], two, tmp_path, False, nothing_wrong)
    assert list(question.paths) == ["T1CE", "FLAIR"]
    assert question.folders == {"T1CE": tmp_path / "T1CE", "FLAIR": tmp_path / "FLAIR"}
    assert question.names == {"T1CE": "T1CE", "FLAIR": "FLAIR"}
    for texts in (["c.nii", "f.nii"], ["T1CE=c.nii", "T1CE=d.nii"], ["T2=c.nii"]):
        with pytest.raises(BrainIACError, match=r"T1CE=FILE FLAIR=FILE"):
            questions_of(texts, two, None, False, nothing_wrong)
    with pytest.raises(ModelError, match="missing: FLAIR"):
        questions_of(["T1CE=c.nii"], two, None, False, nothing_wrong)
    assert len(questions_of(["T1CE=c.nii"], two, None, True, nothing_wrong)) == 1


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("sub-01.T1.nii.gz", "sub-01.T1"),
        ("a/b.c/scan.nrrd", "scan"),
        ("dicom-folder", "dicom-folder"),
        ("1.2.840.dcm", "1.2.840"),
        (".nii", "scan"),
    ],
)
def test_names_with_dots_keep_them(path, name):
    assert scan_name(Path(path)) == name


def test_every_command_that_answers_takes_the_same_options():
    commands = argparse.ArgumentParser().add_subparsers()
    analysis.add_commands(commands)
    assert set(commands.choices) == {"analyze", "sequence", "age", "mci", "stroke", "idh", "survival"}
    own = {"analyze": {"--task"}, "idh": {"--t1ce", "--flair"}, "survival": {"--t1ce", "--flair", "--t1", "--t2"}}
    flags = {
        name: {flag for flag in command._option_string_actions if flag.startswith("--")} - own.get(name, set())
        for name, command in commands.choices.items()
    }
    assert len(set(map(frozenset, flags.values()))) == 1
    assert {"--trust", "--age", "--preset", "--device", "--model", "--series", "--frame", "--out"} <= flags["age"]
