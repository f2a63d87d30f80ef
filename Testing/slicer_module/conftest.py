"""The Slicer side of the tests: a real MRML scene each, with stand-ins for the application around it."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "BrainIAC"))
sys.path.append(str(Path(__file__).resolve().parents[1] / "library"))  # its checkpoint files

try:
    import standins

    standins.installModules()
except ImportError:  # each test file skips itself and says what is missing
    pass

_kept = []  # taking scenes and views apart in Python's order can crash


@pytest.fixture
def scene(tmp_path):
    """An empty scene with its logics; ``slicer.mrmlScene`` is its MRML scene."""
    from scene import Scene

    scene = Scene(tmp_path)
    scene.dialogs = standins.useScene(scene)
    _kept.append(scene)
    return scene


@pytest.fixture
def openModule(scene, monkeypatch):
    """Opens a module's widget; its worker runs in this Python, and everything is installed."""
    from BrainIACBridge.installation import Installation

    monkeypatch.setattr("shutil.which", lambda name: sys.executable)
    monkeypatch.setattr(Installation, "isComplete", lambda self: True)
    opened = []

    def openModule(name):
        opened.append(standins.openPanel(name))
        return opened[-1]

    yield openModule
    for widget in opened:
        widget.cleanup()
        assert not widget.logic.worker.running


@pytest.fixture
def panel(openModule):
    """The panel of the module BrainIAC."""
    return openModule("BrainIAC")


@pytest.fixture
def trainer(openModule):
    """The panel of the module BrainIACHeadTrainer."""
    return openModule("BrainIACHeadTrainer")


@pytest.fixture
def oblique(tmp_path) -> Path:
    """A NIfTI file with permuted, flipped and turned axes, odd spacings, and one bright voxel at (5, 3, 8)."""
    import numpy as np
    import SimpleITK as sitk

    array = np.zeros((12, 9, 14), np.int16)  # k, j, i
    array[2:10, 2:7, 3:11] = 100
    array[8, 3, 5] = 1000
    image = sitk.GetImageFromArray(array)
    image.SetSpacing((1.1, 2.3, 0.7))
    turn = np.array(sitk.Euler3DTransform((0, 0, 0), 0.4, -0.3, 0.2).GetMatrix()).reshape(3, 3)
    image.SetDirection((turn @ np.array([[0, 0, -1], [-1, 0, 0], [0, 1, 0]])).ravel().tolist())
    image.SetOrigin((31.5, -12.25, 7.75))
    path = tmp_path / "oblique.nii.gz"
    sitk.WriteImage(image, str(path))
    return path
