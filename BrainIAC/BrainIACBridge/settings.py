"""Choices that belong to the computer and not to a scene: kept in the settings of the application."""

from __future__ import annotations

import qt

from BrainIACBridge.choices import Device

DEVICE = "BrainIAC/device"


def device():
    """The name of the processor to compute on, as the worker takes it."""
    value = qt.QSettings().value(DEVICE)
    return value if value in {choice.value for choice in Device} else Device.auto.value


def setDevice(value):
    """Remember it for every scene."""
    qt.QSettings().setValue(DEVICE, value)


class DeviceChoice:
    """Keeps a QComboBox in step with the setting.

    Parameters
    ----------
    combo : shows the processors.
    """

    def __init__(self, combo):
        self._combo = combo
        for choice in Device:
            combo.addItem(choice.label(), choice.value)
        self.update()
        combo.activated.connect(lambda *unused: setDevice(combo.property("currentData")))

    def update(self):
        """Show the setting; the other panel may have changed it."""
        self._combo.setCurrentIndex(self._combo.findData(device()))
