"""The model store is as before or complete: two imports at once, a kill in the middle, a full disk."""

import dataclasses
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from checkpoint_files import v1_task

from BrainIACLib.checkpoints import store as store_module
from BrainIACLib.checkpoints.importing import import_checkpoint, import_folder
from BrainIACLib.checkpoints.installed import (
    find_encoder,
    find_model,
    installed_models,
    models_and_problems,
    verify_model,
)
from BrainIACLib.checkpoints.store import remove, user_folders
from BrainIACLib.contracts import contract_to_json, read_contract
from BrainIACLib.errors import ModelError

LIBRARY = str(Path(__file__).resolve().parents[2])


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    path = tmp_path_factory.mktemp("checkpoint") / "brainage_model_latest.pt"
    torch.save(v1_task().content, path)
    return path


def start_import(checkpoint, store, **options):
    command = [sys.executable, "-m", "BrainIACLib.cli", "models", "import", str(checkpoint), "--task", "age", "--yes"]
    return subprocess.Popen(
        [*command, "--json", "--models-dir", str(store)],
        env={**os.environ, "PYTHONPATH": LIBRARY},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **options,
    )


def visible(store):
    return sorted(path.name for path in store.iterdir() if not path.name.startswith("."))


def test_two_imports_at_once_leave_one_complete_model(checkpoint, tmp_path):
    store = tmp_path / "store"
    both = [start_import(checkpoint, store) for _ in range(2)]
    answers = [process.communicate() for process in both]
    assert [process.returncode for process in both] == [0, 0], answers
    (model,) = installed_models(store)
    verify_model(model)
    assert [path.name for path in store.iterdir()] == [model.contract.id]
    assert sum('"new": true' in out for out, _ in answers) == 1

    again = import_checkpoint(checkpoint, "age", store)  # the same file a third time, in this process
    assert (again.new, again.model.contract.id) == (False, model.contract.id)
    (again.model.folder / "head.safetensors").write_bytes(b"damaged since")
    assert import_checkpoint(checkpoint, "age", store).new
    verify_model(*installed_models(store))


@pytest.mark.skipif(sys.platform == "win32", reason="kills a process group")
def test_a_kill_in_the_middle_leaves_the_store_as_before(checkpoint, tmp_path):
    store = tmp_path / "store"
    process = start_import(checkpoint, store, start_new_session=True)
    deadline = time.monotonic() + 600
    while not (store.is_dir() and any(store.glob(".brainiac-*"))) and time.monotonic() < deadline:
        time.sleep(0.01)
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()
    assert visible(store) == []
    assert models_and_problems(store) == ([], {})
    assert len(list(store.glob(".brainiac-*"))) == 1
    import_checkpoint(checkpoint, "age", store)
    assert [path.name for path in store.iterdir()] == visible(store) != []


@pytest.mark.skipif(sys.platform == "win32", reason="bounds the file size")
def test_a_full_disk_is_said_and_leaves_the_store_as_before(checkpoint, tmp_path):
    import resource

    def bound():
        resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))

    process = start_import(checkpoint, tmp_path / "store", preexec_fn=bound)
    out, _ = process.communicate()
    assert process.returncode == 1
    assert "no space left" in out
    assert list((tmp_path / "store").iterdir()) == []


