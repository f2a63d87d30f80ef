"""Which series of a DICOM folder to load: size, spacing and number of files, nothing that names a person."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from BrainIACBridge.question import Question


class SeriesDialog(Question):
    """Asks without blocking; ``onAccepted(uids)`` is called with what the person ticked.

    Parameters
    ----------
    series : the value of the worker's "series" action.
    """

    def __init__(self, parent, series, onAccepted):
        super().__init__(parent, _("Load DICOM"))
        layout = qt.QVBoxLayout(self.dialog)
        layout.addWidget(qt.QLabel(_("Series to load:")))
        self._boxes = {}
        for one in series:
            box = qt.QCheckBox(one["text"])
            box.setObjectName(one["uid"])
            box.setChecked(one["volume"])
            box.setEnabled(one["volume"])
            box.setToolTip(one["uid"] if one["volume"] else _("This series holds no image."))
            self._boxes[one["uid"]] = box
            layout.addWidget(box)
        layout.addWidget(self.buttons(_("Load"), lambda: onAccepted(self.chosen())))

    def chosen(self):
        """The UIDs that are ticked."""
        return [uid for uid, box in self._boxes.items() if box.isChecked()]
