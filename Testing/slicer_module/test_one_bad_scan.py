"""A scan that cannot be analyzed fails in its own row with its reason; the others are answered."""

from __future__ import annotations

import contextlib

import pytest

pytest.importorskip("slicer", exc_type=ImportError)
pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)

import numpy as np
import slicer
import vtk
from BrainIACBridge.brainiac_logic import BrainIACLogic
from BrainIACBridge.flow import Ask, Listener, follow
from fake_worker import FakeWorker

from BrainIACLib.errors import BrainIACError, Cancelled, PreprocessingError
from BrainIACLib.worker.conversation import WorkerError
from BrainIACLib.worker.requests import Status


@pytest.fixture
def logic(scene, tmp_path):
    (tmp_path / "private").mkdir()
    return BrainIACLogic(FakeWorker(tmp_path / "private"))


@pytest.fixture
def contracts(logic):
    return {"sequence": logic.contracts()["sequence"]}


def analyze(logic, contracts):
    """Click Analyze study: the error it ended with, what was told, and each line of progress."""
    ended, told, steps = [], [], []
    listener = Listener(lambda step, fraction: steps.append((step, fraction)), ended.append)
    logic.analyze(contracts, lambda *what: told.append(what), listener)
    assert len(ended) == 1
    return ended[0], told, steps


def bend(scene, node):
    transform = scene.mrml.AddNewNodeByClass("vtkMRMLTransformNode")
    transform.SetAndObserveTransformToParent(vtk.vtkThinPlateSplineTransform())
    node.SetAndObserveTransformNodeID(transform.GetID())


def vector(scene, name):
    node = scene.mrml.AddNewNodeByClass("vtkMRMLVectorVolumeNode", name)
    slicer.util.updateVolumeFromArray(node, np.zeros((4, 5, 6, 3), np.uint8))
    return node


@pytest.mark.parametrize("position", [0, 1, 2])
def test_the_others_are_answered_wherever_the_bad_one_stands(position, scene, oblique, logic, contracts):
    nodes = [scene.load(oblique, f"scan {number}") for number in range(3)]
    for number, node in enumerate(nodes):
        node.SetOrigin(number, 0, 0)  # other contents
    logic.worker.bad[logic.contents.of(nodes[position])] = "this is a localizer of 3 slices."
    error, told, _steps = analyze(logic, contracts)
    assert error is None
    assert len(told) == 1
    for number, node in enumerate(nodes):
        if number == position:
            assert "localizer" in logic.study.problem(node)
            assert node.GetName() in logic.study.problem(node)
            assert str(logic.worker.folder) not in logic.study.problem(node)
            assert logic.answers.about(node) == []
        else:
            assert logic.study.problem(node) == ""
            assert len(logic.answers.about(node)) == 1
    assert all(node.GetID() not in str(logic.worker.asked) for node in nodes)


@pytest.mark.parametrize("kind", ["nonlinear transform", "three components"])
def test_a_volume_that_cannot_be_handed_over_fails_in_its_own_row(kind, scene, oblique, logic, contracts):
    good = scene.load(oblique, "good")
    if kind == "nonlinear transform":
        bad = scene.load(oblique, "bad")
        bend(scene, bad)
    else:
        bad = vector(scene, "bad")
    error, _told, _steps = analyze(logic, contracts)
    assert error is None
    assert "'bad'" in logic.study.problem(bad)
    assert len(logic.answers.about(good)) == 1


def test_a_study_of_bad_scans_alone_ends_with_the_reason(scene, oblique, logic, contracts):
    bend(scene, scene.load(oblique, "bad"))
    error, told, _steps = analyze(logic, contracts)
    assert "nonlinear" in str(error)
    assert told == []


def test_a_row_that_failed_and_was_mended_is_answered(scene, oblique, logic, contracts):
    node = scene.load(oblique, "scan")
    content = logic.contents.of(node)
    logic.worker.bad[content] = "a thin slab."
    assert "slab" in str(analyze(logic, contracts)[0])
    node.SetSpacing(1, 1, 1)
    assert analyze(logic, contracts)[0] is None
    assert logic.study.problem(node) == ""


