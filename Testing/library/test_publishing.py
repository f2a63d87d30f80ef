"""Files, sets, folders and journals are whole or absent; one writer at a time; nothing planted is followed."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
import time

import pytest

from BrainIACLib.errors import BrainIACError
from BrainIACLib.publishing import (
    Busy,
    Journal,
    lock,
    locked,
    publish_folder,
    publishing_set,
    recover_sets,
    replacing,
    write_bytes,
    write_text,
)
from BrainIACLib.publishing.processes import is_gone, this_process
from BrainIACLib.publishing.sets import COMMITTED

NAMES = ("a.bin", "b.bin", "last.json")


def publish(folder, content, names=NAMES):
    with publishing_set(folder, NAMES) as staging:
        for name in names:
            write_text(content, staging / name)


def contents(folder):
    return {file.name: file.read_text() for file in sorted(folder.iterdir())}


def in_a_process(code, *arguments):
    return subprocess.Popen([sys.executable, "-c", code, *map(str, arguments)], stdout=subprocess.PIPE, text=True)


def dead_process():
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return this_process().rsplit("-", 1)[0] + f"-{process.pid}"


def test_a_set_replaces_the_set_of_before_and_a_name_that_is_not_in_it_goes(tmp_path):
    (tmp_path / "mine.txt").write_text("mine")
    publish(tmp_path, "old")
    publish(tmp_path, "new", ("b.bin", "last.json"))
    assert contents(tmp_path) == {"b.bin": "new", "last.json": "new", "mine.txt": "mine"}


def test_what_goes_wrong_while_a_set_is_made_leaves_the_old_one(tmp_path):
    publish(tmp_path, "old")

    def interrupted():
        with publishing_set(tmp_path, NAMES) as staging:
            write_text("new", staging / "a.bin")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert contents(tmp_path) == dict.fromkeys(NAMES, "old")


def test_the_staged_files_of_a_killed_writer_are_removed_unless_they_were_complete(tmp_path):
    publish(tmp_path, "old")
    for number, complete in enumerate((False, True)):
        staged = tmp_path / f".brainiac-{number}"
        staged.mkdir()
        for name in NAMES:
            (staged / name).write_text(f"of {number}")
        if complete:
            (staged / COMMITTED).write_text(json.dumps({"names": NAMES, "made": NAMES}))
    recover_sets(tmp_path)
    assert contents(tmp_path) == dict.fromkeys(NAMES, "of 1")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() != 0, reason="only root can give a file away")
def test_the_staged_files_and_journals_of_another_user_are_not_believed(tmp_path):
    publish(tmp_path, "old")
    staged, journal = tmp_path / ".brainiac-0", Journal(tmp_path / ".journal")
    staged.mkdir()
    (staged / "last.json").write_text("planted")
    (staged / COMMITTED).write_text(json.dumps({"names": NAMES, "made": ["last.json"]}))
    journal.add({"planted": 1})
    for planted in (staged, tmp_path / ".journal"):
        os.chown(planted, 12345, 12345)
    recover_sets(tmp_path)
    assert (tmp_path / "last.json").read_text() == "old"
    assert list(Journal(tmp_path / ".journal").rows()) == []
    mine = Journal(tmp_path / ".journal")
    mine.add({"mine": 1})
    assert list(mine.rows()) == [{"mine": 1}]


@pytest.mark.parametrize("name", ["../outside", "/tmp/outside", "a/b"])
def test_a_planted_record_leads_nowhere_else(name, tmp_path):
    (tmp_path / "outside").write_text("mine")
    folder = tmp_path / "folder"
    (folder / ".brainiac-0").mkdir(parents=True)
    record = {"names": [name, "last.json"], "made": ["last.json"]}
    (folder / ".brainiac-0" / COMMITTED).write_text(json.dumps(record))
    recover_sets(folder)
    assert (tmp_path / "outside").read_text() == "mine"
    assert contents(folder) == {}


def test_a_second_writer_waits_until_the_first_has_published(tmp_path):
    seen = []

    def second():
        with publishing_set(tmp_path, NAMES) as staging:
            seen.append((tmp_path / "last.json").read_text())
            write_text("second", staging / "last.json")

    thread = threading.Thread(target=second)
    with publishing_set(tmp_path, NAMES) as staging:
        thread.start()
        time.sleep(0.2)
        write_text("first", staging / "last.json")
    thread.join()
    assert seen == ["first"]
    assert contents(tmp_path) == {"last.json": "second"}


@pytest.fixture(params=["of the system", "by name"])
def kind(request, monkeypatch):
    """The lock that network drives have as well."""
    if request.param == "by name":

        def no_locks(handle):
            raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

        monkeypatch.setattr(lock, "_lock", no_locks)
    return request.param


@pytest.mark.usefixtures("kind")
def test_a_lock_is_held_once_and_leaves_no_owner_behind(tmp_path):
    for _ in range(2):
        with locked(tmp_path / "lock", "busy"):
            for _ in range(2):
                with pytest.raises(Busy, match="busy"), locked(tmp_path / "lock", "busy"):
                    pass
        assert not list(tmp_path.glob("*.held"))


HOLD = """
import sys, time
from pathlib import Path
from BrainIACLib.publishing import lock, locked
if sys.argv[2] == "by name":
    def no_locks(handle):
        raise OSError(38, "no locks")
    lock._lock = no_locks
