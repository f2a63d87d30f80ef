"""One way in for every format: ``read_scan`` returns a usable brain MRI or says in one sentence why there is none."""

from __future__ import annotations

import contextlib
import dataclasses
import hashlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from BrainIACLib.errors import ScanError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.ordinary_file import check_ordinary
from BrainIACLib.scans.archives import unpacked
from BrainIACLib.scans.companions import beside
from BrainIACLib.scans.dicom_headers import Series, find_series, is_directory
from BrainIACLib.scans.dicom_series import read_series, summarise_series, volume_of
from BrainIACLib.scans.formats import SINGLE_FILE_SUFFIXES, is_dicom, recognise, suffix
from BrainIACLib.scans.metaimage import read_metaimage
from BrainIACLib.scans.nifti import read_nifti
from BrainIACLib.scans.nrrd import read_nrrd
from BrainIACLib.scans.scan import Refused, Scan, SeriesSummary, Volume
from BrainIACLib.scans.usability import check_voxels


def read_scan(path: Path | str, *, series_uid: str | None = None, frame: int | None = None) -> Scan:
    """Read a scan.

    Parameters
    ----------
    path : NIfTI (.nii, .nii.gz, .hdr/.img), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), a folder with DICOM files
        at any depth, one DICOM file (its series is read from the same folder), or a zip of DICOM files or of one
        NIfTI, NRRD or MetaImage file.
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
        raise ScanError(f"'{path}' {reason}") from None
    except FileNotFoundError:
        raise ScanError(f"'{path}' does not exist; check the spelling of the path.") from None
    except OSError as error:
        reason = error.strerror or "reason unknown"
        raise ScanError(f"'{path}' cannot be read ({reason}); check the path, its permissions and the disk.") from None
    except MemoryError:
        raise ScanError(f"'{path}' needs more memory than is free; close other programs and try again.") from None


def _read(path: Path, series_uid: str | None, frame: int | None) -> tuple[Volume, str]:
    """The volume and the hash of its files."""
    _check_path(path)
    if path.is_dir():
        return _hashed(read_series(files_below(path), series_uid, frame))
    kind = recognise(path)
    if kind == "zip":
        with unpacked(path) as files:
            return _read_unpacked(files, series_uid, frame)
    if kind == "DICOM":
        return _hashed(_read_series_of(path, series_uid, frame))
    if series_uid is not None:
        raise Refused(f"is a {kind} file and has no DICOM series; leave --series out.")
    if kind == "NIfTI":
        return _hashed(read_nifti(path, frame))
    read = read_nrrd if kind == "NRRD" else read_metaimage
    return _hashed(read(path, frame, beside(path)))


def _check_path(path: Path) -> None:
    """Speaks up where ``is_dir`` and ``is_file`` would only answer False."""
    try:
        check_ordinary(path)
    except ValueError:
        raise Refused("is not a valid path; check its spelling.") from None


def _read_unpacked(files: Sequence[Path], series_uid: str | None, frame: int | None) -> tuple[Volume, str]:
    images = [file for file in files if suffix(file) in SINGLE_FILE_SUFFIXES]
    if any(is_dicom(file) for file in files):
        return _hashed(read_series(files, series_uid, frame))
    if len(images) == 1:
        return _read(images[0], series_uid, frame)
    if images:
        raise Refused(f"holds {len(images)} image files; unpack it and name one of them.")
    raise Refused("holds no image; give a zip of DICOM files, or of one NIfTI, NRRD or MetaImage file.")


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
        with unpacked(path) as files:
            yield files
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
