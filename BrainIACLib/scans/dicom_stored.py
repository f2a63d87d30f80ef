"""What a DICOM file stores: its pixels before MONOCHROME1 and the rescale, decoded without any library in C."""

from __future__ import annotations

import typing
from pathlib import Path

import numpy as np

from BrainIACLib.scans.dicom_frames import Incomplete, decode_rle, frames_of
from BrainIACLib.scans.dicom_values import quiet_pydicom
from BrainIACLib.scans.scan import Refused

if typing.TYPE_CHECKING:
    from pydicom import Dataset

_PIXEL_TAGS = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PixelData",
    "FloatPixelData",
    "DoubleFloatPixelData",
]
_NUMBERS = ("Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "NumberOfFrames")
FILL_TAGS = ["PixelPaddingValue", "PixelPaddingRangeLimit"]
PLAIN = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
RLE = "1.2.840.10008.1.2.5"


class Undecodable(RuntimeError):
    """Pixel data that nothing here can decode."""


def short_file(instance_number: int) -> Refused:
    """For the file with that instance number; its own name may be that of a patient."""
    return Refused(
        f"holds a DICOM file with fewer pixels than its header says (the one with instance number {instance_number}); "
        "copy or export it again."
    )


def pixels_only(file: Path) -> tuple[Dataset, str]:
    """What tells of the pixels in ``file``, and its transfer syntax; ``Undecodable`` for what cannot be parsed."""
    import pydicom

    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(file, force=True, specific_tags=[*_PIXEL_TAGS, *FILL_TAGS, "InstanceNumber"])
            for element in dataset:  # values are parsed when they are looked at
                if element.keyword in _NUMBERS and element.value is not None and not isinstance(element.value, int):
                    raise ValueError(element.keyword)
            meta = getattr(dataset, "file_meta", None)
            return dataset, str(meta.get("TransferSyntaxUID", "") if meta is not None else "")
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file makes the parser stumble over
        raise Undecodable("not decodable") from error


def shape_of(dataset: Dataset) -> tuple[int, int, int]:
    """Frames, rows, columns; ``Incomplete`` where the header ends before they are said."""
    rows, columns = (int(dataset.get(keyword) or 0) for keyword in ("Rows", "Columns"))
    if min(rows, columns) < 1:
        raise Incomplete
    return int(dataset.get("NumberOfFrames") or 1), rows, columns


def plain_frames(dataset: Dataset, syntax: str) -> tuple[np.ndarray, int]:
    """Uncompressed frames, and how many bytes there are too many."""
    shape = shape_of(dataset)
    bits = int(dataset.get("BitsAllocated") or 16)
    order = ">" if syntax == _BIG_ENDIAN else "<"
    kinds = {"FloatPixelData": "f4", "DoubleFloatPixelData": "f8", "PixelData": f"u{bits // 8}"}
    keyword = next((keyword for keyword in kinds if keyword in dataset), None)
    if keyword is None:
        raise Incomplete
    data, kind = dataset[keyword].value or b"", kinds[keyword]
    if kind not in ("u1", "u2", "u4", "f4", "f8") or (kind == "u1" and order == ">"):
        raise Undecodable(f"{bits} bits")
    dtype = np.dtype(order + kind)
    count = int(np.prod(shape, dtype=object))
    if len(data) < count * dtype.itemsize:
        raise Incomplete
    frames = np.frombuffer(data, dtype, count).reshape(shape)
    surplus = len(data) - count * dtype.itemsize
    return (frames if kind in ("f4", "f8") else meaningful_bits(frames, dataset)), surplus if surplus > 1 else 0


def run_length_frames(dataset: Dataset) -> np.ndarray:
    """Unsigned pixels, shape (frame, row, column); ``Incomplete`` where a frame is short."""
    count, rows, columns = shape_of(dataset)
    size = int(dataset.get("BitsAllocated") or 16) // 8
    if size not in (1, 2, 4):
        raise Undecodable("bits")
    pieces = frames_of(dataset.get("PixelData") or b"", count)
    if rows * columns * size > 64 * max(len(piece) for piece in pieces):  # of run-length encoding's best
        raise Incomplete
    return np.stack([decode_rle(piece, rows, columns, size) for piece in pieces])


def meaningful_bits(frames: np.ndarray, dataset: Dataset) -> np.ndarray:
    """The stored bits of each pixel as a number with or without sign; overlays may lie in the others."""
    allocated = 8 * frames.dtype.itemsize
    stored = int(dataset.get("BitsStored") or allocated)
    high = int(dataset.get("HighBit") or stored - 1)
    signed = bool(dataset.get("PixelRepresentation"))
    native = frames.astype(frames.dtype.newbyteorder("="), copy=False)
    if not 0 < stored <= allocated or not stored - 1 <= high < allocated:
        raise Undecodable("bits")
    if stored < allocated:  # shifted to the left end, then back with the sign
        native = native << (allocated - 1 - high)
    shift = allocated - stored
    return native.view(f"i{frames.dtype.itemsize}") >> shift if signed else native >> shift


def bright_is_large(frames: np.ndarray, dataset: Dataset) -> np.ndarray:
    """MONOCHROME1 turned, so that large is bright."""
    if dataset.get("PhotometricInterpretation") != "MONOCHROME1" or frames.dtype.kind == "f":
        return frames
    stored = int(dataset.get("BitsStored") or 8 * frames.dtype.itemsize)
    turned = -1 if dataset.get("PixelRepresentation") else 2**stored - 1
    return turned - frames.astype(np.int64)


def filled_places(frames: np.ndarray, dataset: Dataset) -> np.ndarray | None:
    """Where the pixels have the value that the header gives to places without image (PS3.3 C.7.5.1.1.2)."""
    first = dataset.get("PixelPaddingValue")
    if not isinstance(first, int):
        return None
    last = dataset.get("PixelPaddingRangeLimit")
    low, high = sorted((first, last if isinstance(last, int) else first))
    bits = 8 * frames.dtype.itemsize
    if frames.dtype.kind == "u" and low < 0:  # written with a sign that the pixels lack
        low, high = low % 2**bits, high % 2**bits
    return (frames >= low) & (frames <= high)
