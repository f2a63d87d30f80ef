"""Pixels of the JPEG family of DICOM, decoded by GDCM in a process of its own (``jpeg_process``)."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import typing
from collections.abc import Mapping, Sequence
from pathlib import Path

from BrainIACLib.scans.dicom_frames import Incomplete, frames_of, is_complete_jpeg
from BrainIACLib.scans.dicom_stored import FILL_TAGS, Undecodable, pixels_only, shape_of, short_file
from BrainIACLib.scans.dicom_values import quiet_pydicom

if typing.TYPE_CHECKING:
    from pydicom import Dataset

TIMEOUT_SECONDS = 600
_LIBRARY_ROOT = Path(__file__).resolve().parents[2]
JPEG_FAMILY = re.compile(r"1\.2\.840\.10008\.1\.2\.4\.(5\d|6\d|70|8[01]|9[0-3])")


def decoded_jpegs(files: Sequence[Path], folder: Path) -> Mapping[Path, Path]:
    """For each file of the JPEG family the array that GDCM makes of it."""
    wanted: dict[Path, Path] = {}
    for file in files:
        if not JPEG_FAMILY.fullmatch(_syntax(file)):
            continue
        dataset, _ = pixels_only(file)
        try:
            check_jpeg(dataset)
        except Incomplete:
            raise short_file(int(dataset.get("InstanceNumber") or 0)) from None
        wanted[file] = folder / f"{len(wanted):06d}.dcm"
        _writepixels_only(dataset, wanted[file])
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


def check_jpeg(dataset: Dataset) -> None:
    """``Incomplete`` if a frame lacks its end."""
    frames = frames_of(dataset.get("PixelData") or b"", shape_of(dataset)[0])
    if not all(is_complete_jpeg(frame) for frame in frames):
        raise Incomplete


def _writepixels_only(dataset: Dataset, file: Path) -> None:
    """A copy without rescale and polarity, which GDCM would apply to all frames alike."""
    import pydicom

    for keyword in (*FILL_TAGS, "InstanceNumber"):
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
