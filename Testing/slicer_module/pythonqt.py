"""``qt`` as Slicer has it, for tests in PySide6: what PySide6 takes and PythonQt does not raises here.

PythonQt hands enums and flags to C++ as plain numbers and picks the first constructor that a number fits; keyword
arguments of a constructor set properties and name no parameter. So a constructor takes neither. What can only be seen
in the text of the sources is looked for in ``test_pythonqt.py``.
"""

from __future__ import annotations

import enum

VALUES = (
    "QSize",
    "QPoint",
    "QRect",
    "QColor",
    "QPen",
    "QBrush",
    "QPointF",
    "QRectF",
    "QPixmap",
    "QImage",
    "QKeySequence",
)


class Habit(TypeError):
    """Works in PySide6 and not in Slicer."""


class PythonQtClass:
    """Stands before a class of PySide6: calls are checked, everything else passes."""

    def __init__(self, cls):
        self._cls = cls

    def __call__(self, *arguments, **keywords):
        name = self._cls.__name__
        if keywords:
            raise Habit(f"qt.{name}({', '.join(keywords)}=...): PythonQt takes no keyword arguments here")
        numbers = [value for value in arguments if isinstance(value, (enum.Enum, int, float))]
        if numbers and name not in VALUES:
            raise Habit(f"qt.{name}({numbers[0]}): PythonQt may take another constructor for a number; use a setter")
        return self._cls(*arguments)

    def __getattr__(self, name):
        return getattr(self._cls, name)

    def __instancecheck__(self, instance):
        return isinstance(instance, self._cls)

    def __mro_entries__(self, bases):
        return (self._cls,)

    def __repr__(self):
        return f"<qt.{self._cls.__name__}>"


def classesOf(*modules):
    """name -> class or value, for the module ``qt``."""
    found = {name: getattr(module, name) for module in modules for name in dir(module) if name.startswith("Q")}
    return {name: PythonQtClass(value) if isinstance(value, type) else value for name, value in found.items()}
