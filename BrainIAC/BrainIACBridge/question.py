"""A question in a window of its own that does not block, with the two buttons that end each of them."""

from __future__ import annotations

import qt

from BrainIACBridge.wheel_guard import WheelGuard


class Question:
    """Fill ``dialog``, put ``buttons`` into its last row, then ``open``.

    Parameters
    ----------
    title : of the window.
    """

    def __init__(self, parent, title):
        self.dialog = qt.QDialog(parent)
        self.dialog.setWindowTitle(title)
        self._wheelGuard = WheelGuard()

    def buttons(self, text, onAccepted):
        """The box with the button that agrees, named ``text``, and Cancel.

        It is made empty: PythonQt passes flags as a number, and a number given to the constructor of the box is taken
        for its orientation.
        """
        box = qt.QDialogButtonBox()
        box.setStandardButtons(qt.QDialogButtonBox.Ok | qt.QDialogButtonBox.Cancel)
        box.button(qt.QDialogButtonBox.Ok).setText(text)
        box.accepted.connect(self.dialog.accept)
        box.rejected.connect(self.dialog.reject)
        self.dialog.accepted.connect(onAccepted)
        return box

    def open(self):
        """Show the question; the answer comes later."""
        self._wheelGuard.watch(self.dialog)
        self.dialog.open()
