"""What PySide6 accepts in tests but PythonQt refuses in Slicer, found by reading the sources."""

from __future__ import annotations

import ast
import functools
from pathlib import Path
from xml.etree import ElementTree

import pytest

MODULE = Path(__file__).resolve().parents[2] / "BrainIAC"
SOURCES = sorted([*MODULE.glob("*.py"), *MODULE.glob("BrainIACBridge/*.py")])
TREES = {path.name: ast.parse(path.read_text(encoding="utf-8")) for path in SOURCES}
# Qt properties: values in PythonQt, methods in PySide6. Only setters and ``property("name")`` mean the same in both.
PROPERTIES = {
    "text", "currentText", "currentIndex", "currentData", "currentPath", "checked", "enabled", "visible", "value",
    "minimum", "maximum", "toolTip", "collapsed", "objectName", "count", "width", "height", "title",
}  # fmt: skip


# Methods without another overload that a number fits: flags may be joined there, and only there.
TAKE_FLAGS = {"setFlags", "setStandardButtons", "setTextInteractionFlags", "setAlignment", "setTextAlignment"}
PYTHONS_OWN = {
    "format",
    "open",
    "sort",
    "update",
    "show",
    "index",
    "mkdir",
    "text",
    "contains",
}  # also names of Qt's methods


def trees():
    return [pytest.param(tree, id=name) for name, tree in TREES.items()]


@pytest.mark.parametrize("tree", trees())
def test_properties_are_not_called(tree):
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)]
    getters = [call for call in calls if call.func.attr in PROPERTIES and not call.args and not call.keywords]
    assert [call.lineno for call in getters] == []


@pytest.mark.parametrize("tree", trees())
def test_widgets_get_no_attributes(tree):
    """``self.ui.button.enabled = False`` works in Slicer only, any other name nowhere."""
    targets = [target for node in ast.walk(tree) if isinstance(node, ast.Assign) for target in node.targets]
    attributes = [target for target in targets if isinstance(target, ast.Attribute)]
    assert [a.lineno for a in attributes if ".ui." in ast.unparse(a) or ".widget." in ast.unparse(a)] == []


@pytest.mark.parametrize("tree", trees())
def test_nothing_is_imported_that_slicer_lacks_or_that_belongs_into_the_worker(tree):
    imported = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            imported.add(node.module.split(".")[0])
    assert not imported & {"PySide6", "PyQt5", "torch", "monai", "deepbet", "nibabel", "pandas", "tqdm", "psutil"}


@pytest.mark.parametrize("tree", trees())
def test_only_literals_are_translated(tree):
    """The translation tool reads the source: no f-strings, no variables inside ``_()``."""
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)]
    wrong = [call.lineno for call in calls if call.func.id == "_" and not isinstance(call.args[0], ast.Constant)]
    assert wrong == []


@pytest.mark.parametrize("module", ["BrainIAC", "BrainIACHeadTrainer"])
def test_connections_and_buddies_name_widgets_that_exist(module):
    panel = ElementTree.parse(MODULE / "Resources" / "UI" / f"{module}.ui").getroot()
    names = {widget.get("name") for widget in panel.iter("widget")}
    ends = [end.text for kind in ("sender", "receiver", "cstring") for end in panel.iter(kind)]
    assert len(ends) > 5
    assert set(ends) <= names


@pytest.mark.parametrize("tree", trees())
def test_no_signals_of_our_own_and_no_style_sheets(tree):
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"Signal", "setStyleSheet", "processEvents"}


def calls(tree):
    return [node for node in ast.walk(tree) if isinstance(node, ast.Call)]


def isQt(node):
    return ast.unparse(node).startswith("qt.")


@pytest.mark.parametrize("tree", trees())
def test_flags_are_joined_only_where_a_number_has_one_meaning(tree):
    """PythonQt makes a plain number of joined flags, which fits constructors and overloads that were not meant."""
    joined = [node for node in ast.walk(tree) if isinstance(node, ast.BinOp) and (isQt(node.left) or isQt(node.right))]
    allowed = [
        part
        for call in calls(tree)
        if isinstance(call.func, ast.Attribute) and call.func.attr in TAKE_FLAGS and len(call.args) == 1
        for part in ast.walk(call.args[0])
    ]
    assert [node.lineno for node in joined if node not in allowed] == []


@pytest.mark.parametrize("tree", trees())
def test_constructors_of_qt_get_no_enums_and_no_keywords(tree):
    made = [call for call in calls(tree) if ast.unparse(call.func).startswith(("qt.Q", "ctk.ctk", "slicer.qMRML"))]
    made = [call for call in made if ast.unparse(call.func).count(".") == 1]
    assert [call.lineno for call in made if call.keywords] == []
    enums = [call for call in made for argument in call.args if ast.unparse(argument).startswith("qt.")]
    enums = [call for call in enums if not any(isinstance(argument, ast.Call) for argument in call.args)]
    assert [call.lineno for call in enums] == []


@pytest.mark.parametrize("tree", trees())
def test_methods_of_qt_get_no_keywords(tree):
    """C++ has none; PythonQt says so only when the line runs."""
    named = [call for call in calls(tree) if isinstance(call.func, ast.Attribute) and call.keywords]
    named = [call for call in named if not ast.unparse(call.func).startswith(("slicer.", "json.", "importlib."))]
    assert [ast.unparse(call) for call in named if call.func.attr in methods_of_qt() - our_functions()] == []


@functools.cache
def methods_of_qt():
    QtWidgets = pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)
    classes = [value for name, value in vars(QtWidgets).items() if name.startswith("Q") and isinstance(value, type)]
    return {name for cls in classes for name in dir(cls) if not name.startswith("_")} - PYTHONS_OWN


@functools.cache
def our_functions():
    nodes = (node for tree in TREES.values() for node in ast.walk(tree))
    return {node.name for node in nodes if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize("tree", trees())
def test_slots_have_no_default_that_a_signal_could_fill(tree):
    """``clicked`` sends whether the button is down, also to a slot that only has a default for something else."""
    methods = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    wrong = []
    for call in calls(tree):
        if isinstance(call.func, ast.Attribute) and call.func.attr == "connect":
            slot = call.args[-1]
            if isinstance(slot, ast.Attribute) and slot.attr in methods:
                slot = methods[slot.attr]
            if isinstance(slot, (ast.Lambda, ast.FunctionDef)) and slot.args.defaults:
                wrong.append(call.lineno)
    assert wrong == []


@pytest.mark.parametrize("tree", trees())
def test_nothing_is_deleted_by_cpp_while_python_still_holds_it(tree):
    """A deleted object raises in PySide6 and PythonQt alike, but at another moment: widgets are hidden, not deleted."""
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"deleteLater", "takeAt", "WA_DeleteOnClose"}


def test_the_stand_in_for_qt_refuses_what_pythonqt_takes_for_something_else():
    """The box of buttons with its flags was such a constructor: every dialog failed in Slicer."""
    pytest.importorskip("PySide6.QtWidgets", exc_type=ImportError)
    import qt
    from pythonqt import Habit

    flags = qt.QDialogButtonBox.StandardButton.Ok | qt.QDialogButtonBox.StandardButton.Cancel
    with pytest.raises(Habit):
        qt.QDialogButtonBox(flags)
    with pytest.raises(Habit):
        qt.QSlider(qt.Qt.Orientation.Horizontal)
    with pytest.raises(Habit):
        qt.QLabel(text="a")
    assert qt.QLabel("a").text() == "a"
    assert isinstance(qt.QLabel("a"), qt.QWidget)
