"""Values of a DICOM header that may be missing or malformed, with the functional groups of each frame."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, overload

import numpy as np

if TYPE_CHECKING:
    from pydicom import Dataset

_MOST_FRAMES = 1 << 16


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """No warnings and no log entries, which would quote malformed values."""
    import pydicom

    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def frames_of(header: Dataset) -> list[list[Dataset]]:
    """For each frame the datasets that describe it, the most specific first."""
    shared = [part for group in header.get("SharedFunctionalGroupsSequence") or () for part in _parts(group)]
    own = header.get("PerFrameFunctionalGroupsSequence")
    if own:
        return [[*_parts(group), *shared, header] for group in own]
    count = int(header.get("NumberOfFrames") or 1)
    if not 0 < count <= _MOST_FRAMES:
        raise ValueError("no number of frames")
    return [[*shared, header]] * count


def _parts(group: Dataset) -> list[Dataset]:
    """The first item of each sequence of a functional group."""
    return [element.value[0] for element in group if element.VR == "SQ" and element.value]


def first_value(places: Sequence[Dataset], keyword: str) -> Any:
    """The value of the first dataset that has one."""
    return next((place.get(keyword) for place in places if place.get(keyword) not in (None, "")), None)


def numbers_of(places: Sequence[Dataset], keyword: str, count: int) -> tuple[float, ...] | None:
    """``count`` finite numbers, or None where they are missing or malformed."""
    value = first_value(places, keyword)
    try:
        numbers = np.atleast_1d(np.array(value, dtype=float))
    except (TypeError, ValueError):
        return None
    return tuple(numbers.tolist()) if numbers.shape == (count,) and np.isfinite(numbers).all() else None


@overload
def number_of(places: Sequence[Dataset], keyword: str, default: float) -> float: ...


@overload
def number_of(places: Sequence[Dataset], keyword: str, default: None) -> float | None: ...


def number_of(places: Sequence[Dataset], keyword: str, default: float | None) -> float | None:
    """One finite number, or ``default``."""
    numbers = numbers_of(places, keyword, 1)
    return numbers[0] if numbers else default
