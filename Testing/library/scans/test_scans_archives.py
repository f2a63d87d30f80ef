"""Zip archives: read like a folder, never trusted, always cleaned up."""

import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
from scan_phantoms import phantom, refusal, same_in_space, write_nifti, write_series

from BrainIACLib import private_folder
from BrainIACLib.scans import archives, list_series, read_scan


@pytest.fixture(autouse=True)
def temporary_folder(tmp_path, monkeypatch):
    """Where archives are unpacked; empty again after every test, refused or read."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(private_folder, "_used", folder)
    yield folder
    assert list(folder.iterdir()) == []


@pytest.fixture
def series(tmp_path):
    return write_series(tmp_path / "series", phantom())


def zipped(path, members: dict, compression=zipfile.ZIP_DEFLATED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def test_a_zip_of_dicom_is_its_folder(tmp_path, series):
    path = zipped(tmp_path / "Scan é.zip", {f"Doe^Jane/{file.name}": file.read_bytes() for file in reversed(series)})
    found = read_scan(path)
    assert same_in_space(found.image, phantom())
    assert (found.path, found.name, found.format, found.modality) == (path, "Scan é", "DICOM", "MR")
    assert found.sha256 == read_scan(series[0].parent).sha256
    assert [summary.files for summary in list_series(path)] == [10]


@pytest.mark.parametrize("suffix", [".nii.gz", ".nii", ".nrrd", ".mha"])
def test_a_zip_of_one_image(tmp_path, suffix):
    file = write_nifti(tmp_path / "Doe.nii", phantom())
    if suffix != ".nii":
        sitk.WriteImage(read_scan(file).image, str(file := tmp_path / f"Doe{suffix}"))
    path = zipped(tmp_path / "scan.zip", {f"a/b/Doe{suffix}": file.read_bytes(), "a/notes.txt": "notes"})
    found = read_scan(path)
    assert same_in_space(found.image, phantom())
    assert (found.name, found.sha256) == ("scan", read_scan(file).sha256)


@pytest.mark.parametrize("suffix", [".hdr", ".nhdr", ".mhd"])
@pytest.mark.parametrize("folder", ["", "a/b/"])
def test_a_zip_of_a_header_and_its_voxels(tmp_path, suffix, folder):
    """Voxels may begin as an old DICOM file does."""
    scan = phantom()
    scan.voxels[:2, 0, 0] = 8, 0
    file = write_nifti(tmp_path / "Doe.hdr", scan)
    if suffix != ".hdr":
        sitk.WriteImage(read_scan(file).image, str(tmp_path / f"Doe{suffix}"))
        file.unlink()
        file.with_suffix(".img").unlink()
    members = {folder + name.name: name.read_bytes() for name in tmp_path.glob("Doe.*")}
    assert len(members) == 2
    found = read_scan(zipped(tmp_path / "scan.zip", members))
    assert same_in_space(found.image, scan)
    assert found.name == "scan"


@pytest.mark.parametrize("named", ["/etc/hostname", "../../secret.raw", "secret.raw", "{folder}/secret.raw"])
@pytest.mark.parametrize("name", ["scan.mha", "scan.mhd", "scan.nrrd", "scan.nhdr"])
def test_no_header_in_a_zip_reads_a_file_outside(tmp_path, named, name):
    voxels = phantom().voxels.tobytes(order="F")
    (tmp_path / "secret.raw").write_bytes(voxels)
    named = named.format(folder=tmp_path)
    if name.startswith("scan.m"):
        lines = ["ObjectType = Image", "NDims = 3", "DimSize = 40 36 10", "ElementSpacing = 1.5 2 5"]
        lines += ["ElementType = MET_USHORT", f"ElementDataFile = {named}", ""]
    else:
        lines = ["NRRD0004", "type: ushort", "dimension: 3", "sizes: 40 36 10", "spacings: 1.5 2 5", "endian: little"]
        lines += ["encoding: raw", f"data file: {named}", ""]
    path = zipped(tmp_path / "scan.zip", {f"a/{name}": "\n".join(lines)})
    assert "data file is missing" in refusal(path)
    inside = zipped(tmp_path / "inside.zip", {f"a/{name}": "\n".join(lines), "a/secret.raw": voxels})
    if named == "secret.raw":
        assert np.array_equal(sitk.GetArrayFromImage(read_scan(inside).image).transpose(), phantom().voxels)


@pytest.mark.parametrize("compression", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2, zipfile.ZIP_DEFLATED])
def test_a_damaged_member_of_any_compression_is_a_damaged_archive(tmp_path, compression):
    content = write_nifti(tmp_path / "scan.nii", phantom()).read_bytes()
    path = zipped(tmp_path / "scan.zip", {"scan.nii": content}, compression)
    assert same_in_space(read_scan(path).image, phantom())
    whole = path.read_bytes()
    for place in np.random.default_rng(0).integers(40, len(whole) - 120, 12):
        damaged = bytearray(whole)
        damaged[place] ^= 255
        path.write_bytes(damaged)
        assert "damaged zip archive" in refusal(path) or "unknown compression" in refusal(path)


def test_a_bomb_of_one_scan_is_refused_by_its_ratio_and_what_the_disk_cannot_hold_by_its_size(tmp_path, monkeypatch):
    path = zipped(tmp_path / "bomb.zip", {"scan.nii": bytes(300 << 20)})
    assert "as no scan does" in refusal(path)
    monkeypatch.setattr("BrainIACLib.scans.memory.SPARED", 1 << 60)
    content = write_nifti(tmp_path / "scan.nii", phantom()).read_bytes()
    assert "the disk for temporary files" in refusal(zipped(tmp_path / "scan.zip", {"scan.nii": content}))


def test_what_a_mac_adds_is_left_out(tmp_path):
    content = write_nifti(tmp_path / "scan.nii", phantom()).read_bytes()
    members = {"scan.nii": content, "__MACOSX/._scan.nii": b"x", "._other.nii": b"x", ".DS_Store": b"x"}
    assert same_in_space(read_scan(zipped(tmp_path / "scan.zip", members)).image, phantom())


def test_no_member_gets_out_of_the_folder(tmp_path, series):
    """Path traversal, absolute paths, links and names that no file system takes are read as plain numbered files."""
    path = tmp_path / "scan.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for number, file in enumerate(series):
            name = ("../../evil", f"{tmp_path}/evil", "..\\evil", "x" * 5000, "con/aux:?*")[number % 5] + str(number)
            archive.writestr(name, file.read_bytes())
        link = zipfile.ZipInfo("link.dcm")
        link.create_system, link.external_attr = 3, 0o120777 << 16
        archive.writestr(link, str(series[0]))
    before = sorted(tmp_path.rglob("*"))
    assert same_in_space(read_scan(path).image, phantom())
    assert sorted(tmp_path.rglob("*")) == before


def test_too_many_members(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_MEMBERS", 5)
    assert "more than any study" in refusal(zipped(tmp_path / "scan.zip", {str(n): b"" for n in range(6)}))


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path, monkeypatch):
    monkeypatch.setattr(archives, "MOST_BYTES", 2**20)
    path = zipped(tmp_path / "bomb.zip", {str(n): bytes(2**19) for n in range(3)})
    assert path.stat().st_size < 5000
    assert "more than any study" in refusal(path)


def test_a_member_that_lies_about_its_size_is_damaged(tmp_path):
    """zipfile stops at the declared size, so the limit on declared sizes holds."""
    path = zipped(tmp_path / "scan.zip", {"scan.nii": bytes(2**20)})
    content = path.read_bytes()
    path.write_bytes(content.replace((2**20).to_bytes(4, "little"), (100).to_bytes(4, "little")))
    assert "damaged zip archive" in refusal(path)


@pytest.mark.parametrize("kept", [0.3, 0.98])
def test_truncated(tmp_path, series, kept):
    path = zipped(tmp_path / "scan.zip", {file.name: file.read_bytes() for file in series})
    path.write_bytes(path.read_bytes()[: int(path.stat().st_size * kept)])
    assert "damaged zip archive" in refusal(path)


def test_damaged_content(tmp_path):
    noise = np.random.default_rng(0).bytes(20000)
    path = zipped(tmp_path / "scan.zip", {"scan.nii": noise}, zipfile.ZIP_STORED)
    content = bytearray(path.read_bytes())
    content[5000] ^= 1
    path.write_bytes(content)
    assert "damaged zip archive" in refusal(path)


@pytest.mark.parametrize(
    ("offset_local", "offset_central", "value", "words"),
    [(6, 8, 1, "protected by a password"), (8, 10, 99, "unknown compression")],
)
def test_what_cannot_be_unpacked_is_said(tmp_path, offset_local, offset_central, value, words):
    """The flag of encryption and the method field, in both headers of the only member (APPNOTE 4.3.7, 4.3.12)."""
    path = zipped(tmp_path / "scan.zip", {"scan.nii": b"x" * 100})
    content = bytearray(path.read_bytes())
    content[offset_local] = value
    content[content.index(b"PK\x01\x02") + offset_central] = value
    path.write_bytes(content)
    assert words in refusal(path)


def test_nothing_or_too_much_inside(tmp_path):
    assert "holds no image" in refusal(zipped(tmp_path / "empty.zip", {}))
    assert "holds no image" in refusal(zipped(tmp_path / "text.zip", {"Doe.txt": "letter"}))
    assert "lacks its other half" in refusal(zipped(tmp_path / "half.zip", {"Doe.hdr": b"x"}))
    assert "holds 2 image files" in refusal(zipped(tmp_path / "two.zip", {"Doe.nii": b"x", "Jane.nrrd": b"x"}))
    assert "lacks 1 of 10 slices" in refusal(_series_with_a_gap(tmp_path))


def _series_with_a_gap(tmp_path):
    files = write_series(tmp_path / "gap", phantom(), [k for k in range(10) if k != 4])
    return zipped(tmp_path / "gap.zip", {file.name: file.read_bytes() for file in files})
