"""The b-value and the diffusion direction of an image: the standard attributes, else the vendor's private ones, else
Siemens' private header.

Sources: PS3.3 C.8.13.5.9 (MR Diffusion) and the vendors' conformance statements, as collected by the NA-MIC wiki
("DICOM for DWI and DTI") and by dcm2niix.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from BrainIACLib.scans.dicom_values import first_value, number_of, numbers_of
from BrainIACLib.studies.siemens_csa import csa_values

if TYPE_CHECKING:
    from pydicom import Dataset

LARGEST_B = 50_000  # s/mm²; research scanners reach 30,000
_GE_MODULO = 100_000  # GE adds a multiple of it (10^9) to the b-values of some series
_SIEMENS, _GE, _PHILIPS, _UIH = 0x0019, 0x0043, 0x2001, 0x0065
_CSA_HEADER = ((0x0029, 0x1010), (0x0029, 0x1110))  # of images, in the first or second private block
_GE_DIRECTION = (0x10BB, 0x10BC, 0x10BD)
PRIVATE_TAGS = [
    (_SIEMENS, 0x0010),
    (_SIEMENS, 0x100C),  # b-value, IS
    (_SIEMENS, 0x100E),  # direction, FD
    *((_SIEMENS, element) for element in _GE_DIRECTION),  # of GE: the direction, DS; the group is shared
    (_GE, 0x0010),
    (_GE, 0x1039),  # b-value first of four numbers, IS
    (_PHILIPS, 0x0010),
    (_PHILIPS, 0x1003),  # b-value, FL
    (_PHILIPS, 0x1004),  # direction, CS: "P", "R", "S" or "I" for isotropic
    (_PHILIPS, 0x1013),  # echo-planar factor, SL
    *_CSA_HEADER,
    (_UIH, 0x0010),
    (_UIH, 0x1009),  # b-value, FD
    (_UIH, 0x1037),  # direction, FD
]


def b_value_of(places: Sequence[Dataset]) -> float | None:
    """The b-value in s/mm², from the most specific of the datasets that describe a frame; None where none says it."""
    standard = number_of(places, "DiffusionBValue", None)
    if standard is not None:
        return standard if 0 <= standard <= LARGEST_B else None
    for group, element in ((_SIEMENS, 0x100C), (_GE, 0x1039), (_PHILIPS, 0x1003), (_UIH, 0x1009)):
        values = _private_numbers(places, group, element)
        if values:
            value = values[0] % _GE_MODULO if group == _GE and values[0] >= _GE_MODULO else values[0]
            if 0 <= value <= LARGEST_B:
                return value
    values = _csa_numbers(places, "B_value")
    return values[0] if values and 0 <= values[0] <= LARGEST_B else None


def has_direction(places: Sequence[Dataset]) -> bool:
    """Whether the image shows diffusion along one direction, rather than their mean (a trace)."""
    directionality = first_value(places, "DiffusionDirectionality")
    if directionality:
        return directionality in ("DIRECTIONAL", "BMATRIX")
    found = numbers_of(places, "DiffusionGradientOrientation", 3)
    if found is None:
        philips = _private(places, _PHILIPS, 0x1004)
        if philips is not None:
            return _text(philips) not in ("", "I", "N", "NONE")
        vectors = [_private_numbers(places, group, element) for group, element in ((_SIEMENS, 0x100E), (_UIH, 0x1037))]
        vectors.append([number for element in _GE_DIRECTION for number in _private_numbers(places, _SIEMENS, element)])
        vectors.append(_csa_numbers(places, "DiffusionGradientDirection"))
        found = next((tuple(vector) for vector in vectors if len(vector) == 3), None)
    return found is not None and abs(float(np.linalg.norm(found)) - 1) < 0.05


def epi_factor_of(places: Sequence[Dataset]) -> float:
    """How many echoes Philips reads after one excitation; 1 where nothing says it. Its classic headers have no EP."""
    return next(iter(_private_numbers(places, _PHILIPS, 0x1013)), 1.0)


def _csa_numbers(places: Sequence[Dataset], name: str) -> list[float]:
    """Of Siemens' private header; it is opened for echo-planar images alone, because that takes time."""
    if "EP" not in str(first_value(list(places), "ScanningSequence") or ""):
        return []
    for group, element in _CSA_HEADER:
        data = _private(places, group, element)
        texts = csa_values(data, {name}).get(name, ()) if isinstance(data, bytes) else ()
        try:
            numbers = [float(text) for text in texts]
        except ValueError:
            continue
        if numbers and np.isfinite(numbers).all():
            return numbers
    return []


def _private(places: Sequence[Dataset], group: int, element: int) -> Any:
    for place in places:
        found = place.get((group, element))
        if found is not None and found.value not in (None, b"", ""):
            return found.value
    return None


def _private_numbers(places: Sequence[Dataset], group: int, element: int) -> list[float]:
    """The value as numbers, also where an archive turned it into bytes (VR "UN" or "OB")."""
    value = _private(places, group, element)
    if value is None:
        return []
    if isinstance(value, bytes):
        return _from_bytes(value)
    parts = [value] if isinstance(value, (str, int, float)) else value
    try:
        return [float(part) for part in parts]
    except (TypeError, ValueError):
        return []


def _from_bytes(value: bytes) -> list[float]:
    """Text of numbers (IS, DS), else doubles (FD) or one float (FL), little endian as all of today's syntaxes."""
    try:
        return [float(part) for part in value.decode("ascii").strip(" \0").split("\\")]
    except ValueError:
        kind = "d" if len(value) % 8 == 0 else "f" if len(value) == 4 else ""
        numbers = struct.unpack(f"<{len(value) // struct.calcsize(kind)}{kind}", value) if kind else ()
        return list(numbers) if np.isfinite(numbers).all() else []


def _text(value: object) -> str:
    return (value.decode("ascii", "replace") if isinstance(value, bytes) else str(value)).strip(" \0").upper()
