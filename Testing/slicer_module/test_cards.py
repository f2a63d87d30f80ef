"""What a person sees of an answer: value, probability, one light, one doubt, age gap, change between two dates."""

from __future__ import annotations

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import slicer
from BrainIACBridge.cards_section import Face
from BrainIACBridge.follow_up import FollowUp, difference
from BrainIACBridge.in_words import driversInShort
from BrainIACBridge.trust_light import Color, Light, lightOf
from person import button, wait
from PySide6 import QtCore, QtGui, QtWidgets
from test_results import prediction

NOVEL = {"novelty": {"score": 2.5, "warn_above": 2.0, "meaning": "distance"}}


def answer(label="T1", **changes):
    return prediction(label, **{"warnings": (), **changes})


def age(value, low=None, high=None, coverage=0.9, asked=None, **changes):
    trust = {}
    if low is not None:
        trust = {
            "prediction_interval": {"low": low, "high": high, "coverage": coverage, "unit": "years", "meaning": ""}
        }
    fields = {"task": "age", "value": value, "unit": "years", "probabilities": {}, "trust": trust, **changes}
    return {**answer(label=f"{value:.1f} years", confidence=None, **fields), "ageYears": asked}


# The light


@pytest.mark.parametrize(
    ("record", "staleness", "color", "doubt"),
    [
        (answer(), "", Color.green, ""),
        (answer(warnings=("Uncertain: 0.8.",)), "", Color.amber, "Uncertain: 0.8."),
        (answer(warnings=("Thick slices.", "Too old."), trust={"grave": ["Too old."]}), "", Color.red, "Too old"),
        (answer(warnings=("Do not rely on words.",)), "", Color.amber, "words"),
        (answer(trust=NOVEL, warnings=("Unlike the training scans.",)), "", Color.red, "Unlike"),
        (answer(warnings=("Uncertain.",)), "'scan' was changed since.", Color.gray, "was changed"),
    ],
)
def test_one_light_and_the_weightiest_doubt(record, staleness, color, doubt):
    light = lightOf(record, staleness)
    assert light.color is color
    assert doubt in light.doubt
    assert bool(doubt) == bool(light.doubt)


def test_each_light_is_told_apart_without_color():
    assert len({color.sign for color in Color}) == len(Color) == len({color.inWords() for color in Color})


def test_a_card_names_the_two_volumes_that_move_an_answer_most():
    parts = [
        {"what": "lateral ventricles", "adds": 16.8, "percent": 3.4, "usual_percent": 1.2},
        {"what": "thalamus", "adds": 14.5, "percent": 0.98, "usual_percent": 1.2},
        {"what": "putamen", "adds": 4.4, "percent": 0.67, "usual_percent": 0.74},
        {"what": "size of the head", "adds": -0.6, "percent": None, "usual_percent": None},
    ]
    said = driversInShort(answer(trust={"drivers": {"unit": "years", "parts": parts, "meaning": "all of them"}}))
    assert said == (
        "Moved most by: lateral ventricles 3.4% of the intracranial volume (mean of the training persons 1.2%); "
        "thalamus 0.98% of the intracranial volume (mean of the training persons 1.2%)"
    )
    assert driversInShort(answer()) == ""


# Cards in the panel


def test_the_table_tells_the_sequences_and_one_card_that_of_the_scan_that_is_shown(panel, scene, oblique):
    scans = [scene.load(oblique, name) for name in ("first", "second")]
    for number, scan in enumerate(scans):
        scan.SetOrigin(number, 0, 0)
        panel.logic.answers.results().add(answer(), {"any": scan}, {"any": panel.logic.contents.of(scan)})
    panel.onShowScan(scans[1])
    assert [panel.logic.answers.results().scansOf(one)["any"] for one in panel.cards.records] == [scans[1]]
    assert panel.ui.studyTable.currentRow() == 1
    scans[0].SetOrigin(5, 5, 5)  # an answer that is not current is seen whichever scan is shown
    panel.updatePanel()
    assert len(panel.cards.records) == 2


@pytest.fixture
def answered(panel, scene, oblique):
    """A panel with an answer of age and one of the sequence; (panel, scan)."""
    scan = scene.load(oblique, "scan")
    panel.logic.study.setAge(60.0)
    contents = {"any": panel.logic.contents.of(scan)}
    panel.logic.answers.results().add(answer(), {"any": scan}, contents)
    panel.logic.answers.results().add(age(64.0, 58.0, 70.0, asked=60.0), {"any": scan}, contents)
    panel.updatePanel()
    return panel, scan


