"""What counts as a usable brain MRI, by its size and by its values."""

import numpy as np
import pytest
import SimpleITK as sitk
from scan_phantoms import phantom, refusal, values_of, write_nifti

from BrainIACLib.scans import read_scan


def head(tissue, air, skull=1000.0, size=(64, 64, 24), noise=5.0) -> np.ndarray:
    """A ball of ``tissue`` in a shell of ``skull`` in ``air``, float32, x y z."""
    x, y, z = np.meshgrid(*[np.linspace(-1, 1, n) for n in size], indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    values = np.where(radius < 0.85, tissue, np.where(radius < 0.92, skull, air))
    return (values + np.random.default_rng(0).normal(0, noise, size)).astype("f4")


@pytest.mark.parametrize(
    ("size", "spacing"),
    [
        ((128, 128, 18), (1.8, 1.8, 6.5)),  # thick-slice clinical
        ((64, 64, 8), (3.5, 3.5, 5.0)),
        ((45, 54, 45), (4.0, 4.0, 4.0)),
    ],
)
def test_sizes_that_pass(tmp_path, size, spacing):
    path = write_nifti(tmp_path / "scan.nii", phantom(size, spacing))
    assert read_scan(path).image.GetSize() == size


@pytest.mark.parametrize(
    ("size", "spacing", "words"),
    [
        ((7, 5, 3), (2, 2, 2), "too few voxels (7 x 5 x 3 voxels)"),
        ((256, 256, 5), (1, 1, 10), "too few voxels"),
        ((20, 20, 20), (10, 10, 10), "too few voxels"),
        ((64, 64, 10), (3, 3, 3), "covers too little of a brain (192 x 192 x 30 mm)"),
        ((64, 64, 40), (0.003, 0.003, 0.003), "covers too little"),
        ((64, 64, 40), (3, 3, 30), "larger than a head (192 x 192 x 1200 mm)"),
    ],
)
def test_sizes_that_are_refused(tmp_path, size, spacing, words):
    assert words in refusal(write_nifti(tmp_path / "scan.nii", phantom(size, spacing)))


@pytest.mark.parametrize("value", [0, 17])
def test_constant_volumes_are_empty(tmp_path, value):
    voxels = np.full(phantom().voxels.shape, value, "u2")
    assert f"is empty: (nearly) every voxel has the value {value}" in refusal(
        write_nifti(tmp_path / "scan.nii", phantom(), voxels)
    )
    voxels[3, 4, 5] = 1000
    assert "is empty" in refusal(write_nifti(tmp_path / "scan.nii", phantom(), voxels))


def test_a_brain_mask_is_no_empty_volume(tmp_path):
    mask = (phantom().voxels > 1500).astype("u1")
    assert 0 < mask.mean() < 0.5
    assert np.array_equal(values_of(read_scan(write_nifti(tmp_path / "mask.nii", phantom(), mask)).image), mask)


def test_voxels_that_are_no_numbers(tmp_path):
    voxels = phantom().voxels.astype("f4")
    voxels[0, 0, :3] = [np.nan, np.inf, -np.inf]
    path = write_nifti(tmp_path / "scan.nii", phantom(), voxels)
    found = read_scan(path)
    lowest = phantom().voxels[0, 0, 3:].min().clip(max=phantom().voxels.min(where=np.isfinite(voxels), initial=65535))
    expected = np.where(np.isfinite(voxels), voxels, lowest)
    assert np.array_equal(values_of(found.image), expected)
    assert "3 voxels are NaN or infinite" in found.warnings[0]
    assert found.image.GetSpacing() == pytest.approx((1.5, 2, 5))
    voxels[:] = np.nan
    assert "holds no numbers at all" in refusal(write_nifti(tmp_path / "scan.nii", phantom(), voxels))


@pytest.mark.parametrize("air", [-1000.0, -1024.0])
def test_hounsfield_units_are_a_ct(tmp_path, air):
    path = write_nifti(tmp_path / "scan.nii", phantom((64, 64, 24), (3, 3, 6)), head(tissue=35.0, air=air))
    assert "is a CT by its values" in refusal(path)


@pytest.mark.parametrize(
    "voxels",
    [
        head(tissue=400.0, air=0.0),
        head(tissue=1.0, air=-1.2, skull=-0.5, noise=0.3),  # z-scores
        head(tissue=-200.0, air=-1000.0, noise=100.0),  # shifted so that the background is at -1000
        np.random.default_rng(0).integers(-4096, 4096, (64, 64, 24)).astype("f4"),  # phase
        np.random.default_rng(0).normal(0, 500, (64, 64, 24)).astype("f4"),
    ],
)
def test_mr_with_negative_values_is_no_ct(tmp_path, voxels):
    read_scan(write_nifti(tmp_path / "scan.nii", phantom((64, 64, 24), (3, 3, 6)), voxels))


CUT_OFF = "cut off at the top"
BAD = {
    "complex.nii.gz": "complex numbers",
    "ct_perfusion.nii.gz": "3 values in each voxel",
    "localizer_single_slice.zip": "single slice",
    "low_res.nii.gz": "too few voxels",
    "minimal.nii.gz": "covers too little of a brain",
    "orientation_AIL.nii.gz": None,
    "orientation_LIA.nii.gz": None,
    "orientation_RPS.nii.gz": None,
    "spine_T1.nii.gz": None,  # 3D MR: what it shows is the classifier's to say
    "spine_T2.nii.gz": None,
    "sub-01_ses-01_dwi_desc-b0_dwi.nii.gz": None,
}


def test_every_odd_file_gets_its_answer(shared_data):
    assert {file.name for file in (shared_data / "bad").iterdir()} == set(BAD)
    for name, words in BAD.items():
        if words is None:
            warnings = read_scan(shared_data / "bad" / name).warnings
            assert [CUT_OFF in warning for warning in warnings] == [True] * name.startswith("orientation")
        else:
            assert words in refusal(shared_data / "bad" / name)


def test_every_good_scan_is_read(shared_data):
    """All raw scans, atlases and tumor cases; the rest are alike and would take a minute."""
    files = [*(shared_data / "scans").iterdir(), *(shared_data / "multiseq").glob("BraTS*_FLAIR*")]
    assert len(files) >= 30
    for file in files:
        found = read_scan(file)
        over_stripped = file.name.startswith("BrainIAC_subpixar009")
        assert [CUT_OFF in warning for warning in found.warnings] == [True] * over_stripped
        assert (found.image.GetDimension(), found.modality) == (3, None)


def test_one_brain_in_three_orders_is_one_brain_in_space(shared_data):
    images = [read_scan(shared_data / "bad" / f"orientation_{order}.nii.gz").image for order in ("AIL", "LIA", "RPS")]
    shapes = {image.GetSize() for image in images}
    assert len(shapes) == 3
    for other in images[1:]:
        moved = sitk.Resample(other, images[0], sitk.Transform(), sitk.sitkLinear, 0.0)
        a, b = values_of(images[0]).ravel(), values_of(moved).ravel()
        assert np.corrcoef(a, b)[0, 1] > 0.98
        mirrored = sitk.GetImageFromArray(sitk.GetArrayFromImage(other)[:, :, ::-1])
        mirrored.CopyInformation(other)
        mirrored = sitk.Resample(mirrored, images[0], sitk.Transform(), sitk.sitkLinear, 0.0)
        assert np.corrcoef(a, values_of(mirrored).ravel())[0, 1] < 0.97


# --- What no measured image has ---------------------------------------------------------------------------------------


def small_brain() -> np.ndarray:
    """Gray and white matter with noise, on exact zero; (x, y, z)."""
    x, y, z = np.meshgrid(*[np.linspace(-1.2, 1.2, n) for n in (60, 60, 48)], indexing="ij")
    radius = np.sqrt(x**2 + y**2 + z**2)
    noise = np.random.default_rng(0).normal(scale=0.06, size=radius.shape)
    return np.where(radius < 1, np.where(radius < 0.7, 1.0, 0.7) + noise, 0).astype(np.float32)


def written(tmp_path, voxels):
    return write_nifti(tmp_path / "scan.nii", phantom(size=voxels.shape, spacing=(3, 3, 3)), voxels)


def test_a_plain_brain_has_no_doubt(tmp_path):
    assert read_scan(written(tmp_path, small_brain())).warnings == ()


@pytest.mark.parametrize("tissue", [0.7, 1.0])
def test_a_map_of_probabilities_is_doubted(tmp_path, tissue):
    probability = np.exp(-(((small_brain() - tissue) / 0.15) ** 2)) * (small_brain() > 0)
    assert "a map of probabilities" in read_scan(written(tmp_path, probability)).warnings[0]


@pytest.mark.parametrize("tissue", ["gm", "wm"])
def test_real_maps_are_doubted(shared_data, tissue):
    path = shared_data / "atlas" / f"mni_icbm152_{tissue}_sym_09a_1mm.nii.gz"
    assert CUT_OFF in read_scan(path).warnings[-1]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_every_third_slice_empty_is_refused_and_a_single_one_said(tmp_path, axis):
    voxels = np.moveaxis(small_brain(), axis, 0).copy()
    voxels[20] = 0
    assert "1 of " in read_scan(written(tmp_path, np.moveaxis(voxels, 0, axis))).warnings[0]
    voxels[::3] = 0
    assert "empty slices" in refusal(written(tmp_path, np.moveaxis(voxels, 0, axis)))


@pytest.mark.parametrize("fill", [-32768, -9999, -1024, 30000])
def test_fill_values_are_set_aside_and_said(tmp_path, fill):
    plain = (1000 * small_brain() + 200 * (small_brain() > 0)).astype("i2")
    padded = plain.copy()
    padded[:8] = fill
    found = read_scan(written(tmp_path, padded))
    assert np.array_equal(sitk.GetArrayFromImage(found.image).transpose(), np.where(padded == fill, 0, padded))
    assert f"have the value {fill}, far from all others" in found.warnings[0]


def test_labels_masks_and_zero_are_no_fill_values(tmp_path):
    for voxels in ((small_brain() > 0).astype("u1"), np.digitize(small_brain(), [0.1, 0.8, 0.95]).astype("i2") * 40):
        assert np.array_equal(sitk.GetArrayFromImage(read_scan(written(tmp_path, voxels)).image).transpose(), voxels)