@pytest.mark.parametrize("alone", [True, False])
def test_a_scan_that_failed_is_tried_again_at_each_click_and_its_reason_told(alone, scene, oblique, logic, contracts):
    """Also as another node, when the scene was closed and the same file loaded again."""
    node = scene.load(oblique, "scan")
    logic.worker.bad[logic.contents.of(node)] = "a thin slab."
    if not alone:
        scene.load(oblique, "good").SetOrigin(1, 0, 0)
    analyze(logic, contracts)
    scene.mrml.Clear(0)
    node = scene.load(oblique, "again")
    if not alone:
        scene.load(oblique, "good").SetOrigin(1, 0, 0)
    error, _told, _steps = analyze(logic, contracts)
    assert "slab" in logic.study.problem(node)
    assert ("slab" in str(error)) == alone
    ended = []
    logic.loadSteps(node, Listener(lambda step, fraction: None, ended.append))
    assert "slab" in str(ended[0])
    logic.worker.bad.clear()  # as where memory was short
    assert analyze(logic, contracts)[0] is None
    assert logic.study.problem(node) == ""
    assert len(logic.answers.about(node)) == 1


def test_a_scan_that_failed_costs_nothing_where_another_one_is_asked_about(scene, oblique, logic, contracts):
    bad, good = scene.load(oblique, "bad"), scene.load(oblique, "good")
    good.SetOrigin(1, 0, 0)
    logic.worker.bad[logic.contents.of(bad)] = "a thin slab."
    analyze(logic, contracts)
    before = len(logic.worker.asked)
    ended = []
    logic.measureVolumes(good, Listener(lambda step, fraction: None, ended.append))
    assert ended == [None]
    assert logic.worker.kinds()[before:] == ["MeasureVolumes"]


def test_progress_names_scan_and_step_and_never_falls(scene, oblique, logic, contracts):
    for number in range(4):
        scene.load(oblique, f"scan {number}").SetOrigin(number, 0, 0)
    _error, _told, steps = analyze(logic, contracts)
    assert steps[1][0] == "scan 2 of 4, brain extraction"
    fractions = [fraction for _step, fraction in steps]
    assert fractions == sorted(fractions)
    assert 0 < fractions[0]
    assert fractions[-1] < 1


def test_one_click_names_the_scans_explains_an_answer_and_shows_its_map(scene, oblique, logic, contracts):
    view = scene.addSliceView("Red", "Axial")
    scan = scene.load(oblique, "scan")
    error, told, _steps = analyze(logic, contracts)
    assert error is None
    assert told[0][1:] == ([], {})
    assert logic.study.sequence(scan)[0] == "T1"
    saliency = logic.answers.saliencyOf(scan)
    assert view.GetSliceCompositeNode().GetForegroundVolumeID() == saliency.GetID()
    ras = logic.map.overlay.maximum(saliency)
    toRas = slicer.util.arrayFromVTKMatrix(view.GetSliceNode().GetSliceToRAS())
    assert abs(np.dot(toRas[:3, 2], np.array(ras) - toRas[:3, 3])) < 1e-3


def test_a_second_click_computes_no_map_again_until_more_samples_are_wanted(scene, oblique, logic, contracts):
    scene.load(oblique, "scan")
    for _ in range(2):
        assert analyze(logic, contracts)[0] is None
    assert logic.worker.kinds() == ["PrepareStudy", "Predict", "Explain", "Predict"]
    logic.getParameterNode().samples = 20
    analyze(logic, contracts)
    assert logic.worker.kinds().count("Explain") == 2


