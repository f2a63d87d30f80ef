"""DICOM headers: which files are images of which series, and where each slice lies.

Only the tags below are read, none of which identifies a person. A classic file holds one slice; an enhanced
(multi-frame) file holds many, each with its own functional groups (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from BrainIACLib.scans.dicom_slices import WITHOUT_UID, Series, Slice
from BrainIACLib.scans.dicom_values import first_value, frames_of, number_of, numbers_of, quiet_pydicom
from BrainIACLib.scans.formats import is_dicom

if TYPE_CHECKING:
    from pydicom import Dataset

TagName = str | int | tuple[int, int]
_TAGS: list[TagName] = [
    "SOPClassUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "Modality",
    "ImageType",
    "SamplesPerPixel",
    "PhotometricInterpretation",
    "NumberOfFrames",
    "Rows",
    "Columns",
    "ImagePositionPatient",
    "ImageOrientationPatient",
    "PixelSpacing",
    "SliceThickness",
    "RescaleSlope",
    "RescaleIntercept",
    "EchoTime",
    "DiffusionBValue",
    "TemporalPositionIdentifier",
    "TriggerTime",
    "AcquisitionNumber",
    "InstanceNumber",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    0x0019100A,  # Siemens: how many slices a mosaic holds
]
_DIRECTORY = b"1.2.840.10008.1.3.10"
_LARGEST_RATIO = 1032  # of pixels to their bytes, by any compression
_DEFLATED, _MOST_DEFLATED = b"1.2.840.10008.1.2.1.99", 1 << 30


@dataclass(frozen=True)
class _File:
    """What one DICOM file says of its series and holds of it."""

    uid: str
    instance: tuple[str, ...]  # equal for copies of the same file
    modality: str | None
    sop_class: str
    samples: int
    photometric: str
    is_mosaic: bool
    slices: tuple[Slice, ...]


def find_series(
    files: Iterable[Path],
    more_tags: Iterable[TagName] = (),
    look: Callable[[Path, Dataset], None] | None = None,
) -> tuple[list[Series], tuple[str, ...]]:
    """The series among ``files``, ordered by UID, and what was left out: damaged files and copies.

    Parameters
    ----------
    more_tags, look : what else to read of each header, and who looks at it (a file, its header) in the same pass.
    """
    members: dict[str, dict[tuple[str, ...], tuple[Path, _File]]] = {}
    damaged = copies = 0
    for file in files:
        if not is_dicom(file):
            continue
        header = _read_header(file, [*_TAGS, *more_tags], look)
        if header is None:
            damaged += 1
        elif not (header.uid or header.slices):  # cut off before its series is named, unless it is a list of files
            damaged += not is_directory(file)
        else:
            instances = members.setdefault(header.uid or WITHOUT_UID, {})
            copies += header.instance in instances
            instances.setdefault(header.instance, (file, header))
    for instances in members.values():
        with_image = {key: member for key, member in instances.items() if member[1].slices}
        if with_image:  # the others of the series were cut off before their image
            damaged += len(instances) - len(with_image)
            instances.clear()
            instances.update(with_image)
    left_out = []
    if damaged:
        left_out.append(f"{damaged} damaged DICOM files were left out.")
    if copies:
        left_out.append(f"{copies} DICOM files are copies of others and were left out.")
    if WITHOUT_UID in members:
        left_out.append("The DICOM files do not say which series they belong to; they were read as one.")
    return [_series(uid, list(members[uid].values())) for uid in sorted(members)], tuple(left_out)


def _read_header(file: Path, tags: list[TagName], look: Callable[[Path, Dataset], None] | None) -> _File | None:
    import pydicom
    from pydicom.tag import Tag

    with quiet_pydicom():
        try:
            _check_deflated(file)
            wanted = [Tag(tag) for tag in tags]
            header = pydicom.dcmread(file, stop_before_pixels=True, force=True, specific_tags=wanted)
            found = _File(
                uid=str(header.get("SeriesInstanceUID") or ""),
                # the UID alone does not do: some anonymizers give all files the same
                instance=tuple(
                    str(header.get(tag)) for tag in ("SOPInstanceUID", "InstanceNumber", "ImagePositionPatient")
                ),
                modality=str(header.get("Modality") or "") or None,
                sop_class=str(header.get("SOPClassUID", "")),
                samples=int(header.get("SamplesPerPixel") or 1),
                photometric=str(header.get("PhotometricInterpretation") or ""),
                is_mosaic="MOSAIC" in (header.get("ImageType") or ()) or 0x0019100A in header,
                slices=tuple(_slices(file, header)),
            )
            if look is not None:
                look(file, header)
            return found
        except PermissionError:
            raise
        except Exception:  # whatever a damaged file makes the parser stumble over
            return None


def is_directory(file: Path) -> bool:
    """Whether a DICOM file is a DICOMDIR: a list of the files beside and below it."""
    with file.open("rb") as stream:
        return _DIRECTORY in stream.read(1024)


def _check_deflated(file: Path) -> None:
    """ValueError if a deflated file becomes larger than any series: pydicom would inflate it all at once."""
    with file.open("rb") as stream:
        head = stream.read(1024)
        if _DEFLATED not in head:
            return
        stream.seek(144 + int.from_bytes(head[140:144], "little"))  # behind the meta information
        inflater, total = zlib.decompressobj(wbits=-15), 0
        while not inflater.eof and (piece := inflater.unconsumed_tail or stream.read(1 << 18)):
            total += len(inflater.decompress(piece, 1 << 22))
            if total > _MOST_DEFLATED:
                raise ValueError("deflated without end")


def _series(uid: str, members: list[tuple[Path, _File]]) -> Series:
    first = members[0][1]
    return Series(
        uid=uid,
        modality=first.modality,
        sop_class=first.sop_class,
        samples=first.samples,
        photometric=first.photometric,
        is_mosaic=any(member.is_mosaic for _, member in members),
        files=tuple(file for file, _ in members),
        slices=tuple(piece for _, member in members for piece in member.slices),
    )


def _slices(file: Path, header: Dataset) -> Iterator[Slice]:
    if not header.get("Rows") or not header.get("Columns"):
        return
    frames = frames_of(header)
    bits = len(frames) * int(header.Rows) * int(header.Columns)  # of one bit a pixel, the fewest
    if len(frames) > 1 and bits > 8 * _LARGEST_RATIO * file.stat().st_size:
        raise ValueError("more frames than the file can hold")
    for frame, places in enumerate(frames):
        image_type = first_value(places, "FrameType") or first_value(places, "ImageType") or ""
        times = ("TemporalPositionIndex", "TemporalPositionIdentifier", "TriggerTime", "AcquisitionNumber")
        yield Slice(
            file=file,
            frame=frame,
            frames_in_file=len(frames),
            size=(int(header.Columns), int(header.Rows)),
            position=numbers_of(places, "ImagePositionPatient", 3),
            orientation=numbers_of(places, "ImageOrientationPatient", 6),
            spacing=numbers_of(places, "PixelSpacing", 2),
            thickness=number_of(places, "SliceThickness", None),
            rescale=(number_of(places, "RescaleSlope", 1.0), number_of(places, "RescaleIntercept", 0.0)),
            image_type=image_type if isinstance(image_type, str) else "\\".join(image_type),
            echo_time=number_of(places, "EffectiveEchoTime", None) or number_of(places, "EchoTime", None),
            b_value=number_of(places, "DiffusionBValue", None),
            order=(*(number_of(places, time, 0.0) for time in times), number_of(places, "InstanceNumber", 0.0), frame),
        )