def test_a_probability_just_below_a_gate_does_not_look_as_high(answered):
    panel, _scan = answered
    card = panel.cards.cards[1]
    card.show(Face("sequence", "scan", "T1", 0.8995, "", Light(Color.green, ""), "", ""))
    assert (card.bar.value(), card.bar.text()) == (89, "probability 89%")


def test_the_answer_of_the_study_stands_before_those_of_single_scans(answered):
    panel, _scan = answered
    first, second = panel.cards.cards
    assert (first.value.text(), second.value.text()) == ("64.0 years", "T1")
    interval, gap = first.more.text().splitlines()
    assert interval == "Interval: 58.0 to 70.0 years (90%)"
    assert gap.startswith("Age at the scan 60.0 years, brain age gap +4.0 years (90% interval")
    assert first.bar.isHidden()
    assert second.bar.value() == 90
    assert "✓" in first.light.text()
    assert first.scans.text() == "scan"


def test_a_value_stands_beside_its_interval_also_where_nobody_knows_the_age(panel, scene, oblique):
    scan = scene.load(oblique, "scan")
    contents = {"any": panel.logic.contents.of(scan)}
    panel.logic.answers.results().add(age(67.8, 52.0, 83.0, asked=None), {"any": scan}, contents)
    panel.updatePanel()
    (card,) = panel.cards.cards
    assert (card.value.text(), card.more.text()) == ("67.8 years", "Interval: 52.0 to 83.0 years (90%)")


def test_the_age_gap_of_a_card_is_that_of_its_own_person(answered, scene, oblique):
    """Studies may be taken together; the first scan is then another person's or of another date."""
    panel, _scan = answered
    other = scene.load(oblique, "other")
    other.SetOrigin(1, 0, 0)
    contents = {"any": panel.logic.contents.of(other)}
    panel.logic.answers.results().add(age(30.0, 25.0, 35.0, asked=28.0), {"any": other}, contents)
    panel.updatePanel()
    lines = [line for card in panel.cards.cards for line in card.more.text().splitlines()]
    gaps = [line[:51] for line in lines if "gap" in line]
    assert gaps == [
        "Age at the scan 60.0 years, brain age gap +4.0 year",
        "Age at the scan 28.0 years, brain age gap +2.0 year",
    ]


def test_why_trust_this_unfolds_everything(answered):
    card = answered[0].cards.cards[0]
    assert card.details.isHidden()
    card.why.click()
    assert not card.details.isHidden()
    for part in ("58.0 to 70.0 years", "Valid for", "cpu"):
        assert part in card.details.text()


def test_an_answer_about_other_voxels_is_gray_and_has_one_button(answered):
    panel, scan = answered
    slicer.util.updateVolumeFromArray(scan, slicer.util.arrayFromVolume(scan) + 1)
    wait(lambda: "…" in panel.cards.cards[0].light.text(), 10)  # the panel sees the edit by itself
    card = panel.cards.cards[0]
    assert "was changed" in card.doubt.text()
    assert not card.buttons["renew"].isHidden()
    assert card.buttons["explain"].isHidden()
    asked = []
    panel.logic.renew = lambda record, listener: asked.append(record["task"])
    card.buttons["renew"].click()
    assert asked == ["age"]


def test_a_click_on_a_card_or_a_row_shows_that_scan(answered, scene, oblique):
    panel, scan = answered
    view = scene.addSliceView("Red", "Axial")
    other = scene.load(oblique, "other")
    panel.updatePanel()
    panel.ui.studyTable.cellClicked.emit(1, 0)
    assert view.GetSliceCompositeNode().GetBackgroundVolumeID() == other.GetID()
    middle = QtCore.QPointF(5, 5)
    left = QtCore.Qt.MouseButton.LeftButton
    event = QtGui.QMouseEvent(
        QtCore.QEvent.Type.MouseButtonRelease, middle, middle, left, left, QtCore.Qt.KeyboardModifier.NoModifier
    )
    QtWidgets.QApplication.sendEvent(panel.cards.cards[0].frame, event)
    assert view.GetSliceCompositeNode().GetBackgroundVolumeID() == scan.GetID()
    assert panel._parameterNode.saliencyScan is scan