def test_a_task_for_which_two_scans_fit_is_left_for_the_person_to_decide(scene, oblique, logic, contracts):
    """The sequences are known only after the first part of the analysis."""
    nodes = [scene.load(oblique, name) for name in ("first", "second")]
    nodes[1].SetOrigin(1, 2, 3)
    head = type("Head", (), {"slots": ("T1",), "missing_policy": "refuse"})
    contracts = {**contracts, "age": type("Contract", (), {"id": "m", "head": head})}
    _error, told, _steps = analyze(logic, contracts)
    assert "choose one" in told[0][2]["age"]
    assert {record["task"] for record in logic.answers.records()} == {"sequence"}
    logic.study.prefer(nodes[1])
    analyze(logic, contracts)
    (record,) = [record for record in logic.answers.records() if record["task"] == "age"]
    assert logic.answers.results().scansOf(record) == {"T1": nodes[1]}


def test_a_sequence_that_the_person_set_is_not_asked_again(scene, oblique, logic, contracts):
    scan = scene.load(oblique, "scan")
    logic.study.setSequence(scan, "T2")
    analyze(logic, contracts)
    assert logic.study.sequence(scan) == ("T2", None)
    assert "Predict" not in logic.worker.kinds()


def test_a_task_that_fails_leaves_the_other_answers(scene, oblique, logic, contracts):
    scan = scene.load(oblique, "scan")
    contract = type("Contract", (), {"id": "m", "head": type("Head", (), {"slots": ("any",), "missing_policy": ""})})
    logic.worker.failing["age"] = "The model answered 812 years, which cannot be."
    error, told, _steps = analyze(logic, {**contracts, "age": contract, "idh": contract})
    assert error is None
    assert {record["task"] for record in logic.answers.about(scan)} == {"sequence", "idh"}
    assert told[0][1] == ["The model answered 812 years, which cannot be."]


# At the border to Qt


def run(worker, generator):
    ended = []
    follow(worker, generator, Listener(lambda step, fraction: None, ended.append))
    (error,) = ended
    return error


def test_an_exception_in_a_callback_reaches_the_person_and_ends_the_request(logic):
    def broken():
        yield Ask(Status())
        raise ZeroDivisionError("by nothing")

    error = run(logic.worker, broken())
    assert isinstance(error, BrainIACError)
    assert "by nothing" in str(error)
    assert any("ZeroDivisionError" in line for line in logic.worker.log)  # the details


def test_a_progress_line_that_cannot_be_shown_costs_no_answer(logic):
    def broken(step, fraction):
        raise RuntimeError("no such label")

    def ask():
        yield Ask(Status())

    ended = []
    follow(logic.worker, ask(), Listener(broken, ended.append))
    assert ended == [None]
    assert any("no such label" in line for line in logic.worker.log)


@pytest.mark.parametrize("after", ["an answer", "an error"])
def test_nothing_is_asked_after_a_cancel_that_came_too_late_for_the_request_under_way(after, logic):
    def two():
        with contextlib.suppress(PreprocessingError):  # as a bad scan is passed over
            yield Ask(Status())
        yield Ask(Status())

    def answer(request):
        logic.worker.cancel()
        if after == "an error":
            raise PreprocessingError("a bad scan")
        return {}

    logic.worker.answer = answer
    assert isinstance(run(logic.worker, two()), Cancelled)
    assert logic.worker.kinds() == ["Status"]


def test_a_process_that_cannot_start_is_an_error_of_the_flow(logic, monkeypatch):
    def refuse(*unused):
        raise WorkerError("no Python")

    monkeypatch.setattr(logic.worker, "request", refuse)

    def ask():
        yield Ask(Status())

    assert str(run(logic.worker, ask())) == "no Python"


def test_a_panel_stays_usable_after_an_answer_that_breaks_it(panel, scene, oblique, monkeypatch):
    """With a real worker: what the answer does raises, and the next click works."""
    from person import button, wait

    panel.updatePanel()
    monkeypatch.setattr(panel.logic, "inspectWeights", lambda path, found, listener: panel.logic.ask(
        Status("cpu"), lambda value: value["nothing"], listener))  # fmt: skip
    scene.dialogs.path = "weights.pt"
    button(panel, "importButton").click()
    wait(lambda: not panel.logic.worker.busy)
    assert any("unexpected" in text for text in scene.dialogs.shown)
    assert button(panel, "importButton").isEnabled()
    assert not panel.ui.progressBar.isVisibleTo(panel.parent)
