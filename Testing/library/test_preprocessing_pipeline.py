"""The whole way to the template grid and back: geometry, record, progress, stopping (U-08, D-13)."""

import dataclasses
import json

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from BrainIACLib.errors import Cancelled, PreprocessingError
from BrainIACLib.job import Job
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.pipeline import standardise, to_native
from BrainIACLib.preprocessing.registration import Motion, turn_about
from BrainIACLib.preprocessing.resampling import index_to_point
from BrainIACLib.preprocessing.standardised import Standardised
from BrainIACLib.preprocessing.template import icbm152


def scan(turn=(8.0, -12.0, 5.0), spacing=(1.2, 1.2, 4.0), code="PIR", background=0.0) -> tuple[sitk.Image, np.ndarray]:
    """The template brain as an oblique, anisotropic scan with permuted axes, a bright off-center blob in it.

    Returns the scan and where the blob is (mm, LPS).
    """
    template = icbm152()
    centre = np.array([0.0, 15.0, 5.0])
    matrix = turn_about(np.radians(turn))
    move = Motion(matrix, centre + np.array([12.0, -8.0, 20.0]) - matrix @ centre)
    blob = np.array([-32.0, 30.0, 25.0])
    voxels = sitk.GetArrayFromImage(template.image)
    to_point, origin = index_to_point(template.image)
    places = np.stack(np.meshgrid(*(np.arange(n) for n in voxels.shape), indexing="ij")[::-1], -1) @ to_point.T + origin
    voxels[np.linalg.norm(places - blob, axis=-1) < 9] = 600
    marked = sitk.GetImageFromArray(voxels)
    marked.CopyInformation(template.image)
    grid = sitk.Image([int(n) for n in np.ceil(np.array([200, 230, 200]) / spacing)], sitk.sitkFloat32)
    grid.SetSpacing(spacing)
    grid.SetDirection(turn_about(np.radians([6.0, 4.0, -9.0])).ravel().tolist())
    middle = grid.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in grid.GetSize()])
    grid.SetOrigin((move(centre) - np.array(middle)).tolist())
    grid = sitk.DICOMOrient(grid, code)
    inside = sitk.Resample(template.mask, grid, move.inverse().transform(centre), sitk.sitkNearestNeighbor, 0)
    image = sitk.Resample(marked, grid, move.inverse().transform(centre), sitk.sitkLinear, 0.0)
    return sitk.Mask(sitk.Maximum(image, 1.0), inside, background), move(blob)


def middle_of(image: sitk.Image, level: float) -> np.ndarray:
    """Center of mass (mm, LPS) of what exceeds the level."""
    matrix, origin = index_to_point(image)
    return (np.argwhere(sitk.GetArrayFromImage(image) > level)[:, ::-1] @ matrix.T + origin).mean(0)


@pytest.fixture(scope="module")
def done():
    image, blob = scan()
    steps: list[tuple[str, float]] = []
    result = standardise(image, job=Job(lambda name, fraction: steps.append((name, fraction))))
    return image, blob, result, steps


def test_a_blob_comes_back_to_its_own_grid_within_half_a_voxel(done):
    """D-13 and test idea 3: there and back through bias field, registration and one resampling."""
    image, blob, result, _ = done
    heat = sitk.Cast(result.image > 350, sitk.sitkFloat32)
    back = to_native(heat, result)
    assert back.GetSize() == image.GetSize()
    for name in ("Origin", "Spacing", "Direction"):
        assert getattr(back, f"Get{name}")() == getattr(image, f"Get{name}")()
    voxel = (
        np.array(image.GetDirection()).reshape(3, 3).T @ (middle_of(back, 0.5) - blob) / np.array(image.GetSpacing())
    )
    assert np.abs(voxel).max() < 0.5


def test_the_blob_lies_where_the_template_has_it(done):
    _, _, result, _ = done
    assert np.linalg.norm(middle_of(result.image, 350) - [-32.0, 30.0, 25.0]) < 1.0


def test_what_comes_out(done):
    image, _, result, _ = done
    template = icbm152()
    for part in (result.image, result.mask):
        assert part.GetSize() == template.image.GetSize()
        np.testing.assert_allclose(part.GetOrigin(), template.image.GetOrigin())
    assert result.image.GetPixelID() == sitk.sitkFloat32
    voxels, mask = sitk.GetArrayFromImage(result.image), sitk.GetArrayFromImage(result.mask)
    assert (voxels[mask == 0] == 0).all()
    assert np.isfinite(voxels).all()
    overlap = mask & sitk.GetArrayFromImage(template.mask)
    assert 2 * overlap.sum() / (mask.sum() + sitk.GetArrayFromImage(template.mask).sum()) > 0.95
    assert result.native_mask.GetSize() == image.GetSize()
    assert result.native is image


def test_the_record_says_what_was_done(done):
    _, _, result, steps = done
    names = [step.name for step in result.record]
    assert names == ["intensities", "brain extraction", "bias field", "registration", "resampling"]
    record = {step.name: step for step in result.record}
    assert record["brain extraction"].parameters["already_stripped"]
    assert record["bias field"].parameters["mask"]
    assert not record["registration"].parameters["already_in_template_space"]
    assert record["registration"].quality["overlap"] > 0.95
    json.dumps([dataclasses.asdict(step) for step in result.record], allow_nan=False)
    assert all(step.seconds >= 0 for step in result.record)
    assert list(dict.fromkeys(step for step, _ in steps)) == names
    fractions = [fraction for _, fraction in steps]
    assert fractions == sorted(fractions)
    assert (fractions[0], fractions[-1]) == (0, pytest.approx(1))