def test_only_answers_of_the_current_study_have_cards(answered, scene, oblique):
    panel, _scan = answered
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    other = scene.load(oblique, "other")
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "B")
    hierarchy.CreateItem(patient, other)
    panel._parameterNode.studyScan = other
    panel.updatePanel()
    assert [card for card in panel.cards.cards if not card.frame.isHidden()] == []
    assert not panel.ui.studyChoice.isHidden()
    assert panel.ui.studyTable.rowCount() == 1


def test_relabeling_and_clearing_are_undone(answered):
    panel, scan = answered
    panel.logic.study.setSequence(scan, "FLAIR", 0.8, ["Uncertain."])
    panel.updatePanel()
    choice = panel.ui.studyTable.cellWidget(0, 1)
    choice.setCurrentText("T2")
    choice.activated.emit(choice.currentIndex())
    assert panel.logic.study.sequence(scan) == ("T2", None)
    button(panel, "clearButton").click()
    assert panel.logic.answers.records() == []
    button(panel, "undoButton").click()
    assert len(panel.logic.answers.records()) == 2
    button(panel, "undoButton").click()
    assert panel.logic.study.sequence(scan) == ("FLAIR", 0.8)
    assert panel.logic.study.sequenceWarnings(scan) == "Uncertain."
    assert button(panel, "undoButton").isHidden()


def test_the_notice_is_always_there(panel):
    assert not panel.ui.noticeLabel.isHidden()
    assert panel.ui.noticeLabel.parent().objectName() == "BrainIAC"  # in no section that folds
    assert "Research use only" in panel.ui.noticeLabel.text()


# Two dates


def test_a_difference_has_the_interval_that_both_intervals_leave():
    text = difference(age(60.0, 55.0, 65.0), age(63.0, 59.0, 67.0))
    assert text == "+3.0 years (at least 80%: -6.0 to +12.0)"
    other = {"model": {"id": "another", "version": "1"}}
    assert "different models" in difference(age(60.0), {**age(63.0), "provenance": other})
    assert "no interval" in difference(age(60.0), age(63.0))
    assert difference(answer(), answer()) == "the same"
    assert difference(answer("T1"), answer("T2")) == "T1 → T2"


@pytest.fixture
def twoDates(panel, scene, oblique):
    """A panel over two dates of one person; (panel, earlier scan, later scan)."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene.mrml)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), "A")
    scans = []
    for number, date in enumerate(("20210101", "20200101")):
        study = hierarchy.CreateStudyItem(patient, date)
        hierarchy.SetItemAttribute(study, "DICOM.StudyDate", date)
        scan = scene.load(oblique, date)
        hierarchy.CreateItem(study, scan)
        contents = {"any": panel.logic.contents.of(scan)}
        panel.logic.answers.results().add(age(60.0 - number, 55.0, 65.0), {"any": scan}, contents)
        scans.append(scan)
    panel.updatePanel()
    return panel, scans[1], scans[0]


def test_two_dates_of_one_person_are_compared(twoDates):
    panel, _earlier, _later = twoDates
    assert not panel.ui.followUpSection.isHidden()
    (change,) = panel.followUpSection.followUp.changes()
    assert (change.before, change.after) == ("59.0 years", "60.0 years")
    assert change.difference.startswith("+1.0 years")
    assert panel.ui.followUpTable.item(0, 3).text() == change.difference


def test_both_dates_lie_side_by_side_in_linked_views(twoDates, scene):
    panel, earlier, later = twoDates
    views = [scene.addSliceView(name, "Sagittal") for name in ("Red", "Yellow")]
    button(panel, "followUpButton").click()
    panel.updatePanel()  # and what comes after it leaves them there
    panel.ui.opacity.setValue(0.4)
    assert slicer.app.layoutManager().layout == slicer.vtkMRMLLayoutNode.SlicerLayoutSideBySideView
    for view, scan in zip(views, (earlier, later), strict=True):
        assert view.GetSliceCompositeNode().GetBackgroundVolumeID() == scan.GetID()
        assert view.GetSliceCompositeNode().GetLinkedControl()
        assert view.GetSliceNode().GetOrientation() == "Axial"


def test_a_single_date_has_no_follow_up(answered):
    panel, _scan = answered
    assert panel.ui.followUpSection.isHidden()
    assert FollowUp(panel.logic).pair() is None
