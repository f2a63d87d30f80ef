"""The library's preprocessing options in a panel: parameters of the scene, rows of widgets, and back to the library.

All of it is made from the fields of ``PreprocessingOptions``, by name: ``biasField`` is ``bias_field``.
"""

from __future__ import annotations

import dataclasses
import enum
import typing

import qt
from slicer.i18n import tr as _
from slicer.parameterNodeWrapper import WithinRange

from BrainIACBridge.library_texts import translated
from BrainIACLib.preprocessing.options import PreprocessingOptions


class _Choice(enum.Enum):
    def label(self):
        """The text in the panel."""
        return translated(type(self).titles[self.value])


@dataclasses.dataclass(frozen=True)
class PanelOption:
    """One option: its name among the parameters, its type there, its default, and the text of its field."""

    name: str
    kind: object
    default: object
    help: str
    title: str
    limits: tuple


def _camel(name):
    first, *others = name.split("_")
    return first + "".join(word.capitalize() for word in others)


def offered(cls=PreprocessingOptions):
    """The options that a panel offers, in the order of the fields."""
    return [_optionOf(field) for field in dataclasses.fields(cls) if field.metadata["in_panel"]]


def _optionOf(field):
    kind, default = type(field.default), field.default
    if field.metadata["choices"]:
        titles = field.metadata["titles"]()
        name = "".join(word.capitalize() for word in field.name.split("_"))
        kind = _Choice(name, {choice.replace("-", "_"): choice for choice in titles})
        kind.titles, default = titles, kind(default)
    text = field.metadata["help"]
    title = field.name.replace("_", " ").capitalize()
    help = translated(text[0].upper() + text[1:])
    return PanelOption(_camel(field.name), kind, default, help, translated(title), field.metadata["limits"])


OFFERED = offered()
BrainExtraction = next(option.kind for option in OFFERED if option.name == "brainExtraction")


def withPreprocessing(cls, options=OFFERED):
    """Class decorator, below ``parameterNodeWrapper``: a parameter for each option."""
    for option in options:
        kind = typing.Annotated[int, WithinRange(*option.limits)] if option.kind is int else option.kind
        cls.__annotations__[option.name] = kind
        setattr(cls, option.name, option.default)
    return cls


def addRows(box, ui, hint="", options=OFFERED):
    """A row for each option.

    Parameters
    ----------
    box : a widget with a form layout.
    ui : the widgets of the panel; those of the options become its attributes, for the parameter node to find.
    hint : a sentence for every tooltip.
    """
    for option in options:
        widget = _widgetOf(option)
        widget.setObjectName(option.name)
        widget.setProperty("SlicerParameterName", option.name)
        widget.setToolTip(option.help.replace("; ", ";\n") + (". " + hint if hint else ""))
        setattr(ui, option.name, widget)
        if option.kind is bool:
            widget.setText(option.help)
            box.layout().addRow(widget)
            continue
        label = qt.QLabel(_("{title}:").format(title=option.title))
        label.setBuddy(widget)
        box.layout().addRow(label, widget)


def _widgetOf(option):
    if option.kind is bool:
        return qt.QCheckBox()
    if option.kind is int:
        number = qt.QSpinBox()
        number.setRange(*option.limits)
        return number
    choice = qt.QComboBox()
    choice.setSizeAdjustPolicy(qt.QComboBox.AdjustToMinimumContentsLengthWithIcon)
    choice.setMinimumContentsLength(12)
    choice.setSizePolicy(qt.QSizePolicy.Expanding, qt.QSizePolicy.Fixed)
    return choice


def optionsOf(parameters, cls=PreprocessingOptions):
    """What the panel offers, as the person set it; the default of the library for what it does not offer."""
    values = {}
    for field in dataclasses.fields(cls):
        value = getattr(parameters, _camel(field.name), field.default)
        values[field.name] = value.value if isinstance(value, enum.Enum) else value
    return cls(**values)


def forgetWayThatIsNotHere(parameterNode, options=OFFERED):
    """A scene of another computer may name a choice that this one lacks, which a parameter node refuses to read."""
    for option in options:
        if isinstance(option.kind, enum.EnumMeta):
            if parameterNode.GetParameter(option.name) not in ("", *option.kind.__members__):
                parameterNode.UnsetParameter(option.name)
