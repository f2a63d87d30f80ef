"""What tells of a patient lies in one private folder, and does not outlive its process for long."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import zipfile

import pytest

from BrainIACLib import private_folder
from BrainIACLib.errors import BrainIACError
from BrainIACLib.private_folder import new_private_folder, remove_private_folder, temporary_folder, use_private_folder


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    """The system's folder for temporary files."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(private_folder, "_used", None)
    return tmp_path


def test_a_temporary_folder_lies_below_the_one_private_folder_of_the_process(temporary):
    with temporary_folder() as first, temporary_folder() as second:
        assert first != second
        assert first.parent == second.parent
        assert first.parent.parent == temporary
        (first / "scan").write_text("a patient")
    assert not first.exists()
    remove_private_folder(first.parent)
    assert list(temporary.iterdir()) == []


def test_a_worker_uses_the_folder_that_it_was_given(temporary):
    given = temporary / "brainiac-given"
    given.mkdir()
    use_private_folder(given)
    with temporary_folder() as folder:
        assert folder.parent == given


UNPACK = """
import sys, time
from pathlib import Path
from BrainIACLib.scans.archives import unpacked
with unpacked(Path(sys.argv[1])):
    print("unpacked", flush=True)
    time.sleep(60)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="signals of POSIX systems")
@pytest.mark.parametrize("signal", ["KILL", "TERM", "INT"])
def test_the_files_of_a_stopped_process_are_gone_after_the_next_start_and_those_of_a_running_one_stay(
    signal, temporary
):
    archive = temporary / "study.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("scan.nii", b"a patient")
    process = subprocess.Popen(
        [sys.executable, "-c", UNPACK, archive],
        env={**os.environ, "TMPDIR": str(temporary)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )
    assert process.stdout.readline() == b"unpacked\n"
    folders = set(temporary.glob("brainiac-*"))
    assert any(file.read_bytes() == b"a patient" for folder in folders for file in folder.rglob("*.nii"))
    remove_private_folder(new_private_folder())
    assert set(temporary.glob("brainiac-*")) == folders
    process.send_signal(getattr(__import__("signal"), f"SIG{signal}"))
    process.wait()
    remove_private_folder(new_private_folder())
    assert list(temporary.iterdir()) == [archive]


def test_a_folder_that_is_not_known_to_be_ours_stays(temporary):
    (temporary / "brainiac-notes").mkdir()
    (temporary / "brainiac-notes" / "mine.txt").write_text("mine")
    (temporary / "elsewhere").mkdir()
    (temporary / "elsewhere" / private_folder.OWNER).touch()
    if sys.platform != "win32":
        (temporary / "brainiac-link").symlink_to(temporary / "elsewhere")
    before = sorted(temporary.rglob("*"))
    remove_private_folder(new_private_folder())
    assert sorted(temporary.rglob("*")) == before


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_the_folder_of_another_user_stays(temporary):
    other = temporary / "brainiac-other"
    other.mkdir()
    (other / private_folder.OWNER).touch()
    os.chown(other, 12345, 12345)
    remove_private_folder(new_private_folder())
    assert other.is_dir()


def test_no_place_for_temporary_files_is_said_in_a_sentence(temporary, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(temporary / "nowhere"))
    with pytest.raises(BrainIACError, match=r"No folder for temporary files can be written .* TMPDIR"):
        new_private_folder()
