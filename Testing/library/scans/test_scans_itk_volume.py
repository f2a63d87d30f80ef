"""NRRD and MetaImage: geometry, orientation that is not said, frames, and damaged files."""

import numpy as np
import pytest
import SimpleITK as sitk
from scan_phantoms import Phantom, image_of, phantom, refusal, same_in_space, values_of

from BrainIACLib.scans import read_scan


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
    assert "--frame N, N from 0 to 1" in refusal(path)
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


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (sitk.Image([64, 64], sitk.sitkUInt8), "has 2 dimensions"),
        (sitk.Image([64, 64, 1], sitk.sitkUInt8), "single slice"),
        (sitk.Image([64, 64, 40], sitk.sitkVectorUInt8, 3), "colour image"),
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
