"""The part of the panel about how a scan is prepared: the choices, and what became of a scan."""

from __future__ import annotations

from slicer.i18n import tr as _

from BrainIACBridge.in_words import stepsInWords


class PreparationSection:
    """Keeps the choices and the list of steps in step with the chosen scan.

    Parameters
    ----------
    ui : the widgets of the panel.
    answers : the ``SceneAnswers``.
    load : called with a scan whose steps are wanted in the scene.
    """

    def __init__(self, ui, answers, load):
        self._ui, self._answers, self._parameters = ui, answers, None
        self._help = ui.brainExtraction.property("toolTip")  # of the library's option
        ui.stepsButton.clicked.connect(lambda *unused: load(self._parameters.saliencyScan))

    def update(self, parameters, obstacle):
        """Show the steps of the scan that is chosen; a mask of one's own makes the extraction needless."""
        self._parameters = parameters
        scan, masked = parameters.saliencyScan, parameters.brainMask is not None
        steps = stepsInWords(self._answers.stepsOf(scan)) if scan is not None else ""
        self._ui.stepsLabel.setText(steps)
        self._ui.stepsLabel.setVisible(bool(steps))
        self._ui.brainExtraction.setEnabled(not masked)
        self._ui.brainExtraction.setToolTip(_("Not needed: the brain mask below is used.") if masked else self._help)
        reason = obstacle or (_("Load a scan first.") if scan is None else "")
        name = scan.GetName() if scan is not None else ""
        tip = _("Loads what the model saw of {name}: brain, masks, transform, and lists each step.").format(name=name)
        self._ui.stepsButton.setEnabled(not reason)
        self._ui.stepsButton.setToolTip(reason or tip)
