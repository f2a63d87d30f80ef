"""DICOM headers: which files are images of which series, and where each slice lies.

Only the tags below are read, none of which identifies a person. A classic file holds one slice; an enhanced
(multi-frame) file holds many, each with its own functional groups (PS3.3 C.7.6.16).
"""

from __future__ import annotations

import contextlib
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import numpy as np

from BrainIACLib.scans.formats import is_dicom
from BrainIACLib.scans.scan import SeriesSummary

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
WITHOUT_UID = "without-uid"  # stands for the SeriesInstanceUID of files that lack one
_DIRECTORY = b"1.2.840.10008.1.3.10"
_MOST_FRAMES = 1 << 16
_LARGEST_RATIO = 1032  # of pixels to their bytes, by any compression
_DEFLATED, _MOST_DEFLATED = b"1.2.840.10008.1.2.1.99", 1 << 30


@dataclass(frozen=True)
class Slice:
    """One slice: where its pixels are, where it lies (LPS mm), and what tells it from others at the same place."""

    file: Path
    frame: int  # within the file
    frames_in_file: int
    size: tuple[int, int]  # columns, rows
    position: tuple[float, ...] | None  # of the center of the first pixel
    orientation: tuple[float, ...] | None  # direction along a row, direction along a column
    spacing: tuple[float, ...] | None  # mm, between rows, between columns
    thickness: float | None  # mm
    rescale: tuple[float, float]  # slope, intercept
    image_type: str
    echo_time: float | None
    b_value: float | None
    order: tuple[float, ...]  # time of acquisition, as far as the numbers tell

    @property
    def is_placed(self) -> bool:
        """Whether the header says where the slice lies."""
        return None not in (self.position, self.orientation, self.spacing)

    @property
    def contrast(self) -> tuple[Any, ...]:
        """Equal for all slices of one volume."""
        return self.image_type, self.echo_time or 0.0, self.b_value or 0.0

    @property
    def height(self) -> float:
        """Distance (mm) from the origin along the slice's normal."""
        row, column = self.axes
        return float(np.dot(self.at, np.cross(row, column)))

    @property
    def axes(self) -> np.ndarray:
        """(2, 3): the directions along a row and along a column of a slice that is placed."""
        assert self.orientation is not None
        return np.reshape(self.orientation, (2, 3))

    @property
    def at(self) -> np.ndarray:
        """(3,): the position of a slice that is placed."""
        assert self.position is not None
        return np.array(self.position)


@dataclass(frozen=True)
class Series:
    """The images of one SeriesInstanceUID."""

    uid: str  # WITHOUT_UID for all files that have none
    modality: str | None
    sop_class: str
    samples: int  # values per pixel
    photometric: str  # PhotometricInterpretation: what the values mean
    is_mosaic: bool  # all slices of a volume tiled into one image
    files: tuple[Path, ...]
    slices: tuple[Slice, ...]  # in no order; empty where there are no pixels

    def summary(self) -> SeriesSummary:
        """What may be told of the series."""
        if not self.slices:
            return SeriesSummary(self.uid, self.modality, len(self.files), None, None)
        first = self.slices[0]
        if first.spacing is None or not all(piece.is_placed for piece in self.slices):
            return SeriesSummary(self.uid, self.modality, len(self.files), (*first.size, len(self.slices)), None)
        heights = np.unique(np.round([piece.height for piece in self.slices], 2))
        step = float(np.median(np.diff(heights))) if len(heights) > 1 else 0.0
        spacing = (first.spacing[1], first.spacing[0], step)
        return SeriesSummary(self.uid, self.modality, len(self.files), (*first.size, len(heights)), spacing)


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


@contextlib.contextmanager
def quiet_pydicom() -> Iterator[None]:
    """No warnings and no log entries, which would quote malformed values."""
    import pydicom

    with pydicom.config.disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


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
