"""The pixels of DICOM slices, as numbers with a meaning: decoded, MONOCHROME1 turned, rescaled.

Plain and run-length encoded pixels are decoded here, those of the JPEG family by GDCM in a process of its own. Whoever
decodes, a file must hold as many pixels as its header says.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from BrainIACLib.private_folder import temporary_folder
from BrainIACLib.scans.dicom_frames import Incomplete
from BrainIACLib.scans.dicom_jpeg import JPEG_FAMILY, check_jpeg, decoded_jpegs
from BrainIACLib.scans.dicom_slices import Slice
from BrainIACLib.scans.dicom_stored import (
    PLAIN,
    RLE,
    Undecodable,
    bright_is_large,
    filled_places,
    meaningful_bits,
    pixels_only,
    plain_frames,
    run_length_frames,
    short_file,
)
from BrainIACLib.scans.memory import check_memory
from BrainIACLib.scans.scan import Refused

_NOBODY_DECODES = {  # not GDCM in ITK, not dcm2niix (PS3.5, annex A.4)
    "1.2.840.10008.1.2.4.20": "High-Throughput JPEG 2000",
    "1.2.840.10008.1.2.4.11": "JPEG XL",
    "1.2.840.10008.1.2.4.10": "a video (MPEG)",
}


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
    Refused : a file holds fewer pixels than its header says, or its compression is one that nothing here decodes.
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
        decoded = decoded_jpegs(list(by_file), folder)
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


def check_frames_are_whole(files: Sequence[Path]) -> None:
    """``Refused`` if one of ``files``, which somebody else will decode, is damaged or short of pixels."""
    for number, file in enumerate(files, start=1):
        try:
            dataset, syntax = pixels_only(file)
        except Undecodable:
            raise short_file(number) from None
        try:
            if syntax in PLAIN:
                plain_frames(dataset, syntax)
            elif syntax == RLE:
                run_length_frames(dataset)
            elif JPEG_FAMILY.fullmatch(syntax):
                check_jpeg(dataset)
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


def _stored(file: Path, decoded: Path | None) -> _Stored:
    dataset, syntax = pixels_only(file)
    surplus = 0
    if decoded is not None:
        frames = np.load(decoded)
        frames = frames[None] if frames.ndim == 2 else frames
    elif syntax in PLAIN:
        frames, surplus = plain_frames(dataset, syntax)
    elif syntax == RLE:
        frames = meaningful_bits(run_length_frames(dataset), dataset)
    elif name := next((name for start, name in _NOBODY_DECODES.items() if syntax.startswith(start)), ""):
        raise Refused(
            f"is compressed as {name}, which nothing here can decode; export it uncompressed or as JPEG 2000."
        )
    else:
        raise Undecodable(syntax)
    return _Stored(bright_is_large(frames, dataset), filled_places(frames, dataset), surplus)
