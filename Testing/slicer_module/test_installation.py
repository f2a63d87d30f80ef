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


def test_a_restart_for_the_pytorch_extension_is_remembered_before_it_happens(computer, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)  # importing it fails

    class Manager:
        interactive = True

        def isExtensionInstalled(self, name):
            return False

        def installExtensionFromServer(self, name, restart):
            computer.calls.append((name, restart, dict(computer.settings)))
            return True

    application = types.SimpleNamespace(extensionsManagerModel=Manager)
    monkeypatch.setattr(slicer, "app", application, raising=False)
    assert "Restart" in computer.installation.install()
    assert computer.calls[-1] == ("PyTorch", True, {PENDING: "torch"})


def test_a_pending_installation_goes_on_only_once_the_extension_is_there(computer, monkeypatch):
    assert not computer.installation.isPending()
    computer.settings[PENDING] = "torch"
    found = {"PyTorchUtils": None}
    monkeypatch.setattr(module.importlib.util, "find_spec", found.get)
    assert not computer.installation.isPending()
    found["PyTorchUtils"] = object()
    assert computer.installation.isPending()
    computer.installation.install()
    assert not computer.installation.isPending()


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
