"""What Set up does, with a PyTorch extension, a pip and an Extensions Manager that only remember calls."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import sys
import types

import qt
import slicer
from BrainIACBridge import installation as module
from BrainIACBridge.installation import PENDING, Installation


class Computer:
    """A Slicer in which packages can be missing."""

    def __init__(self, monkeypatch, tmp_path):
        monkeypatch.delitem(sys.modules, "torch", raising=False)  # other tests of this process may have loaded it
        self.torch, self.packages, self.calls = "missing", {"safetensors": "0.4"}, []
        self.declines = False
        self.settings = {}
        requirements = tmp_path / "requirements.txt"
        requirements.write_text("# comment\n\nsafetensors>=0.5\nexample>=1.0\n")
        self.installation = Installation(requirements)
        monkeypatch.setattr(Installation, "torchState", lambda _: self.torch)
        monkeypatch.setattr(module.importlib.metadata, "version", self.version)
        monkeypatch.setattr(slicer.util, "pip_install", self.pip, raising=False)
        monkeypatch.setattr(slicer.util, "pip_uninstall", lambda names: self.calls.append(("uninstall", names)))
        monkeypatch.setattr(qt, "QSettings", lambda: self)
        logic = types.SimpleNamespace(installTorch=self.installTorch)
        extension = types.SimpleNamespace(PyTorchUtilsLogic=lambda: logic, __spec__=types.SimpleNamespace())
        monkeypatch.setitem(sys.modules, "PyTorchUtils", extension)

    def version(self, name):
        if name not in self.packages:
            raise module.importlib.metadata.PackageNotFoundError(name)
        return self.packages[name]

    def pip(self, arguments):
        self.calls.append(("pip", arguments))
        self.packages |= {"safetensors": "0.5", "example": "1.0.2"}
        if any(argument.startswith("torch") for argument in arguments):
            self.torch = "found"

    def installTorch(self, askConfirmation, torchVersionRequirement):
        self.calls.append(("torch", askConfirmation))
        if self.declines:
            return None
        self.torch = "found"
        return object()

    # the part of QSettings that is used

    def setValue(self, key, value):
        self.settings[key] = value

    def value(self, key):
        return self.settings.get(key)

    def remove(self, key):
        self.settings.pop(key, None)

    def sync(self):
        self.calls.append(("sync", dict(self.settings)))


@pytest.fixture
def computer(monkeypatch, tmp_path):
    return Computer(monkeypatch, tmp_path)


def test_torch_comes_first_and_through_its_extension_then_the_rest(computer):
    assert computer.installation.install() == ""
    assert computer.calls == [("torch", True), ("pip", ["safetensors>=0.5", "example>=1.0"])]
    assert computer.installation.isComplete()
    assert "Ready" in computer.installation.inWords()


def test_only_what_is_missing_is_installed(computer):
    computer.torch, computer.packages["safetensors"] = "found", "0.8"
    computer.installation.install()
    assert computer.calls == [("pip", ["example>=1.0"])]


def test_declining_torch_installs_nothing_else(computer):
    computer.declines = True
    assert "was not installed" in computer.installation.install()
    assert computer.calls == [("torch", True)]


def test_half_installed_torch_is_named_and_removed_first(computer):
    computer.torch = "broken"
    assert "half installed" in computer.installation.inWords()
    computer.installation.install()
    assert computer.calls[0] == ("uninstall", "torch torchvision")


def test_a_folder_of_wheels_needs_no_network(computer):
    assert computer.installation.install("wheels") == ""
    (call,) = computer.calls
    assert call[1][:3] == ["--no-index", "--find-links", "wheels"]
    assert call[1][3:] == ["torch>=2.6", "safetensors>=0.5", "example>=1.0"]


class Manager:
    """An Extensions Manager that remembers what it is asked."""

    def __init__(self, computer):
        self.interactive, self._computer = True, computer

    def isExtensionInstalled(self, name):
        return False

    def installExtensionFromServer(self, name, restart):
        self._computer.calls.append((name, restart, self.interactive))
        return True


@pytest.fixture
def without_extension(computer, monkeypatch):
    """The PyTorch extension is not there; what Slicer and the person then do is remembered in ``calls``."""
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)  # importing it fails
    computer.manager, computer.answers = Manager(computer), {"Save": True, "Restart": True}
    application = types.SimpleNamespace(extensionsManagerModel=lambda: computer.manager)
    monkeypatch.setattr(slicer, "app", application, raising=False)
    saved, restarted = (lambda: computer.calls.append("save")), (lambda: computer.calls.append("restart"))
    monkeypatch.setattr(slicer.util, "openSaveDataDialog", saved)
    monkeypatch.setattr(slicer.util, "restart", restarted)
    monkeypatch.setattr(slicer.util, "confirmYesNoDisplay", lambda *unused: computer.answers["Save"])
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda *unused: computer.answers["Restart"])
    return computer


def test_slicer_restarts_only_after_a_yes_with_the_scene_saved_and_the_rest_remembered(without_extension):
    computer = without_extension
    assert "Restart" in computer.installation.install()
    assert computer.calls == [("PyTorch", False, False), "save", ("sync", {PENDING: "torch"}), "restart"]
    assert computer.manager.interactive  # as it was


def test_a_restart_that_was_declined_leaves_nothing_behind(without_extension):
    computer = without_extension
    computer.answers = {"Save": False, "Restart": False}
    assert "Restart" in computer.installation.install()
    assert computer.calls == [("PyTorch", False, False)]
    assert computer.settings == {}


def test_the_plan_names_the_restart(without_extension, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    assert "restarts, after asking you" in without_extension.installation.plan()


def test_a_pending_installation_goes_on_once_and_only_where_the_extension_came(computer, monkeypatch):
    assert not computer.installation.takePending()
    computer.settings[PENDING] = "torch"
    found = {"PyTorchUtils": None}
    monkeypatch.setattr(module.importlib.util, "find_spec", found.get)
    assert not computer.installation.takePending()
    found["PyTorchUtils"] = object()
    assert not computer.installation.takePending()  # asked once: no question at every start
    computer.settings[PENDING] = "torch"
    assert computer.installation.takePending()
    assert computer.settings == {}


@pytest.mark.parametrize(
    ("version", "state"), [("2.2.2", "old"), ("2.5.1+cpu", "old"), ("2.6.0", "found"), ("2.13.0a0+cu126", "found")]
)
def test_an_old_torch_of_another_extension_is_not_ready(version, state, monkeypatch, tmp_path):
    (tmp_path / "requirements.txt").write_text("")
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: types.SimpleNamespace(origin="torch.py"))
    monkeypatch.setattr(module.importlib.metadata, "version", lambda name: version)
    installation = Installation(tmp_path / "requirements.txt")
    assert installation.torchState() == state
    assert installation.isComplete() == (state == "found")
    assert ("Ready" in installation.inWords()) == (state == "found")
    if state == "old":
        assert version in installation.inWords()
        assert version in installation.plan()


def test_an_old_torch_is_replaced_and_a_restart_named_where_it_was_in_use(computer, monkeypatch):
    computer.torch = "old"
    monkeypatch.setitem(sys.modules, "torch", types.ModuleType("torch"))
    assert "Restart" in computer.installation.install()
    assert computer.calls[:2] == [("uninstall", "torch torchvision"), ("torch", True)]


def test_a_mac_that_torch_no_longer_serves_is_told_so_before_anything_is_installed(computer, monkeypatch):
    monkeypatch.setattr(module.platform, "system", lambda: "Darwin")
    monkeypatch.setattr(module.platform, "machine", lambda: "x86_64")
    assert "Apple processor" in computer.installation.inWords()
    assert computer.installation.install() == computer.installation.unsupported()
    assert computer.calls == []
    monkeypatch.setattr(module.platform, "machine", lambda: "arm64")
    assert computer.installation.unsupported() == ""


def test_torch_state_is_found_without_importing_it(monkeypatch, tmp_path):
    """An empty folder named torch, as a failed installation leaves it, is an importable namespace package."""
    (tmp_path / "torch").mkdir()
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    monkeypatch.setattr(sys, "meta_path", [finder for finder in sys.meta_path if "PathFinder" in str(finder)])
    monkeypatch.delitem(sys.modules, "torch", raising=False)
    assert Installation(tmp_path / "none").torchState() == "broken"
    (tmp_path / "torch").rmdir()
    module.importlib.invalidate_caches()
    assert Installation(tmp_path / "none").torchState() == "missing"
    assert "torch" not in sys.modules