def test_a_store_that_cannot_be_written_is_said(checkpoint, tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(ModelError, match="choose another one"):
        import_checkpoint(checkpoint, "age", tmp_path / "file")


@pytest.fixture(scope="module")
def age_model(checkpoint, tmp_path_factory):
    return import_checkpoint(checkpoint, "age", tmp_path_factory.mktemp("store")).model


def test_a_model_folder_is_imported_whole_after_a_check(age_model, tmp_path):
    imported = import_folder(age_model.folder, tmp_path / "store")
    assert sorted(p.name for p in imported.model.folder.iterdir()) == sorted(p.name for p in age_model.folder.iterdir())
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in age_model.folder.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    (broken / "encoder.safetensors").write_bytes(b"other")
    with pytest.raises(ModelError, match="sha256 differs"):
        import_folder(broken, tmp_path / "other store")
    assert list((tmp_path / "other store").iterdir()) == []


@pytest.mark.skipif(sys.platform == "win32", reason="file modes")
def test_a_shared_store_is_readable_as_the_umask_says(checkpoint, tmp_path):
    """safetensors writes files, and mkdtemp makes folders, that nobody else may read."""
    before = os.umask(0o022)
    try:
        folder = import_checkpoint(checkpoint, "age", tmp_path / "store").model.folder
    finally:
        os.umask(before)
    assert folder.stat().st_mode & 0o777 == 0o755
    assert {path.stat().st_mode & 0o777 for path in folder.iterdir()} == {0o644}


def test_what_lies_in_the_current_folder_is_not_imported(checkpoint, tmp_path, monkeypatch):
    (tmp_path / "torch.py").write_text("raise SystemExit('ran a program of the download folder')")
    (tmp_path / "-odd name.pt").write_bytes(checkpoint.read_bytes())
    monkeypatch.chdir(tmp_path)
    assert import_checkpoint(Path("-odd name.pt"), "age", Path("store")).new


def test_a_damaged_neighbour_does_not_hide_a_model(age_model, tmp_path):
    store = tmp_path / "store"
    import_folder(age_model.folder, store)
    (store / "broken").mkdir()
    (store / "broken" / "contract.json").write_text("{}")
    models, problems = models_and_problems(store)
    assert [model.contract.id for model in models] == [age_model.contract.id]
    assert list(problems) == [store / "broken"]
    with pytest.raises(ModelError, match=r"broken.*Import one of them") as raised:
        find_model("idh", store)
    assert raised.value.command == "brainiac models import FILE --task idh"


def test_the_choice_among_models_is_never_silent(age_model, tmp_path):
    """Without weights the message says where to get them; among several imported models a person must choose."""
    with pytest.raises(ModelError, match=r"brainage_model_latest\.pt.*license: CC BY-NC.*Import one of them"):
        find_model("age", tmp_path)
    import_folder(age_model.folder, tmp_path / "one")
    assert find_model("age", tmp_path / "one").contract == age_model.contract
    claimed = copied(age_model.folder, tmp_path / "claims to be bundled", id="stranger", source=None)
    stranger = import_folder(claimed, tmp_path / "two").model
    assert (stranger.bundled, stranger.trained_here, stranger.contract.source.layout) == (False, False, "model folder")
    import_folder(age_model.folder, tmp_path / "two")
    with pytest.raises(ModelError, match="choose one:"):  # not the one that says nothing of its source
        find_model("age", tmp_path / "two")
    with pytest.raises(ModelError, match="choose one:"):
        find_encoder(tmp_path / "two")
    other = tmp_path / "other.pt"
    torch.save(v1_task().content, other)
    second = import_checkpoint(other, "age", tmp_path / "one").model.contract.id
    with pytest.raises(ModelError, match="choose one:"):
        find_model("age", tmp_path / "one")
    assert find_model("age", tmp_path / "one", second).contract.id == second
    assert find_encoder(tmp_path / "one", second).contract.id == second
    with pytest.raises(ModelError, match="No model 'nothing'"):
        find_model("age", tmp_path / "one", "nothing")


def copied(folder: Path, target: Path, **changes) -> Path:
    """A model folder whose contract says something else."""
    shutil.copytree(folder, target)
    contract = dataclasses.replace(read_contract(folder), **changes)
    (target / "contract.json").write_text(contract_to_json(contract), encoding="utf-8")
    return target


def test_another_model_with_a_known_id_is_refused_and_the_same_one_is_known(age_model, tmp_path):
    store = tmp_path / "store"
    assert import_folder(age_model.folder, store).new
    assert not import_folder(copied(age_model.folder, tmp_path / "same"), store).new
    other = copied(age_model.folder, tmp_path / "other", title="another model")
    with pytest.raises(ModelError, match=r"Another model with the id .* is installed; nothing was installed\. Remove"):
        import_folder(other, store)
    assert read_contract(store / age_model.contract.id) == age_model.contract
    remove(store / age_model.contract.id)
    assert import_folder(other, store).model.contract.title == "another model"
    bundled = next(model for model in models_and_problems()[0] if model.bundled)
    fake = copied(age_model.folder, tmp_path / "fake", id=bundled.contract.id)
    with pytest.raises(ModelError, match="came with BrainIAC; nothing was installed"):
        import_folder(fake, store)


@pytest.mark.parametrize("text", ["MIT\x1b[2K\rpublic domain", "a\nLicense: none", "\u202etxt.exe", "bell\x07"])
def test_a_contract_that_could_change_what_a_terminal_shows_is_refused(age_model, tmp_path, text):
    for field in ("licence", "title", "training_data"):
        folder = copied(age_model.folder, tmp_path / field, **{field: text})
        with pytest.raises(ModelError, match=f"field '{field}' holds control characters") as refused:
            import_folder(folder, tmp_path / "store")
        assert str(refused.value).isprintable()


def test_a_model_is_removed_and_a_link_is_only_unlinked(age_model, tmp_path):
    folder = import_folder(age_model.folder, tmp_path / "store").model.folder
    link = tmp_path / "store" / "linked"
    try:
        link.symlink_to(age_model.folder, target_is_directory=True)
    except OSError:
        pytest.skip("links are not allowed here")
    remove(link)
    assert (age_model.folder / "contract.json").is_file()
    remove(folder)
    assert list((tmp_path / "store").iterdir()) == []


def test_bundled_models_are_not_removed(monkeypatch, age_model):
    monkeypatch.setattr(store_module, "resource", lambda *parts: age_model.folder.parent)
    with pytest.raises(ModelError, match="came with BrainIAC"):
        remove(age_model.folder)


@pytest.mark.parametrize(
    ("platform", "environment", "expected"),
    [
        ("linux", {"XDG_DATA_HOME": "/data"}, ["/data/BrainIAC/Models"]),
        ("linux", {"HOME": "/home/a"}, ["/home/a/.local/share/BrainIAC/Models"]),
        ("darwin", {"HOME": "/home/a"}, ["/home/a/Library/Application Support/BrainIAC/Models"]),
        ("win32", {"LOCALAPPDATA": "/local"}, ["/local/BrainIAC/Models"]),
        ("linux", {"BRAINIAC_MODELS": os.pathsep.join(["/mine", "/shared"])}, ["/mine", "/shared"]),
    ],
)
@pytest.mark.skipif(sys.platform == "win32", reason="paths of other systems")
def test_the_users_folder_follows_the_platform(monkeypatch, platform, environment, expected):
    for name in ("XDG_DATA_HOME", "LOCALAPPDATA", "BRAINIAC_MODELS"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "platform", platform)
    assert [folder.as_posix() for folder in user_folders()] == expected
