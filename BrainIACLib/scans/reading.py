"""One way in for every format: ``read_scan`` returns a usable brain MRI or says in one sentence why there is none."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from BrainIACLib.errors import ScanError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.ordinary_file import check_ordinary
from BrainIACLib.scans.archives import unpacked
from BrainIACLib.scans.companions import Companions, beside, members_of
from BrainIACLib.scans.dicom_headers import find_series, is_directory
from BrainIACLib.scans.dicom_series import read_series, summarise_series, volume_of
from BrainIACLib.scans.dicom_slices import Series
from BrainIACLib.scans.formats import IMAGE_SUFFIXES, is_dicom, is_marked_dicom, recognise, suffix
from BrainIACLib.scans.metaimage import read_metaimage
from BrainIACLib.scans.mgh import read_mgh
from BrainIACLib.scans.nifti import read_nifti
from BrainIACLib.scans.nrrd import read_nrrd
from BrainIACLib.scans.scan import Refused, Scan, SeriesSummary, Volume
from BrainIACLib.scans.usability import check_voxels


def read_scan(path: Path | str, *, series_uid: str | None = None, frame: int | None = None) -> Scan:
    """Read a scan.

    Parameters
    ----------
    path : NIfTI (.nii, .nii.gz, .hdr/.img), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), FreeSurfer's MGH (.mgz,
        .mgh), a folder with DICOM files at any depth, one DICOM file (its series is read from the same folder), a
        DICOMDIR, or a zip of DICOM files or of one image in another format.
    series_uid : the SeriesInstanceUID to read where DICOM files hold several series.
    frame : the volume to read where there are several (time points, echoes), from 0.

    Raises
    ------
    ScanError : one sentence that names ``path``, says what is wrong and what to do.
    """
    path = Path(path)
    with explained(path):
        volume, sha256 = _read(path, series_uid, frame)
        return _scan(path, volume, sha256)


def read_found_series(path: Path, series: Series, frame: int | None = None) -> Scan:
    """A scan of one of the series that ``find_series`` found in ``path``, without looking for the others again.

    Raises
    ------
    Refused : why it is no usable scan, without any name.
    """
    return _scan(path, *_hashed(volume_of(series, frame)))


def _scan(path: Path, volume: Volume, sha256: str) -> Scan:
    image, warnings = check_voxels(volume.image, volume.modality)
    name = os.fsencode(os.path.basename(os.path.abspath(path))).decode("utf-8", "replace")
    return Scan(
        image=image,
        name=name[: len(name) - len(suffix(path))] or "scan",
        path=path,
        format=volume.format,
        modality=volume.modality,
        sha256=sha256,
        warnings=(*volume.warnings, *warnings),
    )


def list_series(path: Path | str) -> list[SeriesSummary]:
    """The DICOM series in a folder or zip, or beside a DICOM file, ordered by UID.

    Raises
    ------
    ScanError : ``path`` cannot be read, or holds no DICOM files.
    """
    path = Path(path)
    with explained(path), _dicom_files(path) as files:
        found = summarise_series(files)
        if not found:
            raise Refused("holds no DICOM files; give a DICOM folder or a zip of DICOM files.")
        return found


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn everything that can be expected to go wrong into one sentence about ``path``."""
    try:
        yield
    except Refused as reason:
        raise ScanError(f"'{path}' {reason}", reason.command) from None
    except FileNotFoundError:
        raise ScanError(f"'{path}' does not exist; check the spelling of the path.") from None
    except OSError as error:
        cause = error.strerror or "reason unknown"
        raise ScanError(f"'{path}' cannot be read ({cause}); check the path, its permissions and the disk.") from None
    except MemoryError:
        raise ScanError(f"'{path}' needs more memory than is free; close other programs and try again.") from None


def _read(path: Path, series_uid: str | None, frame: int | None) -> tuple[Volume, str]:
    """The volume and the hash of its files."""
    _check_path(path)
    if path.is_dir():
        return _hashed(read_series(files_below(path), series_uid, frame))
    kind = recognise(path)
    if kind == "zip":
        with unpacked(path) as members:
            return _read_unpacked(members, series_uid, frame)
    if kind == "DICOM":
        return _hashed(_read_series_of(path, series_uid, frame))
    if series_uid is not None:
        raise Refused(f"is a {kind} file and has no DICOM series to choose.")
    return _hashed(_read_image(path, kind, frame, beside(path)))


