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


FULL = pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")


@FULL
@pytest.mark.parametrize(
    "arguments", [["models", "list"], ["models", "list", "--json"], ["sequence", "--json", "no.nii"]]
)
def test_a_full_standard_output_is_said_in_one_sentence(arguments):
    with open("/dev/full", "w") as full:
        done = subprocess.run([*COMMAND, *arguments], stdout=full, stderr=subprocess.PIPE, text=True, cwd=ROOT)
    assert done.returncode == 1
    assert done.stderr == "brainiac: The output cannot be written (No space left on device).\n"


@pytest.mark.skipif(os.name != "posix", reason="needs a shell of POSIX")
def test_closed_streams_are_no_crash_and_no_file_takes_their_place(tmp_path):
    """``2>&-``: what libraries print would go into whichever file got the number 2."""
    shell = f'"{sys.executable}" -m BrainIACLib.cli '
    done = subprocess.run(f"{shell} sequence no.nii 2>&-", shell=True, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, len(done.stdout.splitlines())) == (1, 1)  # the head of the table only
    done = subprocess.run(f"{shell} models list <&- >&- 2>&-", shell=True, cwd=ROOT)
    assert done.returncode == 0


@pytest.mark.skipif(os.name != "posix", reason="users have numbers on POSIX only")
@pytest.mark.parametrize("arguments", [["models", "list"], ["models", "show", "sequence-starter"], ["idh", "T1CE=a"]])
def test_an_unknown_user_without_a_home_has_the_bundled_models(arguments):
    """As in a container that is run with any user id."""
    program = """
import pwd, sys
def unknown(number):
    raise KeyError(number)
pwd.getpwuid = unknown
from BrainIACLib.cli import main
sys.exit(main(sys.argv[1:]))
"""
    environment = {name: value for name, value in os.environ.items() if name not in ("HOME", "XDG_DATA_HOME")}
    command = [sys.executable, "-c", program, *arguments]
    done = subprocess.run(command, env=environment, cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stderr.count("\n")) == ((1, 1) if arguments[0] == "idh" else (0, 0))


def test_an_account_without_a_home_is_told_where_models_could_go(monkeypatch):
    from BrainIACLib.checkpoints.store import user_folders
    from BrainIACLib.cli import main
    from BrainIACLib.errors import ModelError

    def nowhere(self):
        raise RuntimeError("Could not determine home directory.")

    for name in ("BRAINIAC_MODELS", "XDG_DATA_HOME", "LOCALAPPDATA"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(Path, "expanduser", nowhere)
    assert main(["models", "list"]) == 0
    with pytest.raises(ModelError, match="no home folder; name a folder for models"):
        user_folders()
