"""The part of the panel about the study: which one, the age of the person, whether studies are taken together."""

from __future__ import annotations

import slicer
from slicer.i18n import tr as _


class StudySection:
    """Keeps the widgets in step with the studies of the scene.

    Parameters
    ----------
    ui : the widgets of the panel.
    study : the ``Study``.
    onChanged : called after the person changed something.
    onShown : called with the first scan of a study that was chosen.
    """

    def __init__(self, ui, study, onChanged, onShown):
        self._ui, self._study, self._onChanged, self._onShown = ui, study, onChanged, onShown
        self._nodes = []  # one volume of each study that can be chosen
        self._parameters = None
        self._aged, self._agedScan = None, None  # whose age the box shows, and the ID of the scan that is shown
        ui.studyChoice.activated.connect(lambda *unused: self._onStudyChosen())
        ui.age.valueChanged.connect(lambda value: self._onAge(value))
        ui.ageFromHeaderButton.clicked.connect(lambda *unused: self._onAgeFromHeader())
        ui.dicomButton.clicked.connect(lambda *unused: slicer.util.selectModule("DICOM"))
        ui.sampleButton.clicked.connect(lambda *unused: self._onSample())

    def update(self, parameters):
        """Show the studies of the scene as they are now."""
        self._parameters = parameters
        self._study.scan, self._study.combined = parameters.studyScan, parameters.combineStudies
        studies = self._study.studies()
        self._nodes = [nodes[0] for nodes in studies.values()]
        several, titles = len(studies) > 1, _titles(studies)
        combo = self._ui.studyChoice
        if titles != [combo.itemText(index) for index in range(combo.property("count"))]:
            combo.clear()
            combo.addItems(titles)
        if studies:
            combo.setCurrentIndex(list(studies).index(self._study.current()))
        for name in ("studyChoiceLabel", "studyChoice", "combineStudies"):
            getattr(self._ui, name).setVisible(several)
        combo.setEnabled(not parameters.combineStudies)
        self._ui.studyHintLabel.setVisible(not studies)
        self._ui.sampleButton.setVisible(not studies)
        self._showAge()

    def _showAge(self):
        shown = self._parameters.saliencyScan
        years, typed = self._study.age(shown)
        self._agedScan = shown.GetID() if shown is not None else None
        key = self._study.current().key
        box, aged = self._ui.age, (key, None if any(key) else self._agedScan)
        if aged != self._aged or not box.property("focus"):  # what is being typed for this person stays
            self._aged = aged
            wasBlocked = box.blockSignals(True)
            box.setValue(-1.0 if years is None else years)  # below 0: unknown; a newborn is 0.0 years old
            box.blockSignals(wasBlocked)
        self._letStep()
        for name in ("ageLabel", "age", "ageHintLabel"):
            getattr(self._ui, name).setVisible(bool(self._nodes))
        mixed = self._study.isMixed()
        box.setEnabled(not mixed)
        self._ui.ageFromHeaderButton.setVisible(typed and not mixed)
        hint = "" if years is None else _("typed by you") if typed else _("from DICOM")
        self._ui.ageHintLabel.setText(_("of several people or dates") if mixed else hint)

    def _onStudyChosen(self):
        first = self._nodes[self._ui.studyChoice.property("currentIndex")]
        if first in self._study.scans():  # it was chosen before
            return
        self._parameters.studyScan = first
        self._onShown(first)  # never the views, the map and the volumes of another person under this one's name

    def _letStep(self):
        """A step from "unknown" would make a newborn of the person: an age is typed first."""
        box = self._ui.age
        step = 0.0 if box.property("value") < 0 else 1.0
        if box.property("singleStep") != step:  # setting it would drop what is being typed
            box.setSingleStep(step)

    def commit(self):
        """Take the age that was typed and not confirmed: something is about to be asked with it."""
        self._ui.age.interpretText()

    def _onAge(self, value):
        self._setAge(value if value >= 0 else None)

    def _onAgeFromHeader(self):
        self._setAge(None)

    def _setAge(self, years):
        shown = slicer.mrmlScene.GetNodeByID(self._agedScan) if self._agedScan else None
        self._study.setAge(years, shown)
        self._aged = None  # the box shows what is so now
        self._onChanged()

    def _onSample(self):
        import SampleData

        from BrainIACBridge.sample_data import STUDY

        SampleData.SampleDataLogic().downloadSamples(STUDY)
        self._onChanged()


def _titles(studies):
    """The names of the studies, with a number where several bear the same: two people may be called 'anonymous'."""
    titles = [identity.title for identity in studies]
    return [
        f"{title} ({titles[: number + 1].count(title)})" if titles.count(title) > 1 else title
        for number, title in enumerate(titles)
    ]
