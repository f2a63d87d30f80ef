"""NIfTI: voxels and places against nibabel, the choice of orientation against ITK, and everything that is refused."""

import contextlib
import gzip
import struct
import time
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st
from scan_phantoms import matrix_of, phantom, phantoms, refusal, same_in_space, values_of, write_nifti
from scipy.spatial.transform import Rotation

from BrainIACLib.errors import ScanError
from BrainIACLib.scans import read_scan
from BrainIACLib.scans.grid import largest_distance

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def patched(path: Path, offset: int, layout: str, *values) -> Path:
    """Change a field of a NIfTI-1 header that nibabel would not let anybody write."""
    content = bytearray(path.read_bytes())
    struct.pack_into(layout, content, offset, *values)
    path.write_bytes(content)
    return path


@settings(max_examples=60)
@given(
    scan=phantoms(),
    form=st.sampled_from(["qform", "sform", "both"]),
    version=st.sampled_from([nibabel.Nifti1Image, nibabel.Nifti2Image]),
)
def test_any_pose_is_read_where_nibabel_puts_it(tmp_path_factory, scan, form, version):
    """Law 1 of the house: oblique, permuted, mirrored and anisotropic scans are ordinary cases."""
    image = version(scan.voxels, None)
    image.set_qform(scan.affine, 0 if form == "sform" else 1)
    image.set_sform(scan.affine, 0 if form == "qform" else 1)
    image.header.set_zooms(np.linalg.norm(scan.axes, axis=0))
    path = tmp_path_factory.mktemp("pose") / "scan.nii"
    nibabel.save(image, path)

    found = read_scan(path)

    expected = RAS_TO_LPS @ nibabel.load(path).affine
    assert largest_distance(matrix_of(found.image), expected, scan.voxels.shape) < 1e-3
    assert np.array_equal(values_of(found.image), scan.voxels)
    assert found.warnings == ()


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
@pytest.mark.parametrize("endianness", ["<", ">"])
def test_every_number_type_and_byte_order_is_kept(tmp_path, dtype, endianness):
    voxels = (phantom().voxels % 120).astype(dtype)
    header = nibabel.Nifti1Header(endianness=endianness)
    header.set_data_dtype(dtype)
    nibabel.save(nibabel.Nifti1Image(voxels, phantom().affine, header, dtype=dtype), tmp_path / "scan.nii.gz")
    found = values_of(read_scan(tmp_path / "scan.nii.gz").image)
    assert found.dtype == np.dtype(dtype)
    assert np.array_equal(found, voxels)


@pytest.mark.parametrize(
    ("slope", "intercept"), [(0.5, 10.0), (2.0, -5.0), (0.0, 10.0), (float("nan"), 0.0), (1.0, 3.0)]
)
@pytest.mark.parametrize("dtype", ["i2", "u2", "f4"])
def test_scaling_is_nibabels(tmp_path, slope, intercept, dtype):
    path = write_nifti(tmp_path / "scan.nii", phantom(), phantom().voxels.astype(dtype))
    patched(path, 112, "<2f", slope, intercept)
    np.testing.assert_allclose(values_of(read_scan(path).image), nibabel.load(path).get_fdata(), rtol=1e-6)


@pytest.mark.parametrize("qform_code", [0, 1, 2, 4])
@pytest.mark.parametrize("sform_code", [0, 1, 2, 4])
def test_orientation_is_chosen_as_itk_and_slicer_do(tmp_path, qform_code, sform_code):
    scan = phantom()
    turned = Rotation.from_euler("z", 10, degrees=True).as_matrix() @ scan.affine[:3, :3]
    image = nibabel.Nifti1Image(scan.voxels, None)
    image.set_qform(scan.affine, qform_code)
    image.set_sform(np.vstack([np.column_stack([turned, [30.0, 0, 0]]), [0, 0, 0, 1]]), sform_code)
    image.header.set_zooms(np.linalg.norm(turned, axis=0))
    nibabel.save(image, tmp_path / "scan.nii")

    found = read_scan(tmp_path / "scan.nii")

    itk = sitk.ReadImage(str(tmp_path / "scan.nii"))
    assert largest_distance(matrix_of(found.image), matrix_of(itk), scan.voxels.shape) < 1e-3
    warning = "".join(found.warnings)
    if qform_code and sform_code:
        assert "10.0 degrees" in warning
        assert ("the sform is used" if sform_code == 1 else "the qform is used") in warning
    else:
        assert ("left and right may be swapped" in warning) == (qform_code == sform_code == 0)


