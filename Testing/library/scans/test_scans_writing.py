"""Writing: the geometry survives, other programs agree on it, and a file is whole or absent."""

import gzip
import itertools
import os
import signal

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_phantoms import image_of, matrix_of, phantom, phantoms, values_of

from BrainIACLib.errors import BrainIACError
from BrainIACLib.publishing import write_text
from BrainIACLib.scans import read_scan, write_image, write_transform
from BrainIACLib.scans.grid import largest_distance

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
SUFFIXES = [".nii.gz", ".nrrd", ".mha"]


@settings(max_examples=60)
@given(scan=phantoms(), suffix=st.sampled_from(SUFFIXES))
def test_any_pose_comes_back(tmp_path_factory, scan, suffix):
    image = image_of(scan)
    path = tmp_path_factory.mktemp("pose") / f"image{suffix}"
    write_image(image, path)
    back = read_scan(path)
    assert back.warnings == ()
    assert largest_distance(matrix_of(back.image), matrix_of(image), image.GetSize()) < 1e-3
    assert np.array_equal(values_of(back.image), values_of(image))
    if suffix == ".nii.gz":
        header = nibabel.load(path).header
        # both are set, so that no program can choose wrongly; near half turns the float32 quaternion is coarse
        for affine, tolerance in ((header.get_sform(), 1e-3), (header.get_qform(), 0.1)):
            assert largest_distance(RAS_TO_LPS @ affine, matrix_of(image), image.GetSize()) < tolerance


@pytest.mark.parametrize("suffix", [".tfm", ".h5"])
def test_transforms_move_points_as_before(tmp_path, suffix):
    transform = sitk.Euler3DTransform((3.0, -40.0, 12.0), 0.1, -0.2, 0.3, (5.5, -6.25, 7.125))
    write_transform(transform, tmp_path / f"transform{suffix}")
    back = sitk.ReadTransform(str(tmp_path / f"transform{suffix}"))
    for point in itertools.product((-90.0, 110.0), repeat=3):
        assert back.TransformPoint(point) == pytest.approx(transform.TransformPoint(point), abs=1e-9)


def test_text_is_written_as_it_is(tmp_path):
    write_text("Größe 5 mm²\nsecond line\r\n", tmp_path / "note.txt")
    assert (tmp_path / "note.txt").read_bytes() == "Größe 5 mm²\nsecond line\r\n".encode()


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_images_are_compressed_and_replace_older_ones(tmp_path, suffix):
    path = tmp_path / f"image{suffix}"
    path.write_text("old")
    image = sitk.Image([64, 64, 64], sitk.sitkFloat32)
    write_image(image, path)
    assert 3 < path.stat().st_size < 10_000
    assert os.listdir(tmp_path) == [path.name]


@pytest.fixture
def full_disk():
    """No file of this process may grow beyond 20 kB."""
    resource = pytest.importorskip("resource", reason="needs the file size limit of POSIX systems")
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("full_disk")
@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_full_disk_leaves_the_old_file_and_nothing_else(tmp_path, suffix):
    """ITK reports no error for NIfTI here."""
    path = tmp_path / f"image{suffix}"
    path.write_text("old")
    noise = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(40, 40, 40)).astype("f4"))
    with pytest.raises(BrainIACError, match="cannot be written"):
        write_image(noise, path)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == [path.name]


@pytest.mark.parametrize("image", [sitk.sitkUInt8, sitk.sitkInt16, sitk.sitkFloat64])
def test_the_completeness_check_knows_every_voxel_size(tmp_path, image):
    write_image(sitk.Image([41, 37, 11], image), tmp_path / "image.nii.gz")
    assert (
        len(gzip.decompress((tmp_path / "image.nii.gz").read_bytes()))
        == 352
        + 41 * 37 * 11 * np.dtype({sitk.sitkUInt8: "u1", sitk.sitkInt16: "i2", sitk.sitkFloat64: "f8"}[image]).itemsize
    )


def test_places_that_cannot_be_written(tmp_path):
    (tmp_path / "file").touch()
    for folder in (tmp_path / "nowhere", tmp_path / "file"):
        for name, write in (
            ("image.nii.gz", lambda path: write_image(image_of(phantom()), path)),
            ("image.mha", lambda path: write_image(image_of(phantom()), path)),
            ("move.tfm", lambda path: write_transform(sitk.Euler3DTransform(), path)),
            ("move.h5", lambda path: write_transform(sitk.Euler3DTransform(), path)),
            ("note.txt", lambda path: write_text("", path)),
        ):
            with pytest.raises(BrainIACError, match="cannot be written"):
                write(folder / name)
    assert os.listdir(tmp_path) == ["file"]


@pytest.mark.parametrize("name", ["image.png", "image", "image.nii.gz.txt"])
def test_formats_that_lose_the_geometry_are_not_written(tmp_path, name):
    with pytest.raises(BrainIACError, match=r"must end in \.nii\.gz"):
        write_image(image_of(phantom()), tmp_path / name)


def test_an_interruption_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(os, "replace", interrupted)
    with pytest.raises(KeyboardInterrupt):
        write_image(image_of(phantom()), tmp_path / "image.nii.gz")
    assert os.listdir(tmp_path) == []


def test_long_names_in_any_script(tmp_path):
    """The temporary name is short, so that a name of the full allowed length can be written."""
    folder = tmp_path / "Ergebnis für 日本"
    folder.mkdir()
    path = folder / ("ü" * 100 + ".nii.gz")
    write_image(image_of(phantom()), path)
    assert np.array_equal(values_of(read_scan(path).image), values_of(image_of(phantom())))
