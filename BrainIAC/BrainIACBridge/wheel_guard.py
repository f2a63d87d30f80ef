"""The mouse wheel scrolls the panel: it changes no choice, and no number or slider that was not clicked first.

A choice keeps the focus after it was made, and the next turn of the wheel over it would silently make another one.
"""

from __future__ import annotations

import qt

GUARDED = (qt.QComboBox, qt.QAbstractSpinBox, qt.QAbstractSlider)


class WheelGuard(qt.QObject):
    """Keeps the wheel from choices and from controls without focus; the area around them scrolls instead."""

    def watch(self, widget):
        """Guard a widget and everything in it; calling it again for new widgets is fine."""
        if isinstance(widget, GUARDED) and not isinstance(widget, qt.QScrollBar):
            widget.setFocusPolicy(qt.Qt.StrongFocus)  # the wheel alone must not give it the focus
            widget.removeEventFilter(self)
            widget.installEventFilter(self)
        for child in widget.children():
            if isinstance(child, qt.QWidget):
                self.watch(child)

    def eventFilter(self, control, event):
        """Qt's hook: True keeps an event from the control."""
        if event.type() != qt.QEvent.Wheel:
            return False
        if isinstance(control, qt.QComboBox) or not control.property("focus"):
            event.ignore()
            return True
        return False
