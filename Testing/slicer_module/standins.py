"""Stand-ins for what Slicer's application adds to real MRML and real Qt, enough to run the module's panel in tests.

Strict where it matters: a SlicerParameterName that the parameter node does not have, a widget type without a connector,
or a number without bounds raises, as in Slicer. What PythonQt refuses but PySide6 accepts is looked for in the sources
(``test_pythonqt.py``).
"""

from __future__ import annotations

import contextlib
import enum
import importlib
import sys
import types
import typing
from pathlib import Path

import pythonqt
import slicer
import slicer.util
import vtk
from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets


class qMRMLWidget(QtWidgets.QWidget):
    def setMRMLScene(self, scene):
        for child in self.findChildren(QtWidgets.QWidget):
            if isinstance(child, (qMRMLNodeComboBox, qMRMLTableView)):
                child.setMRMLScene(scene)


class ctkCollapsibleButton(QtWidgets.QWidget):
    def __init__(self, parent=None):
        super().__init__(parent)
        self.setContentsMargins(6, 28, 6, 6)
        self._text, self._collapsed = "", False

    def _setText(self, text):
        self._text = text

    def _setCollapsed(self, collapsed):
        self._collapsed = collapsed
        self.setContentsMargins(6, 100 if collapsed else 28, 6, 6)  # nothing of the content is seen
        self.setMinimumHeight(26 if collapsed else 0)
        self.setMaximumHeight(26 if collapsed else 16777215)
        self.updateGeometry()

    text = QtCore.Property(str, lambda self: self._text, _setText)
    collapsed = QtCore.Property(bool, lambda self: self._collapsed, _setCollapsed)

    def sizeHint(self):
        return QtCore.QSize(60, 26) if self._collapsed else super().sizeHint()

    def minimumSizeHint(self):
        return QtCore.QSize(60, 26) if self._collapsed else super().minimumSizeHint()

    def paintEvent(self, event):
        painter = QtWidgets.QStylePainter(self)
        bar = QtCore.QRect(0, 0, self.width(), 24)
        painter.fillRect(bar, self.palette().color(QtGui.QPalette.ColorRole.Button))
        painter.setPen(self.palette().color(QtGui.QPalette.ColorRole.ButtonText))
        arrow = "▶" if self._collapsed else "▼"
        painter.drawText(bar.adjusted(8, 0, 0, 0), QtCore.Qt.AlignmentFlag.AlignVCenter, f"{arrow}  {self._text}")


class ctkPathLineEdit(QtWidgets.QLineEdit):
    filters = QtCore.Property(int, lambda self: 0, lambda self, value: None)
    currentPath = QtCore.Property(str, lambda self: self.text(), lambda self, path: self.setText(path))

    currentPathChanged = QtCore.Signal(str)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.textChanged.connect(self.currentPathChanged)

    def setCurrentPath(self, path):
        self.setText(path)

    def addCurrentPathToHistory(self):
        pass


class ctkSliderWidget(QtWidgets.QWidget):
    valueChanged = QtCore.Signal(float)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Orientation.Horizontal)
        self._box = QtWidgets.QDoubleSpinBox()
        layout = QtWidgets.QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self._slider)
        layout.addWidget(self._box)
        self._slider.setRange(0, 100)
        self._slider.valueChanged.connect(lambda value: self.setValue(value / 100))
        self._box.valueChanged.connect(self.setValue)

    def setValue(self, value):
        changed = value != self._box.value()
        for widget, shown in ((self._box, value), (self._slider, round(100 * value))):
            widget.blockSignals(True)
            widget.setValue(shown)
            widget.blockSignals(False)
        if changed or self.sender() is not None:
            self.valueChanged.emit(self._box.value())

    value = QtCore.Property(float, lambda self: self._box.value(), setValue)
    minimum = QtCore.Property(float, lambda self: self._box.minimum(), lambda self, v: self._box.setMinimum(v))
    maximum = QtCore.Property(float, lambda self: self._box.maximum(), lambda self, v: self._box.setMaximum(v))
    singleStep = QtCore.Property(float, lambda self: self._box.singleStep(), lambda self, v: self._box.setSingleStep(v))
    decimals = QtCore.Property(int, lambda self: self._box.decimals(), lambda self, v: self._box.setDecimals(v))


