"""Rigid registration on brains whose pose is known exactly (P-07, U-08, D-15)."""

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given, settings
from hypothesis import strategies as st

from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing.registration import AXIS_TURNS, Motion, register_to_template, turn_about
from BrainIACLib.preprocessing.resampling import index_to_point, with_spacing
from BrainIACLib.preprocessing.template import icbm152

CENTRE = np.array([0.0, 15.0, 5.0])  # about the middle of the template's brain, mm, LPS


def brain(contrast="T1", spacing=(1.5, 1.5, 1.5)) -> tuple[sitk.Image, sitk.Image]:
    """The template brain as a scan of another contrast on its own, tightly cropped voxels: image and mask."""
    template = icbm152()
    image = with_spacing(template.image, spacing, sitk.sitkLinear)
    mask = with_spacing(sitk.Cast(template.mask, sitk.sitkFloat32), spacing, sitk.sitkLinear) > 0.5
    if contrast == "T2":
        image = sitk.InvertIntensity(image, maximum=float(sitk.GetArrayViewFromImage(image).max()) + 20)
    noise = np.random.default_rng(0).normal(scale=4, size=image.GetSize()[::-1]).astype(np.float32)
    noisy = sitk.GetImageFromArray(noise)
    noisy.CopyInformation(image)
    return sitk.Mask(image + noisy, mask), mask


def points_of(mask: sitk.Image) -> np.ndarray:
    matrix, origin = index_to_point(mask)
    return np.argwhere(sitk.GetArrayFromImage(mask) > 0)[::500, ::-1] @ matrix.T + origin


def error_mm(transform: sitk.Transform, move: Motion, points: np.ndarray) -> float:
    """Mean distance between where the transform puts template points and where the move put them."""
    found = np.array([transform.TransformPoint(point.tolist()) for point in points])
    return float(np.linalg.norm(found - move(points), axis=1).mean())


def about_centre(matrix: np.ndarray, shift) -> Motion:
    return Motion(matrix, CENTRE + np.asarray(shift, float) - matrix @ CENTRE)


def move_and_register(image, mask, move: Motion, seed=0):
    return register_to_template(move.moved(image), move.moved(mask), seed)


@pytest.mark.parametrize("contrast", ["T1", "T2"])
@given(
    axis=st.tuples(*[st.floats(-1, 1)] * 3).filter(lambda v: np.linalg.norm(v) > 0.1),
    degrees=st.floats(0, 30),
    shift=st.tuples(*[st.floats(-23, 23)] * 3),
)
@settings(max_examples=3)
def test_known_poses_are_found(contrast, axis, degrees, shift):
    """Within 30 degrees and 40 mm: at most 0.5 mm on T1 and 1.2 mm on another contrast."""
    image, mask = brain(contrast)
    move = about_centre(turn_about(np.radians(degrees) * np.array(axis) / np.linalg.norm(axis)), shift)
    found = move_and_register(image, mask, move)
    assert error_mm(found.transform, move, points_of(mask)) < (0.5 if contrast == "T1" else 1.2)
    assert found.quality > 0.95
    assert found.warnings == ()


@pytest.mark.parametrize("number", [3, 10, 17, 22])
def test_wrongly_labelled_axes_are_found_out(number):
    image, mask = brain()
    move = about_centre(turn_about(np.radians([8.0, -6.0, 10.0])) @ AXIS_TURNS[number], (15.0, -20.0, 10.0))
    found = move_and_register(image, mask, move)
    assert error_mm(found.transform, move, points_of(mask)) < 0.5
    assert any("named wrongly" in warning for warning in found.warnings)


def test_there_are_24_proper_axis_turns():
    unique = {tuple(turn.astype(int).ravel()) for turn in AXIS_TURNS}
    assert len(unique) == 24
    assert all(np.isclose(np.linalg.det(turn), 1) for turn in AXIS_TURNS)
    assert np.array_equal(AXIS_TURNS[0], np.eye(3))


@pytest.mark.parametrize("scale", [0.8, 1.1])
def test_a_smaller_or_larger_brain_is_placed_by_its_middle_and_stays_its_size(scale):
    """Rigid only (P-07): scale is fitted, recorded and dropped."""
    image, mask = brain()
    for part in (image, mask):
        part.SetOrigin((CENTRE + scale * (np.array(part.GetOrigin()) - CENTRE)).tolist())
        part.SetSpacing((scale * np.array(part.GetSpacing())).tolist())
    move = about_centre(turn_about(np.radians([10.0, 5.0, -12.0])), (5.0, 10.0, -15.0))
    found = move_and_register(image, mask, move)
    matrix = np.array(found.transform.GetMatrix()).reshape(3, 3)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    turn_error = np.degrees(np.arccos(np.clip((np.trace(matrix.T @ move.matrix) - 1) / 2, -1, 1)))
    assert turn_error < 1
    assert found.parameters["scale_to_template"] == pytest.approx(1 / scale, abs=0.03)
    middle = points_of(mask).mean(0)  # of the brain; the template's middle belongs there
    goal = points_of(icbm152().mask).mean(0)
    assert np.linalg.norm(np.array(found.transform.TransformPoint(goal.tolist())) - move(middle)) < 2


