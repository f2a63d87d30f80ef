"""What belongs to the computer is kept for it, what belongs to the scene in the scene."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import qt
from BrainIACBridge import settings
from BrainIACBridge.choices import Device
from BrainIACBridge.parameters import BrainIACParameterNode


@pytest.fixture(autouse=True)
def kept(monkeypatch):
    """The settings of an application that only remembers."""
    kept = {}
    store = type("Settings", (), {"value": lambda self, key: kept.get(key),
                                  "setValue": lambda self, key, value: kept.update({key: value})})  # fmt: skip
    monkeypatch.setattr(qt, "QSettings", store)
    return kept


def test_the_processor_is_kept_for_both_panels_and_every_scene(kept, openModule, scene):
    panel = openModule("BrainIAC")
    box = panel.ui.device
    box.setCurrentIndex(box.findData("cpu"))
    box.activated.emit(box.currentIndex())
    assert kept == {settings.DEVICE: "cpu"}
    scene.mrml.Clear(0)
    assert settings.device() == "cpu"
    assert panel.logic.flows.preparation([]).device == "cpu"
    trainer = openModule("BrainIACHeadTrainer")
    assert trainer.ui.device.currentData() == "cpu"
    assert "device" not in BrainIACParameterNode.allParameters


def test_a_processor_of_another_version_is_the_automatic_one(kept):
    kept[settings.DEVICE] = "abacus"
    assert settings.device() == Device.auto.value
