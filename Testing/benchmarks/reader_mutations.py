"""Damaged and hostile scans by the thousand: ``python -m Testing.benchmarks.reader_mutations --mutations 5000``.

A small scan is stored in every format, then one thing is changed: a bit, a run of bytes, the length of the file, or a
field of the header that says a length or sets a flag. The reader must give the voxels and the grid that were stored, or
refuse in one sentence, or say a warning that the whole file does not have. Where no check sum covers the change (the
voxels of an uncompressed file, the text of a header), it may also give what the file now says; then every voxel must
still come from the file, never from memory: the scan is read twice over memory filled with different patterns.

A Markdown table, one row a format: how often each answer was given, and the findings, which must be none. Bounded
versions of the same run as tests (``Testing/library/scans/test_scans_mutations.py``).
"""

from __future__ import annotations

import argparse
import bz2
import collections
import gzip
import io
import re
import shutil
import sys
import tempfile
import time
import zipfile
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import nibabel
import numpy as np
import pydicom
import SimpleITK as sitk
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, MRImageStorage, RLELossless

from BrainIACLib.errors import ScanError
from BrainIACLib.scans import Scan, read_scan

SIZE, SPACING = (40, 36, 16), (4.0, 4.0, 4.0)
SLOW_SECONDS = 20.0
ODD_NUMBERS = ["0", "-1", "1", "2", "3", "7", "255", "65536", "2147483648", "1000000000000", "9" * 1000, "nan", ""]
ODD_WORDS = ["True", "true", "False", "LOCAL", "LIST", "raw", "gzip", "bzip2", "ascii", "big", "/etc/hosts", "../x.raw"]
ANSWERS = ("as stored", "refused", "read with a warning", "as the file now says")


@dataclass(frozen=True)
class Stored:
    """A scan in one format: its files, the one to name, and which of them a check sum covers as a whole."""

    name: str
    files: dict[str, bytes]
    named: str
    covered: frozenset[str] = frozenset()
    texts: frozenset[str] = frozenset()  # files that begin with a header of lines
    fields: dict[str, tuple[tuple[int, int], ...]] = field(default_factory=dict)  # (offset, bytes) of binary fields


@dataclass(frozen=True)
class Mutation:
    """One change of one file; ``covered`` tells whether a check sum must notice it."""

    file: str
    content: bytes
    covered: bool
    said: str


