"""The pixels of DICOM slices, as numbers with a meaning: decoded, MONOCHROME1 turned, rescaled.

Plain and run-length encoded pixels are decoded here, those of the JPEG family by GDCM in a process of its own. Whoever
decodes, a file must hold as many pixels as its header says.
"""

from __future__ import annotations

import os
import re
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.private_folder import temporary_folder
from BrainIACLib.scans.dicom_frames import Incomplete, decode_rle, frames_of, is_complete_jpeg
from BrainIACLib.scans.dicom_headers import Slice, quiet_pydicom
from BrainIACLib.scans.memory import check_memory
from BrainIACLib.scans.scan import Refused

if typing.TYPE_CHECKING:
    from pydicom import Dataset

TIMEOUT_SECONDS = 600
_LIBRARY_ROOT = Path(__file__).resolve().parents[2]
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
_FILL_TAGS = ["PixelPaddingValue", "PixelPaddingRangeLimit"]
_PLAIN = ("", "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.1.99", "1.2.840.10008.1.2.2")
_BIG_ENDIAN = "1.2.840.10008.1.2.2"
_RLE = "1.2.840.10008.1.2.5"
_JPEG_FAMILY = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(5\d|6\d|70|8[01]|9[0-3])")


class Undecodable(RuntimeError):
    """Pixel data that nothing here can decode."""


@dataclass(frozen=True)
class Pixels:
    """``values``: float32, shape (slice, row, column), rescaled. ``filled``: true where the header says that there is
    no image; None where no file says so."""

    values: np.ndarray
    filled: np.ndarray | None
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class _Stored:
    """What a file stores: ``frames`` in shape (frame, row, column), before MONOCHROME1 and the rescale."""

    frames: np.ndarray
    filled: np.ndarray | None
    surplus: int


def read_pixels(slices: Sequence[Slice]) -> Pixels:
    """The pixels of ``slices``.

    Raises
    ------
    Refused : a file holds fewer pixels than its header says.
    Undecodable : nothing here can decode a file.
    """
    columns, rows = slices[0].size
    _check_they_fit(slices)
    volume = np.empty((len(slices), rows, columns), np.float32)
    filled = np.zeros(volume.shape, bool)
    by_file: dict[Path, list[int]] = {}
    for index, piece in enumerate(slices):
        by_file.setdefault(piece.file, []).append(index)
    surplus, any_filled = 0, False
    with temporary_folder() as folder:
        decoded = _decoded_jpegs(list(by_file), folder)
        for file, indices in by_file.items():
            number = int(slices[indices[0]].order[-2])
            try:
                stored = _stored(file, decoded.get(file))
                surplus += stored.surplus
                if stored.frames.shape != (slices[indices[0]].frames_in_file, rows, columns):
                    raise Incomplete
            except Incomplete:
                raise short_file(number) from None
            for index in indices:
                slope, intercept = slices[index].rescale
                volume[index] = stored.frames[slices[index].frame]
                with np.errstate(over="ignore", invalid="ignore"):
                    volume[index] = volume[index] * slope + intercept
                if stored.filled is not None:
                    filled[index] = stored.filled[slices[index].frame]
                    any_filled = True
    odd = (f"Its DICOM files hold {surplus} bytes of pixels more than their headers say.",) if surplus else ()
    return Pixels(volume, filled if any_filled else None, odd)


def short_file(instance_number: int) -> Refused:
    """For the file with that instance number; its own name may be that of a patient."""
    return Refused(
        f"holds a DICOM file with fewer pixels than its header says (the one with instance number {instance_number}); "
        "copy or export it again."
    )


def check_frames_are_whole(files: Sequence[Path]) -> None:
    """``Refused`` if one of ``files``, which somebody else will decode, is damaged or short of pixels."""
    for number, file in enumerate(files, start=1):
        try:
            dataset, syntax = _pixels_only(file)
        except Undecodable:
            raise short_file(number) from None
        try:
            if syntax in _PLAIN:
                _plain(dataset, syntax)
            elif syntax == _RLE:
                _run_length_decoded(dataset)
            elif _JPEG_FAMILY.fullmatch(syntax):
                _check_jpeg(dataset)
        except Incomplete:
            raise short_file(int(dataset.get("InstanceNumber") or number)) from None
        except Undecodable:  # by this reader; its pixels cannot be counted, and so not be believed
            raise Refused(
                "holds a DICOM file whose pixels are stored in an impossible or unknown way; export it again."
            ) from None


def _check_they_fit(slices: Sequence[Slice]) -> None:
    """Before anything is allocated: enough bytes in the files by any compression, and enough memory."""
    columns, rows = slices[0].size
    needed = len(slices) * rows * columns
    if needed > 1032 * sum(file.stat().st_size for file in {piece.file for piece in slices}):
        raise short_file(int(slices[0].order[-2]))
    check_memory(12 * needed)


def _pixels_only(file: Path) -> tuple[Dataset, str]:
    import pydicom

    try:
        with quiet_pydicom():
            dataset = pydicom.dcmread(file, force=True, specific_tags=[*_PIXEL_TAGS, *_FILL_TAGS, "InstanceNumber"])
            for element in dataset:  # values are parsed when they are looked at
                if element.keyword in _NUMBERS and element.value is not None and not isinstance(element.value, int):
                    raise ValueError(element.keyword)
            meta = getattr(dataset, "file_meta", None)
            return dataset, str(meta.get("TransferSyntaxUID", "") if meta is not None else "")
    except (PermissionError, MemoryError):
        raise
    except Exception as error:  # whatever a damaged file makes the parser stumble over
        raise Undecodable("not decodable") from error


