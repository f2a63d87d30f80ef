"""``brainiac`` as a process among others: pipes that close, terminals that lack letters, Ctrl+C."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
COMMAND = [sys.executable, "-m", "BrainIACLib.cli"]


@pytest.mark.parametrize("arguments", [["sequence", "--json", "no-such-file.nii.gz"], ["models", "list"]])
def test_a_reader_that_leaves_ends_the_command_quietly(arguments):
    """As ``brainiac ... | head -c 0``: the pipe is closed before anything is written."""
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run([*COMMAND, *arguments], stdout=writing, stderr=subprocess.PIPE, text=True)
    os.close(writing)
    assert (done.returncode, done.stderr) == (141, "")


def test_a_program_without_a_terminal_can_run_a_command():
    """``brainiac ... >&-``, or pythonw: there is no standard output."""
    program = "import sys; sys.stdout = None; from BrainIACLib.cli import main; sys.exit(main(['models', 'list']))"
    done = subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (0, "")


def test_any_file_name_can_be_printed_on_a_narrow_terminal(tmp_path):
    environment = {**os.environ, "PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0"}
    folder = tmp_path / "Schädel"
    folder.mkdir()
    command = [*COMMAND, "models", "list", "--models-dir", str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert r"Sch\xe4del" in done.stdout


def test_ctrl_c_while_the_library_is_imported_is_no_crash():
    program = """
import sys
class Interrupted:
    def find_spec(self, name, *_):
        if name.startswith("BrainIACLib.cli.") or name in ("SimpleITK", "numpy"):
            raise KeyboardInterrupt
sys.meta_path.insert(0, Interrupted())
from BrainIACLib.cli import main
sys.exit(main(["sequence", "scan.nii.gz"]))
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == (130, 1)
    assert "stopped" in done.stderr
