"""NRRD and MetaImage: geometry, orientation that is not said, frames, and damaged files."""

import bz2
import contextlib
import gzip
import os
import tracemalloc
import zlib

import numpy as np
import pytest
import SimpleITK as sitk
from scan_phantoms import Phantom, image_of, phantom, refusal, same_in_space, values_of

from BrainIACLib.errors import ScanError
from BrainIACLib.scans import read_scan
from BrainIACLib.scans.memory import free_memory


def nrrd(path, voxels: np.ndarray, *lines: str, dtype="uint16"):
    """A NRRD file by hand: voxels (x, y, z, ...) and the header lines that matter."""
    sizes = " ".join(map(str, voxels.shape))
    header = ["NRRD0005", f"type: {dtype}", f"dimension: {voxels.ndim}", f"sizes: {sizes}"]
    text = "\n".join([*header, "encoding: raw", "endian: little", *lines, "", ""])
    path.write_bytes(text.encode() + voxels.tobytes(order="F"))
    return path


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd"])
@pytest.mark.parametrize("compressed", [False, True])
def test_written_by_itk(tmp_path, name, compressed):
    sitk.WriteImage(image_of(phantom()), str(tmp_path / name), compressed)
    found = read_scan(tmp_path / name)
    assert same_in_space(found.image, phantom())
    assert found.format == ("NRRD" if name.endswith(("nrrd", "nhdr")) else "MetaImage")
    assert (found.name, found.warnings, found.modality) == ("scan", (), None)


@pytest.mark.parametrize("name", ["scan.nhdr", "scan.mhd"])
def test_a_header_without_its_voxels(tmp_path, name):
    sitk.WriteImage(image_of(phantom()), str(tmp_path / name))
    before = read_scan(tmp_path / name).sha256
    voxels = bytearray((tmp_path / "scan.raw").read_bytes())
    voxels[0] ^= 1
    (tmp_path / "scan.raw").write_bytes(voxels)
    assert read_scan(tmp_path / name).sha256 != before
    (tmp_path / "scan.raw").unlink()
    assert "its data file is missing" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.mha"])
@pytest.mark.parametrize("compressed", [False, True])
def test_truncated(tmp_path, name, compressed):
    sitk.WriteImage(image_of(phantom()), str(tmp_path / name), compressed)
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: len(content) // 2])
    assert "truncated or damaged" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["scan.nrrd", "scan.nhdr", "scan.mha", "scan.mhd"])