class qMRMLNodeComboBox(QtWidgets.QComboBox):
    currentNodeChanged = QtCore.Signal(object)
    nodeTypes = QtCore.Property("QStringList", lambda self: self._types, lambda self, types: self._setTypes(types))
    showChildNodeTypes = QtCore.Property(bool, lambda self: False, lambda self, value: None)
    addEnabled = QtCore.Property(bool, lambda self: False, lambda self, value: None)
    removeEnabled = QtCore.Property(bool, lambda self: False, lambda self, value: None)
    noneEnabled = QtCore.Property(bool, lambda self: False, lambda self, value: None)

    def __init__(self, parent=None):
        super().__init__(parent)
        self.setSizeAdjustPolicy(QtWidgets.QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(12)
        self._types, self._scene, self._ids = [], None, []
        self.activated.connect(lambda index: self.currentNodeChanged.emit(self.currentNode()))

    def _setTypes(self, types):
        self._types = list(types)

    def setMRMLScene(self, scene):
        self._scene = scene
        for event in (slicer.vtkMRMLScene.NodeAddedEvent, slicer.vtkMRMLScene.NodeRemovedEvent):
            scene.AddObserver(event, lambda *unused: self.refresh())
        self.refresh()

    def refresh(self):
        current = self.currentNode()
        nodes = [node for name in self._types for node in slicer.util.getNodesByClass(name)]
        self._ids = [node.GetID() for node in nodes]
        self.clear()
        self.addItems([node.GetName() for node in nodes])
        self.setCurrentNode(current)

    def currentNode(self):
        index = self.currentIndex()
        return self._scene.GetNodeByID(self._ids[index]) if 0 <= index < len(self._ids) else None

    def setCurrentNode(self, node):
        self.setCurrentIndex(self._ids.index(node.GetID()) if node is not None and node.GetID() in self._ids else -1)


class qMRMLTableView(QtWidgets.QTableView):
    def setMRMLScene(self, scene):
        pass

    def setMRMLTableNode(self, node):
        model = QtGui.QStandardItemModel(self)
        if node is not None:
            columns = range(node.GetNumberOfColumns())
            model.setHorizontalHeaderLabels([node.GetColumnName(column) for column in columns])
            for row in range(node.GetNumberOfRows()):
                model.appendRow([QtGui.QStandardItem(node.GetCellText(row, column)) for column in columns])
        self.setModel(model)


WIDGETS = (qMRMLWidget, ctkCollapsibleButton, ctkPathLineEdit, ctkSliderWidget, qMRMLNodeComboBox, qMRMLTableView)
_loaders = []  # a loader must outlive its widgets


def loadUI(path):
    loader = QtUiTools.QUiLoader()
    for widget in WIDGETS:
        loader.registerCustomWidget(widget)
    _loaders.append(loader)
    return loader.load(str(path))


def childWidgetVariables(widget):
    children = {child.objectName(): child for child in widget.findChildren(QtWidgets.QWidget) if child.objectName()}
    return types.SimpleNamespace(**children)


class WithinRange(typing.NamedTuple):
    minimum: float
    maximum: float


class Choice(typing.NamedTuple):
    choices: list


def parameterNodeWrapper(cls):
    """Attributes of a class, stored as parameters and references of a scripted module node, observable, in step with
    widgets that name them."""
    hints = typing.get_type_hints(cls, include_extras=True)
    defaults = {name: getattr(cls, name) for name in hints if hasattr(cls, name)}

    def isNode(name):
        return bool(_nodeClasses(hints[name]))

    def plain(name):
        return typing.get_args(hints[name])[0] if typing.get_origin(hints[name]) is typing.Annotated else hints[name]

    def read(name, text):
        kind = plain(name)
        if issubclass(kind, enum.Enum):
            return kind[text]
        return text == "True" if kind is bool else kind(text)

    def accessor(name):
        def get(self):
            if isNode(name):
                return self.node.GetNodeReference(name)
            return read(name, self.node.GetParameter(name)) if self.node.HasParameter(name) else defaults[name]

        def put(self, value):
            if isNode(name):
                self.node.SetNodeReferenceID(name, value.GetID() if value is not None else None)
            else:
                for rule in typing.get_args(hints[name])[1:]:
                    if isinstance(rule, WithinRange) and not rule.minimum <= value <= rule.maximum:
                        raise ValueError(f"{name} = {value} is not within {rule}")
                    if isinstance(rule, Choice) and value not in rule.choices:
                        raise ValueError(f"{name} = {value} is not one of {rule.choices}")
                self.node.SetParameter(name, value.name if isinstance(value, enum.Enum) else str(value))

        return property(get, put)

    class Wrapper:
        allParameters = hints

        def __init__(self, node):
            object.__setattr__(self, "node", node)
            object.__setattr__(self, "_connections", [])

        def __setattr__(self, name, value):
            if name not in hints:
                raise AttributeError(f"{cls.__name__} has no parameter '{name}'")
            object.__setattr__(self, name, value)

        def AddObserver(self, event, callback, *priority):
            return self.node.AddObserver(event, callback, *priority)

        def RemoveObserver(self, tag):
            self.node.RemoveObserver(tag)

        def connectGui(self, ui):
            for widget in vars(ui).values():
                name = widget.property("SlicerParameterName")
                if name:
                    if name not in hints:
                        raise ValueError(f"'{widget.objectName()}' names the parameter '{name}', which does not exist")
                    self._connections.append(_connect(self, name, plain(name), widget))
            return self.node.AddObserver(vtk.vtkCommand.ModifiedEvent, lambda *unused: self._show())

        def disconnectGui(self, tag):
            self.node.RemoveObserver(tag)
            for signal, slot, _show in self._connections:
                signal.disconnect(slot)
            self._connections.clear()

        def _show(self):
            for _signal, _slot, show in self._connections:
                show()

    for name in hints:
        setattr(Wrapper, name, accessor(name))
    Wrapper.__name__ = cls.__name__
    return Wrapper


def _nodeClasses(hint):
    """The classes of a node parameter, (); a union holds nodes and None only."""
    classes = [cls for cls in typing.get_args(hint) if cls is not type(None)] if _isUnion(hint) else [hint]
    return [cls for cls in classes if isinstance(cls, type) and issubclass(cls, slicer.vtkMRMLNode)]


def _isUnion(hint):
    return typing.get_origin(hint) is typing.Union


def _connect(parameters, name, kind, widget):
    """(signal, slot, show): the widget follows the parameter and the other way round."""
    rules = typing.get_args(type(parameters).allParameters[name])[1:]
    choices = next((rule.choices for rule in rules if isinstance(rule, Choice)), None)
    bounded = any(isinstance(rule, WithinRange) for rule in rules)
    widgetType = type(widget)
    if widgetType is QtWidgets.QCheckBox and kind is bool:
        signal, get, put = widget.toggled, widget.isChecked, widget.setChecked
    elif widgetType is QtWidgets.QSpinBox and kind is int and bounded:
        signal, get, put = widget.valueChanged, widget.value, widget.setValue
    elif widgetType is ctkSliderWidget and kind in (float, int) and bounded:
        signal, get, put = widget.valueChanged, lambda: widget.value, widget.setValue
    elif widgetType is QtWidgets.QComboBox and (choices or issubclass(kind, enum.Enum)):
        values = choices or list(kind)
        widget.clear()
        widget.addItems([value.label() if isinstance(value, enum.Enum) else value for value in values])
        signal, get = widget.currentIndexChanged, lambda: values[widget.currentIndex()]

        def put(value):
            widget.setCurrentIndex(values.index(value))
    elif widgetType is QtWidgets.QLineEdit and kind is str:
        signal, get, put = widget.textChanged, widget.text, widget.setText
    elif widgetType is qMRMLNodeComboBox:
        widget.nodeTypes = [cls().GetClassName() for cls in _nodeClasses(kind)]  # abstract classes raise, as in Slicer
        signal, get, put = widget.currentNodeChanged, widget.currentNode, widget.setCurrentNode
    else:
        raise ValueError(f"no connector between {widgetType.__name__} '{widget.objectName()}' and {kind.__name__}")

    def slot(*unused):
        setattr(parameters, name, get())

    def show():
        value = getattr(parameters, name)
        if value is not get() and value != get():
            put(value)

    show()
    signal.connect(slot)
    return signal, slot, show


class ScriptedLoadableModule:
    def __init__(self, parent):
        self.parent = parent


class ScriptedLoadableModuleWidget:
    def __init__(self, parent=None):
        self.parent = parent
        self.layout = parent.layout()

    def setup(self):
        pass

    def resourcePath(self, name):
        return str(Path(sys.modules[type(self).__module__].__file__).parent / "Resources" / name)


class ScriptedLoadableModuleLogic:
    def getParameterNode(self):
        name = type(self).__name__.removesuffix("Logic")
        node = slicer.mrmlScene.GetSingletonNode(name, "vtkMRMLScriptedModuleNode")
        if node is None:
            node = slicer.mrmlScene.CreateNodeByClass("vtkMRMLScriptedModuleNode")
            node.UnRegister(None)
            node.SetSingletonTag(name)
            node = slicer.mrmlScene.AddNode(node)
        return node


class ModulePanel(QtWidgets.QWidget):
    isEntered = True


class ScriptedLoadableModuleTest:
    pass


class LayoutManager:
    """Of a layout without plots; ``layout`` is the one chosen last."""

    plotViewCount = 0

    def __init__(self, scene):
        self.layout, self._scene = None, scene

    def setLayout(self, layout):
        self.layout = layout

    def mrmlSliceLogics(self):
        return self._scene.application.GetSliceLogics()


class Dialogs:
    """What the person was shown, and the answers that are waiting."""

    def __init__(self):
        self.shown = []
        self.confirm = True
        self.path = ""

    def show(self, text, *unused, **alsoUnused):
        self.shown.append(text)

    def ask(self, text, *unused):
        self.shown.append(text)
        return self.confirm


def installModules():
    """Make ``qt`` and the application's Python modules importable."""
    QtWidgets.QApplication.instance() or QtWidgets.QApplication(["Slicer"])
    qt = sys.modules["qt"] = types.ModuleType("qt")
    vars(qt).update(pythonqt.classesOf(QtCore, QtGui, QtWidgets))
    qt.Qt = QtCore.Qt
    slicer.util.loadUI, slicer.util.childWidgetVariables = loadUI, childWidgetVariables
    slicer.util.tryWithErrorDisplay = lambda *unused, **alsoUnused: contextlib.nullcontext()
    slicer.util.mainWindow = lambda: None
    _module("slicer.i18n", tr=lambda text: text, translate=lambda context, text: text)
    _module(
        "slicer.parameterNodeWrapper",
        parameterNodeWrapper=parameterNodeWrapper,
        WithinRange=WithinRange,
        Choice=Choice,
    )
    _module(
        "slicer.ScriptedLoadableModule",
        ScriptedLoadableModule=ScriptedLoadableModule,
        ScriptedLoadableModuleWidget=ScriptedLoadableModuleWidget,
        ScriptedLoadableModuleLogic=ScriptedLoadableModuleLogic,
        ScriptedLoadableModuleTest=ScriptedLoadableModuleTest,
    )


def useScene(scene):
    """The application around a scene. Returns the ``Dialogs``."""
    dialogs = Dialogs()
    sys.modules["qt"].QFileDialog = types.SimpleNamespace(
        getOpenFileName=lambda *unused: dialogs.path,
        getSaveFileName=lambda *unused: dialogs.path,
        getExistingDirectory=lambda *unused: dialogs.path,
    )
    layoutManager = LayoutManager(scene)
    slicer.app = types.SimpleNamespace(
        connect=lambda signal, slot: None,
        extensionsManagerModel=lambda: None,
        applicationLogic=lambda: scene.application,
        layoutManager=lambda: layoutManager,
    )
    slicer.util.loadVolume = lambda path: scene.load(Path(path))
    logics = {name.lower(): types.SimpleNamespace(logic=lambda name=name: scene.logics[name]) for name in scene.logics}
    slicer.modules = types.SimpleNamespace(**logics)
    slicer.dicomDatabase = None
    slicer.util.infoDisplay = slicer.util.errorDisplay = slicer.util.warningDisplay = dialogs.show
    slicer.util.confirmOkCancelDisplay = slicer.util.confirmYesNoDisplay = dialogs.ask
    return dialogs


def openPanel(module="BrainIAC"):
    """The widget of a module, set up and entered."""
    parent = ModulePanel()
    QtWidgets.QVBoxLayout(parent)
    widget = getattr(importlib.import_module(module), f"{module}Widget")(parent)
    widget.setup()
    widget.enter()
    return widget


def _module(name, **content):
    module = sys.modules[name] = types.ModuleType(name)
    vars(module).update(content)
    setattr(slicer, name.split(".")[1], module)
