"""How the recipes end: one sentence for what their user can mend, and no traceback."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from BrainIACLib.errors import TrainingError
from Training.command import run

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    ("fault", "status", "said"),
    [
        (None, 0, ""),
        (TrainingError("Too few scans."), 1, "age: Too few scans.\n"),
        (FileNotFoundError("'x' holds no label maps."), 1, "age: 'x' holds no label maps.\n"),
        (FileNotFoundError(2, "No such file", "a/M.csv"), 1, "age: 'a/M.csv' cannot be used (No such file).\n"),
        (KeyboardInterrupt(), 130, "age: stopped.\n"),
    ],
)
def test_a_fault_is_one_sentence_and_a_status(fault, status, said, capsys):
    def main() -> None:
        if fault is not None:
            raise fault

    assert run("age", main) == status
    assert capsys.readouterr().err == said


def test_a_fault_of_ours_keeps_its_traceback():
    with pytest.raises(ZeroDivisionError):
        run("age", lambda: 1 // 0)


def test_every_recipe_ends_so():
    """The commands of ``Training.__main__`` and four others have a ``main`` that answers itself."""
    themselves = {"__main__.py", "cohorts/__main__.py", "downstream/queue.py"}
    themselves |= {"reproduction/results_page.py", "reproduction/what_helps.py"}
    ends = {}
    for path in sorted((ROOT / "Training").rglob("*.py")):
        found = re.search(r'^if __name__ == "__main__":\n(.*)', path.read_text(encoding="utf-8"), re.M)
        if found:
            ends[path.relative_to(ROOT / "Training").as_posix()] = found[1].strip()
    way = re.compile(r'raise SystemExit\(run\("[\w.]+", main\)\)')
    assert {name for name, end in ends.items() if not way.fullmatch(end)} == themselves
    assert len(ends) >= 19


def test_a_folder_that_is_not_there(tmp_path):
    command = [sys.executable, "-m", "Training.starter.age", "--data", str(tmp_path), "--work", str(tmp_path / "work")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(f"age: '{tmp_path / 'MANIFEST.csv'}' cannot be used (")
    assert "Traceback" not in done.stderr
