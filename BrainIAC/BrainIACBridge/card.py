"""One answer as a card: large value, probability bar, a light, one sentence of doubt; the rest unfolds."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

from BrainIACBridge.trust_light import Color
from BrainIACLib.trust.words import cut

LARGE = 1.7  # times the size of other letters


class Clicked(qt.QObject):
    """Tells of clicks on a widget that is no button."""

    def setAction(self, act):
        """What a click does."""
        self._act = act

    def eventFilter(self, widget, event):
        """Qt's hook."""
        if event.type() == qt.QEvent.MouseButtonRelease:
            self._act()
        return False


class Card:
    """The widgets of one card; they are used again for other answers.

    Parameters
    ----------
    actions : name -> what a click does: "show", "renew", "explain", "examine".
    """

    def __init__(self, actions):
        self.frame = qt.QFrame()
        self.frame.setFrameShape(qt.QFrame.StyledPanel)
        column = qt.QVBoxLayout(self.frame)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(3)
        top = qt.QHBoxLayout()
        self.light = qt.QLabel()
        self.title = qt.QLabel()
        self.title.setTextFormat(qt.Qt.PlainText)
        bold = qt.QFont()
        bold.setBold(True)
        self.title.setFont(bold)
        self.scans = qt.QLabel()
        self.scans.setTextFormat(qt.Qt.PlainText)  # a series may be called "<b>"
        self.scans.setAlignment(qt.Qt.AlignRight)
        self.scans.setSizePolicy(qt.QSizePolicy.Ignored, qt.QSizePolicy.Preferred)  # a long name widens no panel
        top.addWidget(self.light)
        top.addWidget(self.title)
        top.addWidget(self.scans, 1)
        column.addLayout(top)
        middle = qt.QHBoxLayout()
        self.value = qt.QLabel()
        self.value.setTextFormat(qt.Qt.PlainText)
        font = qt.QFont()  # of the application
        font.setPointSizeF(LARGE * font.pointSizeF())
        font.setBold(True)
        self.value.setFont(font)
        self.bar = qt.QProgressBar()
        self.bar.setRange(0, 100)
        middle.addWidget(self.value)
        middle.addWidget(self.bar, 1)
        column.addLayout(middle)
        self.more = _textLabel()
        self.doubt = _textLabel()
        column.addWidget(self.more)
        column.addWidget(self.doubt)
        buttons = qt.QHBoxLayout()
        self.why = qt.QToolButton()
        self.why.setText(_("Why trust this?"))
        self.why.setCheckable(True)
        self.why.setToolTip(
            _("Unfolds intervals, sets, the distance from the training scans, and how it was computed.")
        )
        self.buttons = {}
        for name, text, tip in (
            ("renew", _("Renew"), _("Gives the answer again, for the scans as they are now.")),
            (
                "explain",
                _("Show map"),
                _("Marks the voxels that the answer depends on most, and goes to the strongest."),
            ),
            ("examine", _("Examine"), _("Flips, shifts and disturbs the scan slightly and sees if the answer holds.")),
        ):
            button = qt.QPushButton(text)
            button.setObjectName(name + "CardButton")
            button.setToolTip(tip)
            button.clicked.connect(lambda *unused, act=actions[name]: act())
            self.buttons[name] = button
            buttons.addWidget(button)
        buttons.addStretch(1)
        buttons.addWidget(self.why)
        column.addLayout(buttons)
        self.details = _textLabel()
        self.details.setTextInteractionFlags(qt.Qt.TextSelectableByMouse)
        self.details.setVisible(False)
        column.addWidget(self.details)
        self.why.toggled.connect(self.details.setVisible)
        self._clicked = Clicked()
        self._clicked.setAction(actions["show"])
        self.frame.installEventFilter(self._clicked)
        self.frame.setToolTip(_("A click shows the scan of this answer, and its map if there is one."))

    def show(self, face):
        """Show an answer.

        Parameters
        ----------
        face : a ``Face``.
        """
        color = face.light.color
        self.light.setText(f'<span style="color:{color.value}; font-size:large">●</span> {color.sign}')
        self.light.setToolTip(color.inWords())
        self.title.setText(face.title)
        self.scans.setText(face.scans)
        self.scans.setToolTip(face.scans)
        self.value.setText(face.value)
        stale = color is Color.gray
        self.bar.setVisible(face.probability is not None and not stale)
        if face.probability is not None:
            percent = 100 * cut(face.probability)
            self.bar.setValue(round(percent))
            self.bar.setFormat(_("probability {percent:.0f}%").format(percent=percent))
        self.more.setText(face.more)
        self.more.setVisible(bool(face.more))
        self.doubt.setText(face.light.doubt)
        self.doubt.setVisible(bool(face.light.doubt))
        self.details.setText(face.details)
        self.value.setEnabled(not stale)
        self.buttons["renew"].setVisible(stale)
        for name in ("explain", "examine"):
            self.buttons[name].setVisible(not stale)
            self.buttons[name].setEnabled(not face.obstacle)
        self.buttons["renew"].setEnabled(not face.obstacle)
        self.frame.setVisible(True)

    def hide(self):
        """No answer is left for this card."""
        self.frame.setVisible(False)


def _textLabel():
    label = qt.QLabel()
    label.setTextFormat(qt.Qt.PlainText)
    label.setWordWrap(True)
    return label
