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
            assert read_scan(shared_data / "bad" / name).warnings == ()
        else:
            assert words in refusal(shared_data / "bad" / name)


def test_every_good_scan_is_read(shared_data):
    """All raw scans, atlases and tumour cases; the rest are alike and would take a minute."""
    files = [*(shared_data / "scans").iterdir(), *(shared_data / "multiseq").glob("BraTS*_FLAIR*")]
    assert len(files) >= 30
    for file in files:
        found = read_scan(file)
        assert found.warnings == ()
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
