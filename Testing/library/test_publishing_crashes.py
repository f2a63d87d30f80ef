"""Killed at any system call, cut off from its power at any moment, or two at once: the old files or the new ones."""

import os
import sys
from collections import Counter

import pytest
from publishing_crashes import WAYS, finished, kills, power_cuts, writers

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="kills by os._exit in a forked process")


@pytest.mark.parametrize("way", WAYS)
def test_a_kill_at_any_system_call_leaves_the_old_or_the_new(way, tmp_path):
    found = list(kills(way, tmp_path / "folder"))
    assert len(found) > 10
    assert {text for _, _, text in found} == {"old", "new"}, [one for one in found if one[2] not in ("old", "new")][:3]


@pytest.mark.parametrize("way", WAYS)
def test_a_power_cut_at_any_moment_leaves_the_old_or_the_new(way, tmp_path):
    found = Counter(power_cuts(way, tmp_path))
    assert set(found) == {"old", "new"}, found


@pytest.mark.parametrize("way", WAYS)
def test_what_was_published_is_on_the_disk(way, tmp_path):
    assert finished(way, tmp_path) == "new"


@pytest.mark.parametrize("way", WAYS)
def test_without_syncing_a_power_cut_would_be_noticed(way, tmp_path, monkeypatch):
    """The simulated disk can fail this test: a writer that never syncs loses its files there."""
    monkeypatch.setattr("BrainIACLib.publishing.files.sync_handle", lambda handle: None)
    monkeypatch.setattr("BrainIACLib.publishing.journal.sync_handle", lambda handle: None)
    assert finished(way, tmp_path) != "new"


def test_writers_at_once_publish_whole_sets_only(tmp_path):
    seen = writers(tmp_path / "folder", count=3, times=8)
    assert not [text for text in seen if "mixture" in text and "[]" not in text]
    assert not [name for name in os.listdir(tmp_path / "folder") if name.startswith(".brainiac-")]