def voxels() -> np.ndarray:
    """The voxels (x, y, z) that all formats store: no two slices alike."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in SIZE], indexing="ij")
    noise = np.random.default_rng(0).integers(0, 40, SIZE)
    return (1000 * np.exp(-2 * (x**2 + y**2 + z**2)) + 100 * (x + 2 * y + 3 * z + 6) + noise).astype(np.uint16)


def all_stored() -> list[Stored]:
    """The scan in every format that the reader takes."""
    data = voxels().tobytes(order="F")
    affine = np.diag([-SPACING[0], -SPACING[1], SPACING[2], 1.0])
    nifti = nibabel.Nifti1Image(voxels(), affine).to_bytes()
    pair = nibabel.Nifti1Pair(voxels(), affine)
    parts = {name: nibabel.FileHolder(fileobj=io.BytesIO()) for name in ("header", "image")}
    pair.to_file_map(parts)
    header, image = (parts[name].fileobj.getvalue() for name in ("header", "image"))
    mgh = nibabel.MGHImage(voxels().astype(np.int32), affine).to_bytes()
    fields = ((40, 2), (42, 2), (44, 2), (46, 2), (48, 2), (70, 2), (72, 2), (108, 4), (112, 4), (252, 2), (254, 2))
    stored = [
        Stored("NIfTI", {"s.nii": nifti}, "s.nii", fields={"s.nii": fields}),
        Stored("NIfTI, gzip", {"s.nii.gz": gzip.compress(nifti)}, "s.nii.gz", frozenset({"s.nii.gz"})),
        Stored("NIfTI, pair", {"s.hdr": header, "s.img": image}, "s.hdr", fields={"s.hdr": fields}),
        Stored("MGH, gzip", {"s.mgz": gzip.compress(mgh)}, "s.mgz", frozenset({"s.mgz"})),
    ]
    for word, packed in (("raw", data), ("gzip", gzip.compress(data)), ("bzip2", bz2.compress(data))):
        text = _nrrd(word)
        stored.append(Stored(f"NRRD, {word}", {"s.nrrd": text + packed}, "s.nrrd", texts=frozenset({"s.nrrd"})))
        files = {"s.nhdr": text.rstrip(b"\n") + b"\ndata file: s.raw\n", "s.raw": packed}
        covered = frozenset({"s.raw"} if word != "raw" else ())
        stored.append(Stored(f"NRRD, {word}, detached", files, "s.nhdr", covered, frozenset({"s.nhdr"})))
    for word, packed in (("raw", data), ("zlib", zlib.compress(data))):
        whole = {"s.mha": _meta(word, "LOCAL", len(packed)) + packed}
        stored.append(Stored(f"MetaImage, {word}", whole, "s.mha", texts=frozenset({"s.mha"})))
        files = {"s.mhd": _meta(word, "s.zraw", len(packed)), "s.zraw": packed}
        covered = frozenset({"s.zraw"} if word != "raw" else ())
        stored.append(Stored(f"MetaImage, {word}, detached", files, "s.mhd", covered, frozenset({"s.mhd"})))
    series = {f"{k:02d}.dcm": _dicom(k) for k in range(SIZE[2])}
    stored.append(Stored("DICOM", series, ""))
    stored.append(Stored("DICOM, run-length", {f"{k:02d}.dcm": _dicom(k, packed=True) for k in range(SIZE[2])}, ""))
    stored.append(Stored("DICOM, enhanced", {"s.dcm": _enhanced()}, "s.dcm"))
    for word, method in (("deflate", zipfile.ZIP_DEFLATED), ("LZMA", zipfile.ZIP_LZMA), ("bzip2", zipfile.ZIP_BZIP2)):
        packed = io.BytesIO()
        with zipfile.ZipFile(packed, "w", method) as archive:
            archive.writestr("s.nii", nifti)
        stored.append(Stored(f"zip of NIfTI, {word}", {"s.zip": packed.getvalue()}, "s.zip", frozenset({"s.zip"})))
    return stored


def mutations(stored: Stored, rng: np.random.Generator) -> Iterator[Mutation]:
    """Changes of ``stored``, without end."""
    names = sorted(stored.files)
    while True:
        name = names[rng.integers(len(names))]
        content, covered = stored.files[name], name in stored.covered
        kind = rng.choice(["bit", "run", "cut", "longer", "field"])
        if kind == "field" and (changed := _with_odd_field(stored, name, rng)) is not None:
            yield Mutation(name, changed, False, "a field of the header")
            continue
        place = int(rng.integers(len(content)))
        changed = bytearray(content)
        if kind == "cut":
            yield Mutation(name, content[:place], True, f"cut after {place} bytes")
        elif kind == "longer":
            changed[place:place] = rng.bytes(int(rng.integers(1, 200)))
            yield Mutation(name, bytes(changed), covered, f"bytes put in at {place}")
        elif kind == "run":
            length = int(rng.integers(1, 300))
            changed[place : place + length] = bytes(len(changed[place : place + length]))
            yield Mutation(name, bytes(changed), covered, f"{length} zeros at {place}")
        else:
            changed[place] ^= 1 << int(rng.integers(8))
            yield Mutation(name, bytes(changed), covered, f"a bit of byte {place}")


def answer_to(stored: Stored, mutation: Mutation, folder: Path, truth: Scan) -> tuple[str, str]:
    """The answer, one of ``ANSWERS`` or ``""``, and the finding where it is ``""``."""
    path = written({**stored.files, mutation.file: mutation.content}, folder) / stored.named
    started = time.perf_counter()
    try:
        found = [_read_over(path, pattern) for pattern in (0x5A, 0xA5)]
    except ScanError as error:
        if "\n" in str(error) and "series; choose one:" not in str(error):
            return "", f"more than a sentence: {error}"
        return "refused", ""
    except Exception as error:
        return "", f"{type(error).__name__}: {error}"
    if time.perf_counter() - started > SLOW_SECONDS:
        return "", "slow"
    if not same(*found):
        return "", "voxels out of memory"
    if same(found[0], truth):
        return "as stored", ""
    if set(found[0].warnings) - set(truth.warnings):
        return "read with a warning", ""
    return ("", "other voxels without a word") if mutation.covered else ("as the file now says", "")


def same(one: Scan, other: Scan) -> bool:
    """Whether voxels and grid are equal, within the rounding of headers."""
    images = one.image, other.image
    if images[0].GetSize() != images[1].GetSize():
        return False
    grids = [(*image.GetOrigin(), *image.GetSpacing(), *image.GetDirection()) for image in images]
    close = np.allclose(*grids, atol=1e-4, equal_nan=True)
    return close and np.array_equal(*(sitk.GetArrayViewFromImage(image) for image in images), equal_nan=True)


def written(files: dict[str, bytes], folder: Path) -> Path:
    """``folder`` with these files and no others."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def _read_over(path: Path, pattern: int) -> Scan:
    with _memory_filled_with(pattern):
        return read_scan(path)


