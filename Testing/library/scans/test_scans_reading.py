"""Paths: missing, empty, forbidden, in any script; what a person is told; and how cheap it is to ask."""

import contextlib
import hashlib
import os
import subprocess
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_phantoms import phantom, refusal, same_in_space, write_enhanced, write_nifti, write_series

from BrainIACLib.errors import ScanError
from BrainIACLib.scans import list_series, read_scan


def test_missing_paths(tmp_path):
    assert "does not exist" in refusal(tmp_path / "nowhere.nii.gz")
    assert "does not exist" in refusal(tmp_path / "nowhere")
    assert "is not a valid path" in refusal(tmp_path / "a\0b.nii")
    (tmp_path / "file").write_text("x")
    for path in (tmp_path / "file" / "scan.nii", tmp_path / ("x" * 5000 + ".nii")):
        assert any(words in refusal(path) for words in ("cannot be read", "does not exist"))  # POSIX, Windows


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha", "scan.dcm", "scan.zip", "scan"])
def test_empty_files(tmp_path, name):
    (tmp_path / name).touch()
    assert "is an empty file (0 bytes)" in refusal(tmp_path / name)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha", "scan.dcm", "scan.zip", "scan"])
def test_text_under_any_name(tmp_path, name):
    (tmp_path / name).write_text("Dear colleague, " * 50)
    assert any(words in refusal(tmp_path / name) for words in ("not a NIfTI", "known format", "cannot be read as"))


def test_folders_without_dicom(tmp_path):
    assert "holds no DICOM images" in refusal(tmp_path)
    write_nifti(tmp_path / "scan.nii", phantom())
    assert "name a NIfTI, NRRD or MetaImage file" in refusal(tmp_path)
    with pytest.raises(ScanError, match="holds no DICOM files"):
        list_series(tmp_path / "scan.nii")
    with pytest.raises(ScanError, match="does not exist"):
        list_series(tmp_path / "nowhere")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="permissions do not bind the superuser")
def test_forbidden_files_for_real(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", phantom())
    path.chmod(0)
    assert "Permission denied" in refusal(path)


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.zip", "scan.dcm"])
def test_forbidden_files(tmp_path, monkeypatch, name):
    def forbid(self, *_, **__):
        raise PermissionError(13, "Permission denied", str(self))

    (tmp_path / name).write_bytes(b"x" * 500)
    monkeypatch.setattr(Path, "open", forbid)
    assert "Permission denied" in refusal(tmp_path / name)


def test_names_in_any_script(tmp_path):
    folder = tmp_path / "Jürgen Müller 日本 scans"
    folder.mkdir()
    path = write_nifti(folder / "T1 é – kopie (2).nii.gz", phantom())
    found = read_scan(path)
    assert same_in_space(found.image, phantom())
    assert found.name == "T1 é – kopie (2)"
    write_series(folder / "série ü", phantom())
    assert same_in_space(read_scan(folder / "série ü").image, phantom())


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere every name is Unicode")
def test_a_name_that_is_no_text_is_read_and_named(tmp_path):
    """In Latin-1, as old archives hold them; the name of the scan can be written anywhere."""
    plain = write_nifti(tmp_path / "scan.nii", phantom())
    path = plain.rename(os.fsdecode(os.fsencode(tmp_path) + b"/M\xfcller.nii"))
    found = read_scan(path)
    assert same_in_space(found.image, phantom())
    assert found.name == "M\ufffdller"
    found.name.encode()


def test_a_path_may_be_text_and_relative(tmp_path, monkeypatch):
    write_series(tmp_path / "visit.2", phantom())
    monkeypatch.chdir(tmp_path / "visit.2")
    found = read_scan(".")
    assert (found.name, found.path) == ("visit.2", Path("."))


def test_a_series_of_a_file_without_series(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", phantom())
    assert "has no DICOM series to choose" in refusal(path, series_uid="1.2.3")


def test_the_hash_is_that_of_the_file(tmp_path):
    path = write_nifti(tmp_path / "scan.nii.gz", phantom())
    assert read_scan(path).sha256 == hashlib.sha256(path.read_bytes()).hexdigest()


@settings(max_examples=100)
@given(
    name=st.sampled_from(["scan.nii", "scan.nii.gz", "scan.nrrd", "scan.mha", "scan.dcm"]),
    changes=st.lists(st.tuples(st.integers(0, 899), st.integers(0, 255)), max_size=4),
    kept=st.one_of(st.just(1.0), st.floats(0.0, 1.0)),
)
@pytest.mark.filterwarnings("error::RuntimeWarning")
def test_any_damage_is_read_or_refused_but_never_crashes(tmp_path, name, changes, kept, undamaged):
    content = bytearray((undamaged / name).read_bytes())
    for place, value in changes:
        content[place % len(content)] = value
    (tmp_path / name).write_bytes(content[: int(kept * len(content))])
    with contextlib.suppress(ScanError):
        assert read_scan(tmp_path / name).image.GetDimension() == 3


@pytest.fixture(scope="module")
def undamaged(tmp_path_factory):
    """A folder with a good file of each format."""
    folder = tmp_path_factory.mktemp("undamaged")
    image = read_scan(write_nifti(folder / "scan.nii", phantom())).image
    write_nifti(folder / "scan.nii.gz", phantom())
    for name in ("scan.nrrd", "scan.mha"):
        sitk.WriteImage(image, str(folder / name))
    write_enhanced(folder / "scan.dcm", phantom())
    return folder


def test_asking_for_the_room_is_cheap():
    """Neither torch nor pydicom nor anything else that a NIfTI does not need."""
    code = (
        "import sys, BrainIACLib.scans; "
        "print([name for name in ('torch', 'pydicom', 'scipy', 'nibabel', 'monai', 'dcm2niix', 'matplotlib') "
        "if name in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
