"""Dataclasses as JSON and back, checked: every field that is unknown, missing or of another type is named.

Types: str, int, float, bool, Path, None, further dataclasses, ``tuple[X, ...]``, ``tuple[X, Y]``, ``Mapping[str, X]``,
and unions of these; ``Any`` in what is only written. ``schema_of`` is the published form of the same types.
"""

from __future__ import annotations

import contextlib
import dataclasses
import math
import types
import typing
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, TypeVar

from BrainIACLib.errors import RequestError

T = TypeVar("T")
ADDED_LATER = {"added_later": True}  # metadata of a field that older documents lack: its default stands in
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


def decoded(cls: type[T], value: object, what: str, *, whole: bool = False) -> T:
    """The dataclass of a JSON object.

    Parameters
    ----------
    what : it is called in errors.
    whole : a field may be absent only if it was ``ADDED_LATER``, not wherever it has a default.

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
        raise RequestError(f"{what} has no field {_shown(unknown[0])}; its fields: {fields}.")
    missing = [name for name in _needed(cls, whole) if name not in value]
    if missing:
        raise RequestError(f"{what} lacks the field '{missing[0]}'; its fields: {fields}.")
    parts = {name: _checked(expected[name], part, f"{what}, field '{name}',", whole) for name, part in value.items()}
    return cls(**parts)


def schema_of(cls: type, title: str) -> dict[str, Any]:
    """The JSON schema (draft 2020-12) of what ``encoded`` makes of a dataclass, with its docstrings."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **_schema(cls)}


def _schema(expected: Any) -> dict[str, Any]:
    if dataclasses.is_dataclass(expected):
        return {
            "type": "object",
            "description": (expected.__doc__ or "").split("\n\n")[0],
            "properties": {name: _schema(kind) for name, kind in _types_of(typing.cast(Any, expected)).items()},
            "required": _needed(typing.cast(type, expected), whole=True),
            "additionalProperties": False,
        }
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if origin in (types.UnionType, typing.Union):
        return {"anyOf": [_schema(kind) for kind in inner]}
    if origin is tuple:
        size = {} if inner[1] is Ellipsis else {"minItems": len(inner), "maxItems": len(inner)}
        return {"type": "array", "items": _schema(inner[0]), **size}
    if origin is Mapping:
        return {"type": "object", "additionalProperties": _schema(inner[1])}
    names = {str: "string", float: "number", int: "integer", bool: "boolean", type(None): "null"}
    return {} if expected is Any else {"type": names[expected]}


def _needed(cls: type, whole: bool) -> list[str]:
    """The fields that a document must have."""
    return [
        field.name
        for field in dataclasses.fields(cls)
        if (whole and not field.metadata.get("added_later"))
        or (field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING)
    ]


def _checked(expected: Any, value: object, what: str, whole: bool) -> Any:
    origin, inner = typing.get_origin(expected), typing.get_args(expected)
    if origin in (types.UnionType, typing.Union):
        if value is None and type(None) in inner:
            return None
        *first, last = (kind for kind in inner if kind is not type(None))
        for kind in first:
            with contextlib.suppress(RequestError):
                return _checked(kind, value, what, whole)
        return _checked(last, value, what, whole)
    if dataclasses.is_dataclass(expected):
        return decoded(typing.cast(type, expected), value, what, whole=whole)
    if origin is tuple and isinstance(value, (list, tuple)):
        if inner[1] is Ellipsis:
            return tuple(_checked(inner[0], part, what, whole) for part in value)
        if len(value) == len(inner):
            return tuple(_checked(kind, part, what, whole) for kind, part in zip(inner, value, strict=True))
    if origin is Mapping and isinstance(value, Mapping):
        return {name: _checked(inner[1], part, f"{what} part '{name}',", whole) for name, part in value.items()}
    if expected is Path and isinstance(value, str) and value and "\0" not in value:
        return Path(value)
    if expected is float and isinstance(value, (int, float)) and not isinstance(value, bool):
        with contextlib.suppress(OverflowError):  # a whole number of hundreds of digits
            if math.isfinite(number := float(value)):
                return number
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
