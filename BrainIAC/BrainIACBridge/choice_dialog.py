"""Which of several scans of one sequence to take; asked only where a model needs one of them."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from BrainIACBridge.question import Question


class ChoiceDialog(Question):
    """Asks without blocking; ``onAccepted(nodes)`` is called with one volume for each sequence.

    Parameters
    ----------
    choices : sequence -> the volumes of it.
    study : the ``Study``, for their names.
    """

    def __init__(self, parent, choices, study, onAccepted):
        super().__init__(parent, _("Which scan?"))
        layout = qt.QFormLayout(self.dialog)
        layout.addRow(qt.QLabel(_("The study holds several scans of one sequence. Take which one?")))
        self._boxes = {}
        for sequence, nodes in choices.items():
            ordered = sorted(nodes, key=_voxelSize)
            box = qt.QComboBox()
            box.setObjectName(sequence)
            for node in ordered:
                spacing = " × ".join(f"{number:.2g}" for number in node.GetSpacing())
                box.addItem(_("{name}, voxels of {spacing} mm").format(name=study.titleOf(node), spacing=spacing))
            box.setToolTip(_("The finest scan comes first."))
            self._boxes[sequence] = (box, ordered)
            layout.addRow(f"{sequence}:", box)
        layout.addRow(self.buttons(_("Analyze"), lambda: onAccepted(self.chosen())))

    def chosen(self):
        """One volume for each sequence."""
        return [ordered[box.property("currentIndex")] for box, ordered in self._boxes.values()]


def _voxelSize(node):
    x, y, z = node.GetSpacing()
    return x * y * z
