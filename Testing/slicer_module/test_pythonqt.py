"""What PySide6 accepts in tests but PythonQt refuses in Slicer, found by reading the sources."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

MODULE = Path(__file__).resolve().parents[2] / "BrainIAC"
SOURCES = sorted([*MODULE.glob("*.py"), *MODULE.glob("BrainIACBridge/*.py")])
# Qt properties: values in PythonQt, methods in PySide6. Only setters and ``property("name")`` mean the same in both.
PROPERTIES = {
    "text", "currentText", "currentIndex", "currentData", "currentPath", "checked", "enabled", "visible", "value",
    "minimum", "maximum", "toolTip", "collapsed", "objectName", "count", "width", "height", "title",
}  # fmt: skip


def trees():
    return [pytest.param(ast.parse(path.read_text(encoding="utf-8")), id=path.name) for path in SOURCES]


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


@pytest.mark.parametrize("tree", trees())
def test_no_signals_of_our_own_and_no_style_sheets(tree):
    names = {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
    assert not names & {"Signal", "setStyleSheet", "processEvents"}
