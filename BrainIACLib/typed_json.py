"""Dataclasses as JSON and back, checked: every field that is unknown, missing or of another type is named.

Types: str, int, float, bool, Path, None, further dataclasses, ``tuple[X, ...]``, ``tuple[X, Y]``, ``Mapping[str, X]``,
and unions of these.
"""

from __future__ import annotations

import contextlib
import dataclasses
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from BrainIACLib.errors import RequestError

T = TypeVar("T")
NAMES = {
    str: "text",
    int: "a whole number",
    float: "a number",
    bool: "true or false",
    Path: "a path",
    type(None): "null",
}


def encoded(value: Any) -> Any:
    """What ``json.dumps`` takes, of a dataclass or any part of one; paths become absolute."""
    if dataclasses.is_dataclass(value):
        return {field.name: encoded(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, Mapping):
        return {str(name): encoded(part) for name, part in value.items()}
    if isinstance(value, (tuple, list)):
        return [encoded(part) for part in value]
    return str(value.absolute()) if isinstance(value, Path) else value


def decoded(cls: type[T], value: object, what: str) -> T:
    """The dataclass of a JSON object; ``what`` it is called in errors.

    Raises
    ------
    RequestError : what does not fit, in one sentence.
    """
    if not isinstance(value, Mapping):
        raise RequestError(f"{what} must be a JSON object, not {_shown(value)}.")
    expected = _types_of(typing.cast(Any, cls))
    fields = ", ".join(expected) or "none"
    unknown = [str(name) for name in value if name not in expected]
    if unknown:
        raise RequestError(f"{what} has no field '{unknown[0]}'; its fields: {fields}.")
    needed = [
        field.name
        for field in dataclasses.fields(cls)  # type: ignore[arg-type]
        if field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING
    ]
    missing = [name for name in needed if name not in value]
    if missing:
        raise RequestError(f"{what} lacks the field '{missing[0]}'; its fields: {fields}.")
    return cls(**{name: _checked(expected[name], part, f"{what}, field '{name}',") for name, part in value.items()})


def _checked(expected: Any, value: object, what: str) -> Any:
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        *first, last = (kind for kind in inner if kind is not type(None))
        for kind in first:
            with contextlib.suppress(RequestError):
                return _checked(kind, value, what)
        return _checked(last, value, what)
    if dataclasses.is_dataclass(expected):
        return decoded(typing.cast(type, expected), value, what)
    if origin is tuple and isinstance(value, (list, tuple)):
        if inner[1] is Ellipsis:
            return tuple(_checked(inner[0], part, what) for part in value)
        if len(value) == len(inner):
            return tuple(_checked(kind, part, what) for kind, part in zip(inner, value, strict=True))
    if origin is Mapping and isinstance(value, Mapping):
        return {name: _checked(inner[1], part, f"{what} part '{name}',") for name, part in value.items()}
    if expected is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    if expected is float and type(value) in (int, float) and abs(value) < float("inf"):  # type: ignore[arg-type]
        return float(value)  # type: ignore[arg-type]
    if expected in (str, int, bool) and type(value) is expected:
        return value
    wanted = {tuple: "a list", Mapping: "an object"}.get(origin) or NAMES.get(expected, str(expected))
    raise RequestError(f"{what} must be {wanted}, not {_shown(value)}.")


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else text[:57] + "..."


@cache
def _types_of(cls: type) -> dict[str, Any]:
    hints = typing.get_type_hints(cls)
    return {field.name: hints[field.name] for field in dataclasses.fields(cls)}