def test_a_flipped_bit_in_compressed_voxels(tmp_path, name):
    """ITK opens most of these without a word."""
    sitk.WriteImage(image_of(phantom()), str(tmp_path / name), True)
    data = next((path for path in tmp_path.iterdir() if path.suffix in (".zraw", ".gz")), tmp_path / name)
    content = data.read_bytes()
    for place in np.random.default_rng(0).integers(len(content) // 10, len(content), 12):
        damaged = bytearray(content)
        damaged[place] ^= 16
        data.write_bytes(damaged)
        assert "truncated or damaged" in refusal(tmp_path / name)


def test_ras_space_equals_lps_space(tmp_path):
    scan = phantom()
    for name, matrix in (("right-anterior-superior", scan.affine), ("left-posterior-superior", scan.matrix)):
        directions = " ".join(f"({','.join(map(repr, map(float, column)))})" for column in matrix[:3, :3].T)
        origin = ",".join(repr(float(value)) for value in matrix[:3, 3])
        path = nrrd(
            tmp_path / f"{name}.nrrd",
            scan.voxels,
            f"space: {name}",
            f"space directions: {directions}",
            f"space origin: ({origin})",
        )
        assert same_in_space(read_scan(path).image, scan)


def test_one_frame_of_a_time_series_in_ras(tmp_path):
    """ITK turns RAS into LPS for three axes but not for three and time."""
    scan = phantom(direction=np.eye(3), origin=(10, 20, 30))
    frames = np.stack([scan.voxels, scan.voxels + 1], -1)
    path = nrrd(
        tmp_path / "series.nrrd",
        frames,
        "space: right-anterior-superior-time",
        "space directions: (-1.5,0,0,0) (0,-2,0,0) (0,0,5,0) (0,0,0,1)",
        "space origin: (-10,-20,30,0)",
    )
    assert "choose one, 0 to 1" in refusal(path)
    found = read_scan(path, frame=1)
    assert same_in_space(found.image, Phantom(frames[..., 1], scan.axes, scan.origin))


def test_meta_image_frames(tmp_path):
    frames = sitk.JoinSeries([image_of(phantom()), image_of(phantom()) + 1])
    sitk.WriteImage(frames, str(tmp_path / "series.mha"))
    found = values_of(read_scan(tmp_path / "series.mha", frame=1).image)
    assert np.array_equal(found, phantom().voxels + 1)


def test_an_orientation_that_is_not_said(tmp_path):
    path = nrrd(tmp_path / "scan.nrrd", phantom().voxels, "spacings: 1.5 2 5")
    assert "left and right may be swapped" in read_scan(path).warnings[0]


def test_sheared_axes_are_refused(tmp_path):
    path = nrrd(
        tmp_path / "scan.nrrd",
        phantom().voxels,
        "space: left-posterior-superior",
        "space directions: (1.5,0,0) (0,2,0) (0,1,5)",
        "space origin: (0,0,0)",
    )
    assert "sheared axes" in refusal(path)


def test_an_axis_of_space_without_a_direction_is_refused(tmp_path):
    path = nrrd(
        tmp_path / "scan.nrrd",
        phantom().voxels,
        "space: left-posterior-superior",
        "space directions: (1.5,0,0) (0,2,0) none",
        "space origin: (0,0,0)",
        "kinds: domain domain domain",
    )
    assert "space directions" in refusal(path)


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (sitk.Image([64, 64], sitk.sitkUInt8), "has 2 dimensions"),
        (sitk.Image([64, 64, 1], sitk.sitkUInt8), "single slice"),
        (sitk.Image([64, 64, 40], sitk.sitkVectorUInt8, 3), "color image"),
        (sitk.Image([64, 64, 40], sitk.sitkVectorFloat32, 2), "2 values in each voxel"),
        (sitk.Image([64, 64, 40], sitk.sitkFloat32), "is empty"),
    ],
)
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_other_kinds_are_named(tmp_path, image, words, suffix):
    sitk.WriteImage(image, str(tmp_path / f"scan{suffix}"))
    assert words in refusal(tmp_path / f"scan{suffix}")


def test_complex_numbers_are_named(tmp_path):
    sitk.WriteImage(sitk.Image([64, 64, 40], sitk.sitkComplexFloat32), str(tmp_path / "scan.mha"))
    assert "scan.mha" in refusal(tmp_path / "scan.mha")


def test_absurd_sizes_are_refused_from_the_header(tmp_path):
    (tmp_path / "scan.mha").write_bytes(
        b"ObjectType = Image\nNDims = 3\nDimSize = 30000 30000 30000\nElementSpacing = 1 1 1\n"
        b"ElementType = MET_SHORT\nElementDataFile = LOCAL\n" + bytes(64)
    )
    assert "more than any brain MRI" in refusal(tmp_path / "scan.mha")


# --- Fewer voxels than the header says --------------------------------------------------------------------------------


def meta(path, voxels: np.ndarray, *lines: str, data=None, file="LOCAL", kind="MET_USHORT"):
    """A MetaImage by hand, with the bytes ``data`` behind the header."""
    head = ["ObjectType = Image", f"NDims = {voxels.ndim}", "DimSize = " + " ".join(map(str, voxels.shape))]
    head += ["ElementSpacing = " + " ".join(["2"] * voxels.ndim), f"ElementType = {kind}", *lines]
    path.write_bytes("\n".join([*head, f"ElementDataFile = {file}", ""]).encode())
    with path.open("ab") as stream:
        stream.write(voxels.tobytes(order="F") if data is None else data)
    return path


CUBE = phantom(size=(40, 40, 24), spacing=(2, 2, 2)).voxels
BYTES = CUBE.tobytes(order="F")


