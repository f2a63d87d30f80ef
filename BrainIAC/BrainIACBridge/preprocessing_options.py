"""The library's preprocessing options from a panel's parameters, by name: ``biasField`` is ``bias_field``."""

from __future__ import annotations

import dataclasses
import enum

from BrainIACLib.preprocessing.options import PreprocessingOptions


def optionsOf(parameters):
    """What the panel offers, as the person set it; the default of the library for what it does not offer."""
    values = {}
    for field in dataclasses.fields(PreprocessingOptions):
        first, *others = field.name.split("_")
        value = getattr(parameters, first + "".join(word.capitalize() for word in others), field.default)
        values[field.name] = value.value if isinstance(value, enum.Enum) else value
    return PreprocessingOptions(**values)