@contextmanager
def _memory_filled_with(pattern: int) -> Iterator[None]:
    """``numpy.empty`` hands out memory of one pattern, so that what was never written is seen."""
    empty: Callable[..., np.ndarray] = np.empty

    def filled(*arguments: object, **more: object) -> np.ndarray:
        array = empty(*arguments, **more)
        if array.dtype.kind in "uif" and array.flags.c_contiguous:
            array.reshape(-1).view(np.uint8)[:] = pattern
        return array

    with mock.patch.object(np, "empty", filled):
        yield


def _with_odd_field(stored: Stored, name: str, rng: np.random.Generator) -> bytes | None:
    content = stored.files[name]
    if name in stored.texts:
        end = re.search(rb"\n\n|ElementDataFile = [^\n]*\n|\Z", content).end()
        words = list(re.finditer(rb"(?<=[ :=])[^\s:=]+", content[:end]))
        word = words[rng.integers(len(words))]
        odd = str(rng.choice(ODD_NUMBERS + ODD_WORDS)).encode()
        return content[: word.start()] + odd + content[word.end() :]
    if name in stored.fields:
        offset, length = stored.fields[name][rng.integers(len(stored.fields[name]))]
        odd = rng.choice([0, 1, 2, 0x7F, 0xFF, 0x80], size=length).astype(np.uint8).tobytes()
        return content[:offset] + odd + content[offset + length :]
    if name.endswith(".dcm"):
        return _with_odd_tag(content, rng)
    return None


