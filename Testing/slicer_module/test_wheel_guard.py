"""The mouse wheel over a control that was not clicked scrolls the panel; it relabels no scan and moves no slider."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

from PySide6 import QtCore, QtGui, QtWidgets

CONTROLS = (QtWidgets.QComboBox, QtWidgets.QAbstractSpinBox, QtWidgets.QSlider)


def turn(widget):
    """One notch of the wheel over the middle of a widget. Whether the widget took it."""
    middle = QtCore.QPointF(widget.rect().center())
    nothing = QtCore.Qt.KeyboardModifier.NoModifier, QtCore.Qt.ScrollPhase.NoScrollPhase
    event = QtGui.QWheelEvent(
        middle, middle, QtCore.QPoint(), QtCore.QPoint(0, -120), QtCore.Qt.MouseButton.NoButton, *nothing, False
    )
    QtWidgets.QApplication.sendEvent(widget, event)
    return event.isAccepted()


def state(widget):
    return widget.currentIndex() if isinstance(widget, QtWidgets.QComboBox) else widget.value()


@pytest.mark.parametrize("module", ["BrainIAC", "BrainIACHeadTrainer"])
def test_no_control_without_focus_takes_the_wheel(module, openModule, scene, oblique):
    scene.load(oblique)
    panel = openModule(module)
    panel.parent.show()
    panel.parent.setFocus()
    panel.updatePanel()
    controls = [control for kind in CONTROLS for control in panel.parent.findChildren(kind)]
    assert len(controls) > 3
    for control in controls:
        before = state(control)
        turn(control)
        assert state(control) == before, control.objectName()
        assert not control.focusPolicy() & QtCore.Qt.FocusPolicy.WheelFocus & ~QtCore.Qt.FocusPolicy.StrongFocus


def test_a_scan_is_not_relabeled_by_scrolling_over_its_row(panel, scene, oblique):
    scan = scene.load(oblique)
    panel.logic.study.setSequence(scan, "T1", 0.9)
    panel.updatePanel()
    choice = panel.ui.studyTable.cellWidget(0, 1)
    turn(choice)
    assert panel.logic.study.sequence(scan) == ("T1", 0.9)


def test_a_choice_that_was_just_made_is_not_changed_by_scrolling_on(panel, scene, oblique):
    """The focus stays on it; what was chosen by a person would become another choice of the person."""
    scan = scene.load(oblique)
    panel.updatePanel()
    panel.parent.show()
    panel.parent.activateWindow()
    choice = panel.ui.studyTable.cellWidget(0, 1)
    choice.setFocus()
    QtWidgets.QApplication.processEvents()
    choice.setCurrentText("T1")
    choice.activated.emit(choice.currentIndex())
    turn(choice)
    assert panel.logic.study.sequence(scan) == ("T1", None)


def test_the_choices_of_a_question_are_guarded_too(panel):
    from BrainIACBridge.choice_dialog import ChoiceDialog

    spacing = type("Scan", (), {"GetSpacing": lambda self: (1.0, 1.0, 1.0), "GetName": lambda self: "scan"})
    study = type("Study", (), {"titleOf": lambda self, node: node.GetName()})()
    question = ChoiceDialog(None, {"T1": [spacing(), spacing()]}, study, lambda nodes: None)
    question.open()
    box = question.dialog.findChild(QtWidgets.QComboBox, "T1")
    turn(box)
    assert box.currentIndex() == 0
    question.dialog.reject()


def test_a_control_with_the_focus_takes_the_wheel(panel):
    box = panel.ui.samples
    panel.parent.show()
    panel.ui.mapSection.setProperty("collapsed", False)
    panel.parent.activateWindow()
    box.setFocus()
    QtWidgets.QApplication.processEvents()
    if not box.hasFocus():
        pytest.skip("this platform gives no window the focus")
    before = box.value()
    turn(box)
    assert box.value() != before