@pytest.mark.parametrize(("unit", "to_mm"), [("meter", 1e3), ("micron", 1e-3), ("unknown", 1.0)])
@pytest.mark.parametrize("form", ["qform", "sform"])
def test_units_become_millimetres(tmp_path, unit, to_mm, form):
    scan = phantom()
    in_unit = np.diag([1 / to_mm] * 3 + [1.0]) @ scan.affine
    image = nibabel.Nifti1Image(scan.voxels, None)
    image.header.set_xyzt_units(unit)
    image.set_qform(in_unit, int(form == "qform"))
    image.set_sform(in_unit, int(form == "sform"))
    image.header.set_zooms(np.linalg.norm(in_unit[:3, :3], axis=0))
    nibabel.save(image, tmp_path / "scan.nii")
    assert same_in_space(read_scan(tmp_path / "scan.nii").image, scan)


@pytest.mark.parametrize("shear", [5e-4, 5e-3, 0.1])
def test_a_sheared_sform_is_straightened_only_while_no_voxel_moves_by_a_millimetre(tmp_path, shear):
    scan = phantom(size=(64, 64, 20), spacing=(3.0, 3.0, 5.0))
    sheared = scan.affine @ np.array([[1, shear, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(scan.voxels, None)
    image.set_sform(sheared, 2)
    image.header.set_zooms((3.0, 3.0, 5.0))
    nibabel.save(image, tmp_path / "scan.nii")
    with pytest.raises(RuntimeError, match="orthonormal"):  # why ITK is not asked
        sitk.ReadImage(str(tmp_path / "scan.nii"))
    if shear == 0.1:
        assert "sheared axes" in refusal(tmp_path / "scan.nii")
        return
    found = read_scan(tmp_path / "scan.nii")
    moved = largest_distance(matrix_of(found.image), RAS_TO_LPS @ sheared, scan.voxels.shape)
    assert moved < (0.1 if shear == 5e-4 else 1.0)
    assert any("right angles" in warning for warning in found.warnings) == (shear == 5e-3)


def test_qform_of_a_sheared_sform_is_used(tmp_path):
    scan = phantom()
    image = nibabel.Nifti1Image(scan.voxels, None)
    image.set_qform(scan.affine, 1)
    image.set_sform(scan.affine @ np.array([[1, 0.2, 0, 0], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]]), 1)
    nibabel.save(image, tmp_path / "scan.nii")
    found = read_scan(tmp_path / "scan.nii")
    assert same_in_space(found.image, scan)
    assert "the qform is used" in found.warnings[0]


@pytest.mark.parametrize("value", [0.0, float("nan"), float("inf")])
def test_impossible_voxel_sizes(tmp_path, value):
    """With a good sform the voxel size is there; with a qform alone it is not, where ITK would take 1 mm."""
    scan = phantom()
    path = patched(write_nifti(tmp_path / "with_sform.nii", scan), 80, "<f", value)
    assert same_in_space(read_scan(path).image, scan)
    path = patched(write_nifti(tmp_path / "qform_only.nii", scan, sform_code=0), 80, "<f", value)
    assert "impossible voxel size" in refusal(path)


def test_an_sform_of_nan_is_no_sform(tmp_path):
    path = patched(write_nifti(tmp_path / "scan.nii", phantom()), 280, "<f", float("nan"))
    assert same_in_space(read_scan(path).image, phantom())


def test_pixdim_against_sform(tmp_path):
    path = patched(write_nifti(tmp_path / "scan.nii", phantom(), qform_code=0), 80, "<f", 3.0)
    found = read_scan(path)
    assert same_in_space(found.image, phantom())
    assert "1.5 x 2 x 5 mm" in found.warnings[0]
    assert "the sform is used" in found.warnings[0]


@pytest.mark.parametrize("named", [".hdr", ".img"])
def test_pairs_are_read_by_either_half(tmp_path, named):
    scan = phantom()
    nibabel.save(nibabel.Nifti1Pair(scan.voxels, scan.affine), tmp_path / "pair.img")
    found = read_scan(tmp_path / f"pair{named}")
    assert same_in_space(found.image, scan)
    assert found.name == "pair"
    (tmp_path / "pair.img").unlink()
    (tmp_path / "pair.img").touch() if named == ".img" else None
    assert ("0 bytes" if named == ".img" else "lacks its other half") in refusal(tmp_path / f"pair{named}")


def test_analyze_is_read_with_a_warning(tmp_path):
    nibabel.save(nibabel.AnalyzeImage(phantom().voxels.astype("i2"), np.diag([1.5, 2, 5, 1])), tmp_path / "old.img")
    found = read_scan(tmp_path / "old.hdr")
    assert np.array_equal(values_of(found.image), phantom().voxels)
    assert "left and right may be swapped" in found.warnings[0]
    assert found.image.GetSpacing() == pytest.approx((1.5, 2, 5))


def test_the_suffix_may_lie_about_compression(tmp_path):
    plain = write_nifti(tmp_path / "plain.nii", phantom())
    (tmp_path / "packed.nii").write_bytes(gzip.compress(plain.read_bytes()))
    plain.rename(tmp_path / "plain.nii.gz")
    assert same_in_space(read_scan(tmp_path / "packed.nii").image, phantom())
    assert same_in_space(read_scan(tmp_path / "plain.nii.gz").image, phantom())


@pytest.mark.parametrize("name", ["scan.nii", "scan.nii.gz"])
@pytest.mark.parametrize("kept", [0.1, 0.5, 0.999])
def test_truncated_files_are_refused(tmp_path, name, kept):
    """ITK reads them as if nothing were missing."""
    path = write_nifti(tmp_path / name, phantom())
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    assert "truncated or damaged" in refusal(path)


def test_a_flipped_bit_in_compressed_voxels_is_noticed(tmp_path):
    path = write_nifti(tmp_path / "scan.nii.gz", phantom(), np.zeros((40, 36, 10), "u1"))
    content = bytearray(gzip.compress(gzip.decompress(path.read_bytes()), compresslevel=0))
    content[-1000] ^= 1  # stored, not deflated: only the checksum can tell
    path.write_bytes(content)
    assert "truncated or damaged" in refusal(path)


@pytest.mark.parametrize("longer", [0, 64])
def test_no_flipped_bit_of_a_compressed_file_gives_other_voxels(tmp_path, longer):
    """Even where the stream goes on behind the voxels, so that they end before its check sum."""
    scan = phantom()
    plain = write_nifti(tmp_path / "scan.nii", scan).read_bytes() + bytes(longer)
    whole = gzip.compress(plain, compresslevel=1)
    path, rng = tmp_path / "scan.nii.gz", np.random.default_rng(longer)
    for place in rng.integers(0, len(whole), 200):
        damaged = bytearray(whole)
        damaged[place] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        with contextlib.suppress(ScanError):
            found = read_scan(path)
            assert np.array_equal(values_of(found.image), scan.voxels)
            assert bool(found.warnings) == bool(longer)


def test_streams_one_after_another_are_one_file(tmp_path):
    """As bgzip and pigz write them; the padding of a tape does no harm."""
    content = write_nifti(tmp_path / "scan.nii", phantom()).read_bytes()
    pieces = [gzip.compress(content[start : start + 5000]) for start in range(0, len(content), 5000)]
    (tmp_path / "scan.nii.gz").write_bytes(b"".join(pieces) + bytes(700))
    assert same_in_space(read_scan(tmp_path / "scan.nii.gz").image, phantom())
    (tmp_path / "scan.nii.gz").write_bytes(b"".join(pieces[:-1]))
    assert "truncated or damaged" in refusal(tmp_path / "scan.nii.gz")


@pytest.mark.parametrize(
    ("packed", "content"),
    [(False, b"Dear colleague, " * 100), (True, gzip.compress(b"x" * 999, mtime=0))],
    ids=["plain", "packed"],
)
def test_text_is_no_image(tmp_path, packed, content):
    path = tmp_path / ("letter.nii.gz" if packed else "letter.nii")
    path.write_bytes(content)
    assert "is not a NIfTI image" in refusal(path)


@pytest.mark.parametrize("name", ["huge.nii", "huge.nii.gz"])
def test_absurd_sizes_are_refused_from_the_header(tmp_path, name):
    path = patched(write_nifti(tmp_path / "scan.nii", phantom()), 42, "<3h", 30000, 30000, 30000)
    (tmp_path / name).write_bytes(gzip.compress(path.read_bytes()) if name.endswith("gz") else path.read_bytes())
    started = time.process_time()
    assert "30000 x 30000 x 30000 voxels, more than any brain MRI" in refusal(tmp_path / name)
    assert time.process_time() - started < 5  # no memory is asked for


def test_more_voxels_than_a_gzip_can_hold_are_not_allocated(tmp_path):
    path = patched(write_nifti(tmp_path / "scan.nii", phantom()), 42, "<3h", 1000, 1000, 1000)
    patched(path, 80, "<3f", 0.2, 0.2, 0.2)
    patched(path, 252, "<2h", 0, 0)
    (tmp_path / "scan.nii.gz").write_bytes(gzip.compress(path.read_bytes()))
    assert "truncated" in refusal(tmp_path / "scan.nii.gz")


def test_many_frames_are_offered_from_the_header_alone(tmp_path):
    """300 frames of 256 x 256 x 180: 7 GB that are not there and would not fit."""
    path = patched(write_nifti(tmp_path / "scan.nii", phantom()), 40, "<5h", 4, 256, 256, 180, 300)
    patched(patched(path, 80, "<3f", 1.0, 1.0, 1.0), 252, "<2h", 0, 0)
    assert "holds 300 volumes" in refusal(path)


@pytest.mark.parametrize("name", ["series.nii", "series.nii.gz"])
def test_one_frame_of_four_dimensions(tmp_path, name):
    scan = phantom()
    frames = np.stack([scan.voxels, scan.voxels + 1, scan.voxels + 2], -1)
    path = write_nifti(tmp_path / name, scan, frames)
    message = refusal(path)
    assert "holds 3 volumes" in message
    assert "choose one, 0 to 2" in message
    for frame in range(3):
        assert np.array_equal(values_of(read_scan(path, frame=frame).image), frames[..., frame])
    for frame in (3, -1):
        assert "choose one, 0 to 2" in refusal(path, frame=frame)


def test_a_single_frame_needs_no_choice(tmp_path):
    path = write_nifti(tmp_path / "scan.nii", phantom(), phantom().voxels[..., None])
    assert same_in_space(read_scan(path).image, phantom())
    assert same_in_space(read_scan(path, frame=0).image, phantom())
    assert "holds a single volume and has no frame 1; choose none" in refusal(path, frame=1)


@pytest.mark.parametrize(
    ("voxels", "words"),
    [
        (np.ones((64, 64), "u2"), "single slice"),
        (np.ones((64, 64, 1), "u2"), "single slice"),
        (np.ones((64, 64, 1, 30), "u2"), "single slice"),
        (np.ones((40, 36, 10, 1, 3), "f4"), "3 values in each voxel"),
        (np.ones((40, 36, 10), "c8"), "complex numbers"),
        (np.ones((40, 36, 10), [("R", "u1"), ("G", "u1"), ("B", "u1")]), "color image"),
    ],
)
def test_other_kinds_are_named(tmp_path, voxels, words):
    path = tmp_path / "scan.nii"
    nibabel.save(nibabel.Nifti1Image(voxels, phantom().affine), path)
    assert words in refusal(path)


def test_stored_orientations_that_disagree_in_real_scans(shared_data):
    """Measured with nibabel: the corners of sub-29 lie up to 15.5 mm apart."""
    for subject, millimetres in (("21", 4.9), ("29", 15.5), ("56", 15.3)):
        path = shared_data / "age" / f"ds002748_sub-{subject}_T1w.nii.gz"
        found = read_scan(path)
        header = nibabel.load(path).header
        distance = largest_distance(header.get_qform(), header.get_sform(), header.get_data_shape())
        assert distance == pytest.approx(millimetres, abs=0.05)
        assert f"up to {millimetres} mm" in found.warnings[0]
        itk = sitk.ReadImage(str(path))
        assert largest_distance(matrix_of(found.image), matrix_of(itk), itk.GetSize()) < 1e-3