@pytest.mark.parametrize("kept", [0.5, 0.99, 1.0])
@pytest.mark.parametrize("said", ["nothing", "the truth", "too little", "too much"])
@pytest.mark.parametrize("true", ["True", "true", "TRUE", "1"])
def test_a_short_stream_is_refused_and_a_whole_one_read_whatever_size_it_says(tmp_path, kept, said, true):
    packed = zlib.compress(BYTES[: int(kept * len(BYTES)) // 2 * 2])
    sizes = {"nothing": None, "the truth": len(packed), "too little": len(packed) // 2, "too much": 2 * len(packed)}
    size = [f"CompressedDataSize = {sizes[said]}"] if sizes[said] is not None else []
    path = meta(tmp_path / "scan.mha", CUBE, f"CompressedData = {true}", *size, data=packed)
    if kept == 1:
        assert np.array_equal(values_of(read_scan(path).image), CUBE)
    else:
        assert "fewer voxels than its header says" in refusal(path)


def test_voxels_beyond_those_of_the_header_are_said(tmp_path):
    path = meta(tmp_path / "scan.mha", CUBE, data=BYTES + bytes(100))
    assert read_scan(path).warnings == ("The file holds 100 bytes more than its header says; a part may be missing.",)


@pytest.mark.parametrize("packer", [gzip.compress, bz2.compress, zlib.compress])
def test_no_flipped_bit_gives_other_voxels(tmp_path, packer):
    """Whatever holds the stream: its check sum is compared although the voxels end before it."""
    if packer is zlib.compress:
        path, data = tmp_path / "scan.mha", packer(BYTES)
        meta(path, CUBE, "CompressedData = true", data=data)
    else:
        path, data = tmp_path / "scan.nrrd", packer(BYTES)
        path.write_bytes(header_of(CUBE, "gzip" if packer is gzip.compress else "bzip2") + data)
    whole = path.read_bytes()
    assert np.array_equal(values_of(read_scan(path).image), CUBE)
    rng = np.random.default_rng(0)
    for place in rng.integers(len(whole) - len(data), len(whole), 150):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with contextlib.suppress(ScanError):  # a bit may carry nothing, as in gzip's time stamp
            assert np.array_equal(values_of(read_scan(path).image), CUBE)


def header_of(voxels, encoding, *lines) -> bytes:
    fields = ["NRRD0004", "type: uint16", f"dimension: {voxels.ndim}", "sizes: " + " ".join(map(str, voxels.shape))]
    fields += [f"encoding: {encoding}", "endian: little", "spacings: " + " ".join(["2"] * voxels.ndim), *lines, "", ""]
    return "\n".join(fields).encode()


# --- Several files, skipped lines and bytes ---------------------------------------------------------------------------


@pytest.mark.parametrize("packer", [None, gzip.compress, bz2.compress])
@pytest.mark.parametrize("named", ["LIST", "slice%03d.raw 1 24 1", "slice%03d.raw 24 1 -1"])
def test_voxels_in_many_files_are_joined(tmp_path, packer, named):
    encoding = {None: "raw", gzip.compress: "gzip", bz2.compress: "bzip2"}[packer]
    names = [f"slice{number:03d}.raw" for number in range(1, 25)]
    order = names if named.endswith(" 1") or named == "LIST" else names[::-1]
    for k, name in enumerate(order):
        data = CUBE[:, :, k].tobytes(order="F")
        (tmp_path / name).write_bytes(packer(data) if packer else data)
    lines = header_of(CUBE, encoding, f"data file: {named}").rstrip(b"\n")
    (tmp_path / "scan.nhdr").write_bytes(lines + b"\n" + "\n".join(names if named == "LIST" else []).encode())
    assert np.array_equal(values_of(read_scan(tmp_path / "scan.nhdr").image), CUBE)
    (tmp_path / order[7]).write_bytes((tmp_path / order[7]).read_bytes()[:-40])
    assert "truncated or damaged" in refusal(tmp_path / "scan.nhdr")
    (tmp_path / order[7]).unlink()
    assert "data file is missing" in refusal(tmp_path / "scan.nhdr")


def test_meta_images_in_many_files_are_joined(tmp_path):
    names = [f"s{number:02d}.raw" for number in range(24)]
    for k, name in enumerate(names):
        (tmp_path / name).write_bytes(CUBE[:, :, k].tobytes(order="F"))
    listed = meta(tmp_path / "list.mhd", CUBE, file="LIST", data="\n".join(names).encode())
    assert np.array_equal(values_of(read_scan(listed).image), CUBE)
    counted = meta(tmp_path / "pattern.mhd", CUBE, file="s%02d.raw 0 23 1", data=b"")
    assert np.array_equal(values_of(read_scan(counted).image), CUBE)
    meta(listed, CUBE, file="LIST", data="\n".join(names[:-1]).encode())
    assert "number of data files" in refusal(listed)


@pytest.mark.parametrize("encoding", ["raw", "gzip"])
def test_lines_and_bytes_before_the_voxels_are_skipped(tmp_path, encoding):
    """Lines before the data are decompressed, bytes after (teem's order)."""
    data = b"seven.." + BYTES
    data = gzip.compress(data) if encoding == "gzip" else data
    (tmp_path / "scan.raw").write_bytes(b"one line\nand another\n" + data)
    (tmp_path / "scan.nhdr").write_bytes(
        header_of(CUBE, encoding, "line skip: 2", "byte skip: 7", "data file: scan.raw")
    )
    assert np.array_equal(values_of(read_scan(tmp_path / "scan.nhdr").image), CUBE)


def test_voxels_at_the_end_of_a_file_and_as_text(tmp_path):
    (tmp_path / "scan.raw").write_bytes(b"some other program's header" + BYTES)
    (tmp_path / "scan.nhdr").write_bytes(header_of(CUBE, "raw", "byte skip: -1", "data file: scan.raw"))
    assert np.array_equal(values_of(read_scan(tmp_path / "scan.nhdr").image), CUBE)
    path = meta(tmp_path / "end.mhd", CUBE, "HeaderSize = -1", file="scan.raw", data=b"")
    assert np.array_equal(values_of(read_scan(path).image), CUBE)
    text = " ".join(map(str, CUBE.ravel(order="F"))).encode()
    (tmp_path / "text.nrrd").write_bytes(header_of(CUBE, "ascii") + text)
    assert np.array_equal(values_of(read_scan(tmp_path / "text.nrrd").image), CUBE)
    path = meta(tmp_path / "text.mha", CUBE, "BinaryData = False", data=text)
    assert np.array_equal(values_of(read_scan(path).image), CUBE)
    (tmp_path / "text.nrrd").write_bytes(header_of(CUBE, "ascii") + text[:-50])
    assert "truncated or damaged" in refusal(tmp_path / "text.nrrd")


@pytest.mark.parametrize("big", [False, True])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8", "i8", "u8"])
@pytest.mark.parametrize("suffix", [".nrrd", ".mha"])
def test_every_number_type_and_byte_order_is_itks(tmp_path, dtype, big, suffix):
    image = sitk.GetImageFromArray((CUBE // 8).astype(dtype).transpose())
    image.SetSpacing((2, 2, 2))
    path = tmp_path / f"scan{suffix}"
    sitk.WriteImage(image, str(path))
    if big:
        content, data = path.read_bytes(), (CUBE // 8).astype(dtype).tobytes(order="F")
        content = content.replace(b"endian: little", b"endian: big").replace(b"OrderMSB = False", b"OrderMSB = True")
        path.write_bytes(content[: -len(data)] + (CUBE // 8).astype(f">{dtype}").tobytes(order="F"))
    found = read_scan(path).image
    assert np.array_equal(values_of(found), (CUBE // 8).astype(dtype))
    assert found.GetPixelID() == image.GetPixelID()


# --- Orientation ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("time", [False, True])
@pytest.mark.parametrize("space", ["left-posterior-superior", "right-anterior-superior", "left-anterior-superior"])
@pytest.mark.parametrize("short", [False, True])
def test_every_named_space_is_turned_into_lps(tmp_path, space, time, short):
    """ITK mirrors LAS and RAS as soon as there is a time axis."""
    scan = phantom()
    signs = {"left-p": (1, 1), "right-": (-1, -1), "left-a": (1, -1)}[space[:6]]
    axes, origin = np.diag([*signs, 1]) @ scan.axes, np.diag([*signs, 1]) @ scan.origin
    more = ["0"] if time else []
    vectors = ["(" + ",".join([*map(repr, map(float, column)), *more]) + ")" for column in axes.T]
    name = "".join(word[0].upper() for word in space.split("-")) + "T" * time if short else space + "-time" * time
    path = nrrd(
        tmp_path / "scan.nrrd",
        np.stack([scan.voxels, scan.voxels + 1], -1) if time else scan.voxels,
        f"space: {name}",
        "space directions: " + " ".join(vectors + ["(0,0,0,1)"] * time),
        "space origin: (" + ",".join([*map(repr, map(float, origin)), *more]) + ")",
    )
    assert same_in_space(read_scan(path, frame=0 if time else None).image, scan)


@pytest.mark.parametrize("first", [False, True])
def test_a_list_of_volumes_is_a_choice_wherever_its_axis_stands(tmp_path, first):
    """As 3D Slicer stores sequences (list first) and diffusion (list last); ITK takes both for vectors."""
    frames = np.stack([CUBE, CUBE + 1, CUBE + 2], 0 if first else -1)
    vectors = ["(2,0,0)", "(0,2,0)", "(0,0,2)"]
    vectors.insert(0 if first else 3, "none")
    kinds = ["domain"] * 3
    kinds.insert(0 if first else 3, "list")
    path = nrrd(
        tmp_path / "sequence.nrrd",
        frames,
        "space: left-posterior-superior",
        "space directions: " + " ".join(vectors),
        "kinds: " + " ".join(kinds),
    )
    assert "holds 3 volumes" in refusal(path)
    assert np.array_equal(values_of(read_scan(path, frame=2).image), CUBE + 2)


# --- Hostile and broken headers ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("keys", [10, 100, 5000])
def test_a_long_header_is_no_damage(tmp_path, keys):
    lines = [f"Key{number} = {'v' * 900}" for number in range(keys)]
    path = meta(tmp_path / "scan.mha", CUBE, "CompressedData = True", *lines, data=zlib.compress(BYTES))
    assert np.array_equal(values_of(read_scan(path).image), CUBE)
    lines = [f"key{number}:={'v' * 900}" for number in range(keys)]
    (tmp_path / "scan.nrrd").write_bytes(header_of(CUBE, "gzip", *lines) + gzip.compress(BYTES))
    assert np.array_equal(values_of(read_scan(tmp_path / "scan.nrrd").image), CUBE)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("scan.nrrd", b"sizes: 40 40 24", b"sizes: " + b"4" * 1000),
        ("scan.nrrd", b"sizes: 40 40 24", b"sizes: 40 40 -24"),
        ("scan.nrrd", b"dimension: 3", b"dimension: 1000000000"),
        ("scan.nrrd", b"dimension: 3", b"dimension: " + b"9" * 1000),
        ("scan.nrrd", b"spacings: 2 2 2", b"space directions: (" + b"1" * 1000 + b",0,0) (0,2,0) (0,0,2)"),
        ("scan.nrrd", b"endian: little", b"endian: little\nline skip: -3"),
        ("scan.nrrd", b"endian: little", b"endian: little\ndata file: %500000000d 1 3 1"),
        ("scan.nrrd", b"endian: little", b"endian: little\ndata file: x%d 1 9999999999 1"),
        ("scan.nrrd", b"endian: little", b"endian: little\nendian: big"),
        ("scan.mha", b"NDims = 3", b"NDims = -1"),
        ("scan.mha", b"NDims = 3", b"NDims = 2147483647"),
        ("scan.mha", b"NDims = 3", b"NDims = " + b"3" * 1000),
        ("scan.mha", b"DimSize = 40 40 24", b"DimSize = 40 40"),
        ("scan.mha", b"DimSize = 40 40 24", b"DimSize = -40 -40 24"),
        ("scan.mha", b"ElementSpacing = 2 2 2", b"ElementSpacing = 2 2 2 2"),
        ("scan.mha", b"ElementSpacing = 2 2 2", b"HeaderSize = -7"),
        ("scan.mha", b"MET_USHORT", b"MET_OTHER"),
        ("scan.mha", b"ElementDataFile = LOCAL", b"ElementDataFile = %999999999d 1 9 1"),
    ],
)
def test_headers_that_end_itk_are_one_sentence(tmp_path, name, old, new):
    path = tmp_path / name
    if name == "scan.mha":
        meta(path, CUBE)
    else:
        path.write_bytes(header_of(CUBE, "raw") + BYTES)
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))
    assert len(refusal(path)) < 400


@pytest.mark.parametrize("name", ["a.nrrd", "b.nrrd", "c.nrrd", "a.mha", "b.mha"])
def test_memory_is_bounded_by_what_the_file_can_hold(tmp_path, name):
    """A thousand cubed doubles, 8 GB, in some hundred bytes: refused within the memory that the process has."""
    path = tmp_path / name
    if name.endswith(".mha"):
        lines = ["ObjectType = Image", "NDims = 3", "DimSize = 1000 1000 1000", "ElementSpacing = .2 .2 .2"]
        lines += ["ElementType = MET_DOUBLE", f"CompressedData = {name == 'b.mha'}", "ElementDataFile = LOCAL", ""]
        path.write_bytes("\n".join(lines).encode() + zlib.compress(bytes(8000)))
    else:
        encoding, data = {
            "a": ("raw", bytes(50)),
            "b": ("gzip", gzip.compress(b"")),
            "c": ("bzip2", bz2.compress(b"")),
        }[name[0]]
        lines = ["NRRD0004", "type: double", "dimension: 3", "sizes: 1000 1000 1000", "spacings: .2 .2 .2"]
        path.write_bytes("\n".join([*lines, "endian: little", f"encoding: {encoding}", "", ""]).encode() + data)
    tracemalloc.start()
    assert "fewer voxels than its header says" in refusal(path)
    assert tracemalloc.get_traced_memory()[1] < 30e6  # NumPy's included
    tracemalloc.stop()


def test_a_scan_that_does_not_fit_into_memory_is_refused_before_it_is_read(tmp_path, monkeypatch):
    monkeypatch.setattr("BrainIACLib.scans.memory.SPARED", 0)
    monkeypatch.setattr("BrainIACLib.scans.memory.free_memory", lambda: 100_000)
    assert "needs about" in refusal(meta(tmp_path / "scan.mha", CUBE))


def test_free_memory_is_what_the_system_says():
    free = free_memory()
    assert free is not None
    assert 0 < free < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def test_a_stream_without_end_is_refused(tmp_path):
    path = meta(tmp_path / "scan.mha", CUBE, "CompressedData = True", data=zlib.compress(bytes(200 << 20)))
    assert "far more data than its header says" in refusal(path)


# --- Files that a header names ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["absolute", "up", "up and down"])
@pytest.mark.parametrize("name", ["scan.mha", "scan.mhd", "scan.nrrd", "scan.nhdr"])
def test_no_header_reads_a_file_outside_its_folder(tmp_path, kind, name):
    folder = tmp_path / "scans"
    folder.mkdir()
    (tmp_path / "secret.raw").write_bytes(BYTES)
    named = {"absolute": str(tmp_path / "secret.raw"), "up": "../secret.raw", "up and down": "a/../../secret.raw"}[kind]
    if name.startswith("scan.m"):
        meta(folder / name, CUBE, file=named, data=b"")
    else:
        (folder / name).write_bytes(header_of(CUBE, "raw", f"data file: {named}"))
    assert "outside its own folder" in refusal(folder / name)


def test_a_data_file_may_lie_below_or_be_named_absolutely_inside(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "scan.raw").write_bytes(BYTES)
    for named in ("data/scan.raw", "data\\scan.raw", str(tmp_path / "data" / "scan.raw")):
        path = meta(tmp_path / "scan.mhd", CUBE, file=named, data=b"")
        assert np.array_equal(values_of(read_scan(path).image), CUBE)