@pytest.mark.parametrize(("low", "high"), [(20, 50), (55, 90)])
def test_a_slab_is_placed(low, high):
    """Thick slices that cover a part of the brain, upper or lower."""
    image, mask = brain("T2", spacing=(1.5, 1.5, 5.0))
    planes = slice(round(low * 1.5 / 5), round(high * 1.5 / 5))
    image, mask = image[:, :, planes], mask[:, :, planes]
    move = about_centre(turn_about(np.radians([10.0, -8.0, 6.0])), (10.0, -10.0, 20.0))
    found = move_and_register(image, mask, move)
    assert error_mm(found.transform, move, points_of(mask)) < 2


def test_equal_inputs_give_the_same_bits_whatever_the_threads():
    """D-15: the released registration seeds its samples by the clock."""
    image, mask = brain("T2")
    move = about_centre(turn_about(np.radians([10.0, 20.0, -5.0])), (5.0, -10.0, 15.0))
    before = sitk.ProcessObject.GetGlobalDefaultNumberOfThreads()
    found = []
    try:
        for threads in (4, 4, 1):
            sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(threads)
            found.append(move_and_register(image, mask, move).transform)
    finally:
        sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(before)
    assert found[0].GetParameters() == found[1].GetParameters()
    assert found[0].GetParameters() == found[2].GetParameters()
    assert found[0].GetFixedParameters() == found[1].GetFixedParameters()
    other = move_and_register(image, mask, move, seed=5).transform
    assert other.GetParameters() != found[0].GetParameters()
    points = points_of(mask)
    assert abs(error_mm(other, move, points) - error_mm(found[0], move, points)) < 0.3


def test_what_is_no_brain_is_said_aloud():
    """A long box of noise fits nowhere: the overlap falls below what real brains reach (.92 and more)."""
    noise = np.random.default_rng(0).random((120, 40, 40)).astype(np.float32) + 1
    image = sitk.GetImageFromArray(np.pad(noise, 8))
    image.SetSpacing((2.0, 2.0, 2.0))
    found = register_to_template(image, sitk.Cast(image > 0, sitk.sitkUInt8))
    assert found.quality < 0.85
    assert any("probably failed" in warning for warning in found.warnings)


def test_too_thin_a_slab_is_refused():
    image, mask = brain(spacing=(2.0, 2.0, 5.0))
    with pytest.raises(PreprocessingError, match="thinner than"):
        register_to_template(image[:, :, 15:18], mask[:, :, 15:18])


def test_a_whole_head_finds_its_place(shared_data):
    """Brain extraction switched off: rough, and said to be."""
    head = sitk.ReadImage(str(shared_data / "atlas" / "MNI152_T1_1mm_head.nii.gz"), sitk.sitkFloat32)
    move = about_centre(turn_about(np.radians([12.0, -5.0, 8.0])), (10.0, -15.0, 20.0))
    mask = sitk.OtsuThreshold(head, 0, 1, 128)
    found = register_to_template(move.moved(head), move.moved(mask), whole_head=True)
    assert error_mm(found.transform, move, points_of(icbm152().mask)) < 5
    assert found.warnings


def test_a_known_pose_leads_to_where_a_search_leads():
    """A person who moved by 3 degrees and 5 mm on the table, in another contrast."""
    image, mask = brain("T2", (2.0, 2.0, 2.0))
    move = about_centre(turn_about(np.radians((2.0, -1.0, 2.0))), (3.0, -2.0, 4.0))
    image, mask = move.moved(image), move.moved(mask)
    searched = register_to_template(image, mask)
    near = register_to_template(image, mask, near=sitk.Euler3DTransform())
    assert near.parameters["started_from"] == "a scan in the same frame of reference"
    assert searched.parameters["started_from"] == "a search"
    found = Motion.of(near.transform)
    assert error_mm(searched.transform, found, points_of(icbm152().mask)) < 0.3


def test_a_pose_that_does_not_fit_is_given_up_for_a_search():
    """Another head, or positions that are wrong: what comes out is what a search alone gives."""
    image, mask = brain("T1", (2.0, 2.0, 2.0))
    wrong = about_centre(turn_about(np.radians((0.0, 0.0, 40.0))), (0.0, 40.0, 0.0)).transform(CENTRE)
    found = register_to_template(image, mask, near=wrong)
    assert found.parameters["started_from"] == "a search"
    assert error_mm(found.transform, Motion(np.eye(3), np.zeros(3)), points_of(mask)) < 0.5


@given(st.tuples(*[st.floats(-3, 3)] * 3), st.tuples(*[st.floats(-50, 50)] * 3))
def test_the_motion_of_a_transform_moves_points_as_it_does(vector, shift):
    transform = Motion(turn_about(np.array(vector)), np.array(shift)).transform(CENTRE)
    point = (12.0, -30.0, 44.0)
    assert np.allclose(Motion.of(transform)(np.array(point)), transform.TransformPoint(point), atol=1e-6)
