"""Take back the last thing that a person did in the panel, where it can be taken back."""

from __future__ import annotations

from slicer.i18n import tr as _

MOST = 20


class Undo:
    """Remembers how each act is undone; one button takes them back, the last one first.

    Parameters
    ----------
    button : shows what would be undone; hidden while there is nothing.
    onUndone : called afterwards.
    """

    def __init__(self, button, onUndone):
        self._button, self._onUndone, self._acts = button, onUndone, []
        button.clicked.connect(lambda *unused: self.undo())
        self._show()

    def did(self, what, back):
        """Something was done; ``back()`` undoes it."""
        self._acts = [*self._acts, (what, back)][-MOST:]
        self._show()

    def undo(self):
        """Take the last act back."""
        if self._acts:
            _what, back = self._acts.pop()
            back()
            self._show()
            self._onUndone()

    def forget(self):
        """The scene is another one."""
        self._acts = []
        self._show()

    def _show(self):
        self._button.setVisible(bool(self._acts))
        if self._acts:
            self._button.setToolTip(_("Undo: {what} (Ctrl+Z)").format(what=self._acts[-1][0]))
