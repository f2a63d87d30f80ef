"""What a person does with a panel in tests: click, and wait."""

from __future__ import annotations

import time

from PySide6 import QtCore, QtWidgets


def wait(until, seconds=180.0):
    """Let Qt's events run until something is true."""
    deadline = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < deadline, "too late"
        QtCore.QCoreApplication.processEvents(QtCore.QEventLoop.ProcessEventsFlag.AllEvents, 50)
        time.sleep(0.005)


def button(panel, name) -> QtWidgets.QPushButton:
    return panel.parent.findChild(QtWidgets.QPushButton, name)


def click(panel, name):
    """Click a button and wait until the panel is idle again."""
    found = button(panel, name)
    assert found.isEnabled(), found.toolTip()
    found.click()
    wait(lambda: not panel.logic.worker.busy)


def openDialog() -> QtWidgets.QDialog:
    """The question that is open now."""
    (dialog,) = [widget for widget in QtWidgets.QApplication.topLevelWidgets() if _isOpen(widget)]
    return dialog


def _isOpen(widget):
    return isinstance(widget, QtWidgets.QDialog) and widget.isVisible()
