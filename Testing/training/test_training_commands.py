"""``python -m Training COMMAND``: being stopped, wrong command lines, and what the help says."""

import pytest

pytest.importorskip("pandera", reason="needs the 'training' extra")
pytest.importorskip("pytorch_lightning", reason="needs the 'training' extra")

from Training.__main__ import main as training
from Training.data import prepare
from Training.downstream import finetune, queue
from Training.evaluation import evaluate
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


def test_a_worker_that_is_stopped_leaves_the_word_to_its_parent(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(queue, "work_through", interrupted)
    assert queue.main([str(tmp_path)]) == 130
    assert capsys.readouterr().err == ""