with locked(Path(sys.argv[1]), "busy"):
    print("held", flush=True)
    time.sleep(60)
"""


def test_the_lock_of_a_killed_process_is_free(kind, tmp_path):
    owner = in_a_process(HOLD, tmp_path / "lock", kind)
    assert owner.stdout.readline() == "held\n"
    with pytest.raises(Busy), locked(tmp_path / "lock", "busy"):
        pass
    owner.kill()
    owner.wait()
    with locked(tmp_path / "lock", "busy", wait=5):
        pass


def test_an_owner_on_another_computer_is_given_up_when_it_shows_no_life_by_our_own_clock(tmp_path, monkeypatch):
    def no_locks(handle):
        raise OSError(errno.ENOSYS, "no locks")

    monkeypatch.setattr(lock, "_lock", no_locks)
    held = tmp_path / "lock.held"
    held.write_text("00000000-1 token")
    os.utime(held, (1, 1))  # a clock that went wrong proves nothing
    with pytest.raises(Busy), locked(tmp_path / "lock", "busy", wait=0.2):
        pass
    monkeypatch.setattr(lock, "SECONDS_UNTIL_DEAD", 0.5)
    for sign in range(3):
        os.utime(held, (sign, sign))
        with pytest.raises(Busy), locked(tmp_path / "lock", "busy", wait=0.3):
            pass
    with locked(tmp_path / "lock", "busy", wait=2):
        pass


def test_a_process_is_gone_only_where_that_is_sure():
    assert is_gone(dead_process())
    assert not is_gone(this_process())
    assert not any(is_gone(text) for text in ("", "00000000-1", "nonsense", this_process() + "x"))


def test_the_unfinished_file_of_a_killed_process_is_removed_and_that_of_a_living_one_stays(tmp_path):
    (tmp_path / f".brainiac-{dead_process()}-0.nii.gz").touch()
    (tmp_path / ".brainiac-mine").write_text("a person's")
    with replacing(tmp_path / "file") as temporary:
        temporary.write_text("whole")
    assert contents(tmp_path) == {"file": "whole", ".brainiac-mine": "a person's"}


@pytest.mark.skipif(sys.platform == "win32", reason="links need a privilege there")
def test_planted_links_are_not_followed(tmp_path):
    target = tmp_path / "target"
    target.write_text("mine")
    for name in ("file", ".brainiac.lock", "journal"):
        (tmp_path / name).symlink_to(target)
    write_bytes(b"new", tmp_path / "file")
    with pytest.raises(BrainIACError, match="cannot be written"):
        publish(tmp_path, "new")
    assert list(Journal(tmp_path / "journal").rows()) == []
    Journal(tmp_path / "journal").add({"a": 1})
    assert target.read_text() == "mine"
    assert (tmp_path / "file").read_text() == "new"


def test_a_new_folder_is_there_at_once_or_refused(tmp_path):
    for name in ("one", "two"):
        (tmp_path / name / "inside").mkdir(parents=True)
        (tmp_path / name / "inside" / "file").write_text(name)
    publish_folder(tmp_path / "one", tmp_path / "there")
    with pytest.raises(OSError, match="there"):
        publish_folder(tmp_path / "two", tmp_path / "there")
    assert (tmp_path / "there" / "inside" / "file").read_text() == "one"
    assert (tmp_path / "two").is_dir()


def test_a_journal_gives_its_rows_back_and_believes_no_damaged_line(tmp_path):
    journal, path = Journal(tmp_path / "journal"), tmp_path / "journal"
    rows = [{"number": number, "text": "ü\n\u2028"} for number in range(20)]
    for row in rows:
        journal.add(row)
    assert list(journal.rows()) == rows
    whole = path.read_bytes()
    for place in range(len(whole)):
        damaged = bytearray(whole)
        damaged[place] ^= 1
        path.write_bytes(damaged)
        left = list(Journal(path).rows())
        assert len(left) >= 18
        assert all(row in rows for row in left)
    path.write_bytes(whole[:-5])
    again = Journal(path)
    assert list(again.rows()) == rows[:-1]
    again.add(rows[-1])
    assert list(again.rows()) == rows
    again.remove()
    assert list(again.rows()) == []