def _stored(file: Path, decoded: Path | None) -> _Stored:
    dataset, syntax = _pixels_only(file)
    surplus = 0
    if decoded is not None:
        frames = np.load(decoded)
        frames = frames[None] if frames.ndim == 2 else frames
    elif syntax in _PLAIN:
        frames, surplus = _plain(dataset, syntax)
    elif syntax == _RLE:
        frames = _meaningful_bits(_run_length_decoded(dataset), dataset)
    else:
        raise Undecodable(syntax)
    return _Stored(_bright_is_large(frames, dataset), _filled(frames, dataset), surplus)


def _shape(dataset: Dataset) -> tuple[int, int, int]:
    shape = tuple(int(dataset.get(keyword) or 0) for keyword in ("Rows", "Columns"))
    if min(shape) < 1:
        raise Incomplete
    return (int(dataset.get("NumberOfFrames") or 1), *shape)


def _plain(dataset: Dataset, syntax: str) -> tuple[np.ndarray, int]:
    """Uncompressed frames, and how many bytes there are too many."""
    shape = _shape(dataset)
    bits = int(dataset.get("BitsAllocated") or 16)
    order = ">" if syntax == _BIG_ENDIAN else "<"
    for keyword, dtype in (("FloatPixelData", "f4"), ("DoubleFloatPixelData", "f8"), ("PixelData", f"u{bits // 8}")):
        if keyword in dataset:
            data, kind = dataset[keyword].value or b"", dtype
            break
    else:
        raise Incomplete
    if kind not in ("u1", "u2", "u4", "f4", "f8") or (kind == "u1" and order == ">"):
        raise Undecodable(f"{bits} bits")
    dtype = np.dtype(order + kind)
    count = int(np.prod(shape, dtype=object))
    if len(data) < count * dtype.itemsize:
        raise Incomplete
    frames = np.frombuffer(data, dtype, count).reshape(shape)
    surplus = len(data) - count * dtype.itemsize
    return (frames if kind in ("f4", "f8") else _meaningful_bits(frames, dataset)), surplus if surplus > 1 else 0


def _run_length_decoded(dataset: Dataset) -> np.ndarray:
    count, rows, columns = _shape(dataset)
    size = int(dataset.get("BitsAllocated") or 16) // 8
    if size not in (1, 2, 4):
        raise Undecodable("bits")
    pieces = frames_of(dataset.get("PixelData") or b"", count)
    if rows * columns * size > 64 * max(len(piece) for piece in pieces):  # of run-length encoding's best
        raise Incomplete
    return np.stack([decode_rle(piece, rows, columns, size) for piece in pieces])


def _meaningful_bits(frames: np.ndarray, dataset: Dataset) -> np.ndarray:
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


def _bright_is_large(frames: np.ndarray, dataset: Dataset) -> np.ndarray:
    if dataset.get("PhotometricInterpretation") != "MONOCHROME1" or frames.dtype.kind == "f":
        return frames
    stored = int(dataset.get("BitsStored") or 8 * frames.dtype.itemsize)
    turned = -1 if dataset.get("PixelRepresentation") else 2**stored - 1
    return turned - frames.astype(np.int64)


def _filled(frames: np.ndarray, dataset: Dataset) -> np.ndarray | None:
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


# --- The JPEG family --------------------------------------------------------------------------------------------------


def _decoded_jpegs(files: Sequence[Path], folder: Path) -> Mapping[Path, Path]:
    """For each file of the JPEG family the array that GDCM makes of it."""
    wanted = {}
    for file in files:
        if not _JPEG_FAMILY.fullmatch(_syntax(file)):
            continue
        dataset, _ = _pixels_only(file)
        try:
            _check_jpeg(dataset)
        except Incomplete:
            raise short_file(int(dataset.get("InstanceNumber") or 0)) from None
        wanted[file] = folder / f"{len(wanted):06d}.dcm"
        _write_pixels_only(dataset, wanted[file])
    if not wanted:
        return {}
    command = [sys.executable, "-m", "BrainIACLib.scans.jpeg_process", str(folder)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(_LIBRARY_ROOT), os.environ.get("PYTHONPATH", "")])}
    try:
        done = subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=TIMEOUT_SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise Undecodable("timeout") from None
    arrays = {file: copy.with_suffix(".npy") for file, copy in wanted.items()}
    if done.returncode or not all(array.is_file() for array in arrays.values()):
        raise Undecodable("GDCM cannot decode it")
    return arrays


def _syntax(file: Path) -> str:
    import pydicom

    with quiet_pydicom():
        try:
            return str(pydicom.filereader.read_file_meta_info(file).get("TransferSyntaxUID", ""))
        except PermissionError:
            raise
        except Exception:  # no meta information, as old files have none
            return ""


def _check_jpeg(dataset: Dataset) -> None:
    frames = frames_of(dataset.get("PixelData") or b"", _shape(dataset)[0])
    if not all(is_complete_jpeg(frame) for frame in frames):
        raise Incomplete


def _write_pixels_only(dataset: Dataset, file: Path) -> None:
    """A copy without rescale and polarity, which GDCM would apply to all frames alike."""
    import pydicom

    for keyword in (*_FILL_TAGS, "InstanceNumber"):
        if keyword in dataset:
            delattr(dataset, keyword)
    if dataset.get("PhotometricInterpretation") == "MONOCHROME1":
        dataset.PhotometricInterpretation = "MONOCHROME2"
    try:
        with quiet_pydicom():
            dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
            dataset.preamble = bytes(128)
            dataset.save_as(file)
    except OSError:
        raise
    except Exception as error:
        raise Undecodable("not decodable") from error