def test_a_scan_in_template_space_is_noticed():
    template = icbm152()
    result = standardise(template.image, PreprocessingOptions(bias_field=False))
    record = {step.name: step for step in result.record}
    assert "bias field" not in record
    assert record["brain extraction"].parameters["already_stripped"]
    assert record["registration"].parameters["already_in_template_space"]
    difference = sitk.GetArrayFromImage(result.image) - sitk.GetArrayFromImage(template.image)
    assert np.abs(difference).mean() < 3  # of 255


@given(
    turn=st.tuples(*[st.floats(-180, 180)] * 3),
    shift=st.tuples(*[st.floats(-60, 60)] * 3),
    spacing=st.tuples(*[st.floats(0.7, 6.0)] * 3),
    code=st.sampled_from(["RAS", "LPS", "AIL", "SPR", "IRA"]),
)
@settings(max_examples=25)
def test_a_map_lands_where_the_transform_says(turn, shift, spacing, code):
    """Exact for any pose: a Gaussian on the template grid, mapped back, has its maximum at the transformed point."""
    grid = sitk.Image([40, 44, 38], sitk.sitkFloat32)
    grid.SetSpacing((4.0, 4.0, 4.0))
    grid.SetOrigin((-78.0, -86.0, -74.0))
    spot = np.array([20.0, -12.0, 9.0])
    heat = sitk.GaussianSource(
        sitk.sitkFloat32, grid.GetSize(), [12.0] * 3, (spot - grid.GetOrigin()).tolist(), 1.0, (0, 0, 0), (4, 4, 4)
    )
    heat.SetOrigin(grid.GetOrigin())
    motion = Motion(turn_about(np.radians(turn)), np.array(shift))
    native = sitk.Image([int(n) for n in np.ceil(120 / np.array(spacing))], sitk.sitkInt16)
    native.SetSpacing(spacing)
    native.SetDirection(motion.matrix.ravel().tolist())
    half = np.array(native.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in native.GetSize()]))
    native.SetOrigin((motion(spot) - half).tolist())
    native = sitk.DICOMOrient(native, code)
    whole = Standardised(native, heat, heat, native, motion.transform(np.zeros(3)), ())
    back = sitk.GetArrayFromImage(to_native(heat, whole))
    weights = np.clip(back - 0.3, 0, None)
    index = (np.stack(np.meshgrid(*(np.arange(n) for n in back.shape), indexing="ij")) * weights).sum((1, 2, 3))
    found = (index / weights.sum())[::-1]
    expected = native.TransformPhysicalPointToContinuousIndex(motion(spot).tolist())
    assert np.abs(found - expected).max() < 0.5


def test_zscored_scans_with_another_background_are_lifted():
    image, _ = scan(background=0.0)
    values = sitk.GetArrayFromImage(image)
    inside = values != 0
    normalised = np.where(inside, (values - values[inside].mean()) / values[inside].std(), -20.0).astype(np.float32)
    other = sitk.GetImageFromArray(normalised)
    other.CopyInformation(image)
    before = sitk.Hash(other)
    result = standardise(other)
    assert sitk.Hash(other) == before  # inputs are never changed
    assert result.record[0].parameters["lifted_by"] == pytest.approx(20)
    assert any("below zero" in warning for warning in result.warnings)
    voxels, mask = sitk.GetArrayFromImage(result.image), sitk.GetArrayFromImage(result.mask) > 0
    assert (voxels[mask] > 0).mean() > 0.999
    assert {step.name: step for step in result.record}["registration"].quality["overlap"] > 0.95


@pytest.mark.parametrize("value", [0.0, 12.0, np.nan])
def test_constant_scans_are_refused(value):
    image = sitk.GetImageFromArray(np.full((30, 30, 30), value, np.float32))
    with pytest.raises(PreprocessingError, match="same value everywhere"):
        standardise(image)


@pytest.mark.parametrize("last", ["intensities", "brain extraction", "bias field", "registration"])
def test_stops_in_every_step(last):
    image, _ = scan(spacing=(3.0, 3.0, 5.0))
    reached: list[str] = []
    with pytest.raises(Cancelled):
        standardise(image, job=Job(lambda name, _: reached.append(name), lambda: last in reached))
    assert reached[-1] == last


@pytest.mark.parametrize(
    "name",
    ["ds000002_sub-01_inplaneT2.nii.gz", "openms_long_patient20_study2_FLAIR.nii.gz", "pyradiomics_brain1_T1CE.nrrd"],
)
def test_raw_thick_slice_heads(shared_data, name):
    """T2, FLAIR and T1CE with skull, 3 to 6.5 mm slices, with the light back end."""
    image = sitk.ReadImage(str(shared_data / "scans" / name))
    result = standardise(image, PreprocessingOptions(brain_extraction="bundled"))
    record = {step.name: step for step in result.record}
    assert record["registration"].quality["overlap"] > 0.9
    assert 1000 < record["brain extraction"].quality["volume_ml"] < 2000
