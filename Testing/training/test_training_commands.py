"""``python -m Training COMMAND``: being stopped, wrong command lines, and what the help says."""

import re

import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")
pytest.importorskip("pytorch_lightning", reason="needs the 'training' extra")

from Training.__main__ import COMMANDS
from Training.__main__ import main as training
from Training.data import prepare
from Training.downstream import finetune, queue
from Training.report import evaluate
from Training.reproduction import reproduce
from Training.ssl import pretrain, smoke


def interrupted(*arguments, **options):
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("command", "module", "name"),
    [
        (["smoke"], smoke, "write_cohort"),
        (["finetune", "--task", "age", "--init", "scratch", "--cache", "c"], finetune, "write_plan"),
        (["evaluate", "--runs", "r", "--out", "o"], evaluate, "evaluate"),
        (["pretrain", "--cache", "c"], pretrain, "Cache"),
    ],
)
def test_a_command_that_is_stopped_says_so_in_one_sentence(monkeypatch, capsys, command, module, name):
    monkeypatch.setattr(module, name, interrupted)
    assert training(command) == 130
    assert capsys.readouterr().err == f"{command[0]}: stopped.\n"


@pytest.mark.parametrize(("link", "module"), [("prepare", prepare), ("pretrain", pretrain)])
def test_smoke_that_is_stopped_in_a_link_has_not_failed(monkeypatch, capsys, tmp_path, link, module):
    """Preparing and pretraining catch the signal themselves, and end with status 130."""
    monkeypatch.setattr(smoke, "write_cohort", lambda *arguments: tmp_path / "manifest.csv")
    monkeypatch.setattr(prepare, "main", lambda arguments: 0)
    monkeypatch.setattr(module, "main", lambda arguments: 130)
    assert training(["smoke"]) == 130
    assert "failed" not in capsys.readouterr().err


def test_a_place_that_cannot_be_written_is_named(capsys, tmp_path):
    (tmp_path / "file").touch()
    assert training(["smoke", "--out", str(tmp_path / "file" / "out")]) == 1
    said = capsys.readouterr().err.splitlines()[-1]
    assert said.startswith(f"smoke: '{tmp_path / 'file'}")
    assert " cannot be used (" in said


def test_a_worker_that_is_stopped_leaves_the_word_to_its_parent(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(queue, "work_through", interrupted)
    assert queue.main([str(tmp_path)]) == 130
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("command", "words"),
    [
        (["finetune", "--task", "age", "--cache", "c"], "Say what to train: --task and --init, or --grid paper."),
        (["finetune", "--task", "age", "--init", "scratch"], "Say where the scans are"),
        (["finetune", "--task", "age", "--init", "scratch", "--fraction", "3", "--cache", "c"], "whole percentage"),
        (["finetune", "--task", "age", "--init", "scratch", "--processes", "0"], "'0' is not a whole number of 1"),
        (["reproduce", "--cohort", "open", "--out", "o", "--device", "gpu0"], "'gpu0' is not available"),
        (["pretrain"], "Nothing to train on"),
    ],
)
def test_a_wrong_command_line_is_status_2(capsys, command, words):
    try:
        status = training(command)
    except SystemExit as end:
        status = end.code
    assert status == 2
    error = capsys.readouterr().err
    assert words in error
    assert f"{command[0]}: " in error


def test_finetune_says_who_speaks(capsys, tmp_path):
    assert training(["finetune", "--task", "age", "--init", "scratch", "--cache", str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("finetune: ")


def test_reproduce_looks_at_the_manifest_before_it_asks_for_label_maps(capsys, tmp_path):
    """Label maps are for the own pretraining; a misspelt manifest is what the person should hear of."""
    command = ["reproduce", "--labelmaps", str(tmp_path), "--out", str(tmp_path / "report"), "--cohort"]
    assert training([*command, "nope.csv"]) == 1
    assert "'nope.csv' is no cohort: --cohort is synthetic, open, or a CSV file" in capsys.readouterr().err
    manifest = tmp_path / "m.csv"
    manifest.write_text("scan,patient\na.nii.gz,p\n")
    assert training([*command, str(manifest)]) == 1
    assert "dataset" in capsys.readouterr().err
    (tmp_path / "a.nii.gz").touch()
    manifest.write_text("scan,patient,dataset\na.nii.gz,p,d\n")
    assert training([*command, str(manifest)]) == 1
    assert "The own pretraining (no --brainiac) needs 3 of SynthSeg's" in capsys.readouterr().err
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_in_words(capsys, command):
    """No row of our protocol, which nobody outside has, and no name of a class for a title."""
    with pytest.raises(SystemExit, match="0"):
        training([command, "--help"])
    said = capsys.readouterr().out
    assert re.findall(r"\b[A-Z]-\d\d\b", said) == []
    assert re.findall(r"^<class .*", said, re.MULTILINE) == []


@pytest.mark.parametrize("module", [finetune, reproduce])
def test_every_option_has_a_text(module):
    silent = [action.dest for action in module._parser()._actions if not action.help]
    assert silent == []