def _with_odd_tag(content: bytes, rng: np.random.Generator) -> bytes:
    dataset = pydicom.dcmread(io.BytesIO(content))
    keywords = ["Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation", "SamplesPerPixel"]
    keyword = str(rng.choice([*keywords, "NumberOfFrames", "TransferSyntaxUID", "PixelData"]))
    if keyword == "TransferSyntaxUID":  # as bytes: pydicom would convert the pixels
        old = dataset.file_meta.TransferSyntaxUID.encode()
        new = f"1.2.840.10008.1.2{rng.choice(['', '.1', '.2', '.5', '.4.50', '.4.70'])}".encode()
        length = len(old) + len(old) % 2
        return content.replace(old.ljust(length, b"\0"), new.ljust(length, b"\0")[:length], 1)
    if keyword == "PixelData":
        dataset.PixelData = dataset.PixelData[: int(rng.integers(len(dataset.PixelData))) // 2 * 2]
    elif keyword == "NumberOfFrames":
        dataset.NumberOfFrames = int(rng.choice([0, 1, 2, 15, 17, 32, 1_000_000_000]))
    else:
        setattr(dataset, keyword, int(rng.choice([0, 1, 2, 8, 12, 15, 16, 32, 35, 36, 37, 40, 64, 65535])))
    stream = io.BytesIO()
    with pydicom.config.disable_value_validation():
        dataset.save_as(stream)
    return stream.getvalue()


def _nrrd(encoding: str) -> bytes:
    lines = ["NRRD0004", "type: uint16", "dimension: 3", "space: left-posterior-superior", "sizes: 40 36 16"]
    lines += ["space directions: (4,0,0) (0,4,0) (0,0,4)", "space origin: (0,0,0)", "endian: little"]
    return "\n".join([*lines, f"encoding: {encoding}", "", ""]).encode()


def _meta(word: str, data_file: str, length: int) -> bytes:
    lines = ["ObjectType = Image", "NDims = 3", "BinaryData = True", "BinaryDataByteOrderMSB = False"]
    if word == "zlib":
        lines += ["CompressedData = True", f"CompressedDataSize = {length}"]
    lines += ["TransformMatrix = 1 0 0 0 1 0 0 0 1", "Offset = 0 0 0", "ElementSpacing = 4 4 4", "DimSize = 40 36 16"]
    return "\n".join([*lines, "ElementType = MET_USHORT", f"ElementDataFile = {data_file}", ""]).encode()


def _common() -> Dataset:
    header = Dataset()
    header.file_meta = FileMetaDataset()
    header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    header.SOPClassUID = header.file_meta.MediaStorageSOPClassUID = MRImageStorage
    header.StudyInstanceUID, header.SeriesInstanceUID, header.Modality = "1.2.3", "1.2.3.4", "MR"
    header.ImageType = ["ORIGINAL", "PRIMARY", "M"]
    header.SamplesPerPixel, header.PhotometricInterpretation = 1, "MONOCHROME2"
    header.Rows, header.Columns = SIZE[1], SIZE[0]
    header.BitsAllocated, header.BitsStored, header.HighBit, header.PixelRepresentation = 16, 16, 15, 0
    return header


def _dicom(k: int, packed: bool = False) -> bytes:
    header = _common()
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = f"1.2.3.4.{k + 1}"
    header.InstanceNumber = k + 1
    header.PixelSpacing, header.SliceThickness = [4, 4], 4
    header.ImageOrientationPatient, header.ImagePositionPatient = [1, 0, 0, 0, 1, 0], [0, 0, 4 * k]
    header.PixelData = np.ascontiguousarray(voxels()[:, :, k].T).tobytes()
    if packed:
        header.compress(RLELossless, generate_instance_uid=False)
    return _bytes_of(header)


def _enhanced() -> bytes:
    header = _common()
    header.SOPInstanceUID = header.file_meta.MediaStorageSOPInstanceUID = "1.2.3.4.5"
    header.NumberOfFrames = SIZE[2]
    measures, orientation, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SliceThickness = [4, 4], 4
    orientation.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
    shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [orientation]
    header.SharedFunctionalGroupsSequence, groups = [shared], []
    for k in range(SIZE[2]):
        position, group = Dataset(), Dataset()
        position.ImagePositionPatient = [0, 0, 4 * k]
        group.PlanePositionSequence = [position]
        groups.append(group)
    header.PerFrameFunctionalGroupsSequence = groups
    header.PixelData = np.ascontiguousarray(voxels().transpose(2, 1, 0)).tobytes()
    return _bytes_of(header)


def _bytes_of(header: Dataset) -> bytes:
    stream = io.BytesIO()
    pydicom.dcmwrite(stream, header, enforce_file_format=True)
    return stream.getvalue()


def main() -> int:
    """Print the table; 1 if there is a finding."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mutations", type=int, default=5000, help="of all formats together")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    findings = []
    print(f"| format | mutations | {' | '.join(ANSWERS)} | findings |")
    print(f"|---|{'---|' * (len(ANSWERS) + 2)}")
    formats = all_stored()
    with tempfile.TemporaryDirectory() as temporary:
        for number, stored in enumerate(formats):
            truth = read_scan(written(stored.files, Path(temporary, "scan")) / stored.named)
            counts: collections.Counter[str] = collections.Counter()
            changes = mutations(stored, np.random.default_rng([options.seed, number]))
            for mutation, _ in zip(changes, range(options.mutations // len(formats)), strict=False):
                answer, finding = answer_to(stored, mutation, Path(temporary, "scan"), truth)
                counts[answer] += 1
                if finding:
                    findings.append(f"{stored.name}: {mutation.file}, {mutation.said}: {finding}")
            told = " | ".join(str(counts[answer]) for answer in ANSWERS)
            print(f"| {stored.name} | {counts.total()} | {told} | {counts['']} |", flush=True)
    print("\n".join(findings), file=sys.stderr)
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