def _read_image(path: Path, kind: str, frame: int | None, companions: Companions) -> Volume:
    """A file that is no DICOM."""
    if kind == "NIfTI":
        return read_nifti(path, frame)
    if kind == "MGH":
        return read_mgh(path, frame)
    return (read_nrrd if kind == "NRRD" else read_metaimage)(path, frame, companions)


def _check_path(path: Path) -> None:
    """Speaks up where ``is_dir`` and ``is_file`` would only answer False."""
    try:
        check_ordinary(path)
    except ValueError:
        raise Refused("is not a valid path; check its spelling.") from None


def _read_unpacked(members: Mapping[str, Path], series_uid: str | None, frame: int | None) -> tuple[Volume, str]:
    files = list(members.values())
    images = [name for name, file in members.items() if suffix(file) in IMAGE_SUFFIXES]
    if any(is_marked_dicom(file) for file in files) or (not images and any(is_dicom(file) for file in files)):
        return _hashed(read_series(files, series_uid, frame))
    if not images:
        raise Refused("holds no image; give a zip of DICOM files, or of one NIfTI, NRRD, MetaImage or MGH image.")
    if len(images) > 1:
        raise Refused(f"holds {len(images)} image files; unpack it and name one of them.")
    (name,) = images
    kind = recognise(members[name])
    if series_uid is not None:
        raise Refused(f"holds a {kind} file and no DICOM series to choose.")
    if kind not in ("NIfTI", "NRRD", "MetaImage", "MGH"):
        raise Refused("holds an archive inside; unpack it and give what is in it.")
    if kind == "NIfTI" and suffix(members[name]).startswith(".hdr"):
        return _hashed(read_nifti(members[name], frame, _pair(members, name)))
    return _hashed(_read_image(members[name], kind, frame, members_of(members, name)))


def _pair(members: Mapping[str, Path], header: str) -> tuple[Path, Path]:
    """The files of a NIfTI pair whose header is the member ``header``."""
    stem = header[: -len(suffix(members[header]))]
    for name, file in members.items():
        if name.startswith(stem) and name[len(stem) :].lower() in (".img", ".img.gz"):
            return members[header], file
    raise Refused("holds an image that lacks its other half, the file ending in .img; put both into the zip.")


def _read_series_of(path: Path, series_uid: str | None, frame: int | None) -> Volume:
    """The series that a single DICOM file belongs to: the file itself if multi-frame, else with those beside it."""
    if is_directory(path):
        return read_series(files_below(path.parent), series_uid, frame)
    found, _ = find_series([path])
    if not found:
        raise Refused("is a damaged DICOM file, or one without an image; copy or export it again.")
    if len(found[0].slices) > 1:
        return read_series([path], series_uid, frame)
    neighbors = (file for file in sorted(path.parent.iterdir()) if file.is_file())
    volume = read_series(neighbors, series_uid or found[0].uid, frame)
    said = f"One file was named; all {len(volume.files)} files of its series in that folder were read."
    return dataclasses.replace(volume, warnings=(said, *volume.warnings))


@contextlib.contextmanager
def _dicom_files(path: Path) -> Iterator[Sequence[Path]]:
    _check_path(path)
    if path.is_dir():
        yield list(files_below(path))
    elif recognise(path) == "zip":
        with unpacked(path) as members:
            yield list(members.values())
    elif is_directory(path):
        yield list(files_below(path.parent))
    else:
        yield [file for file in path.parent.iterdir() if file.is_file()]


def files_below(folder: Path) -> Iterator[Path]:
    """All plain files at any depth, in a fixed order; linked folders are not entered."""

    def refuse(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=refuse):
        folders.sort()
        yield from (file for name in sorted(names) if (file := Path(parent, name)).is_file())


def _hashed(volume: Volume) -> tuple[Volume, str]:
    hashes = sorted(file_sha256(file) for file in volume.files)
    return volume, hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
