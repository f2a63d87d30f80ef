"""Coarse scans: the network cannot tell a corrected b0 image from a T2 scan, the voxel raises the doubt."""

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from BrainIACLib import predictor, prepared_study
from BrainIACLib.answers import classification, probabilities_of
from BrainIACLib.checkpoints.installed import find_model
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.scans import Scan
from BrainIACLib.trust.echo_planar import COARSE_MM, COARSEST_MM, allow_for_echo_planar, in_plane_mm

LABELS = ("T1", "T2", "FLAIR", "T1CE", "other")


@pytest.fixture(scope="module")
def head():
    return find_model("sequence").contract.head


def _sure_of(label: str, head) -> torch.Tensor:
    return torch.tensor([12.0 if name == label else 0.0 for name in head.labels])


def _image(*spacing: float) -> sitk.Image:
    image = sitk.Image(4, 4, 4, sitk.sitkUInt8)
    image.SetSpacing(spacing)
    return image


@pytest.mark.parametrize(
    ("spacing", "doubted"),
    [
        ((2.0, 2.0, 2.0), {"T2", "FLAIR"}),  # diffusion series, and T1 scans that were resampled
        ((1.6875, 1.6875, 3.0), {"T2", "FLAIR"}),  # diffusion series: 216 mm in 128 voxels
        ((4.0, 1.8, 1.8), {"T2", "FLAIR"}),  # slices along the first axis
        ((3.4, 3.4, 4.0), {"T1", "T2", "FLAIR", "T1CE"}),  # functional series, field map
        ((3.0, 1.0, 3.0), {"T1", "T2", "FLAIR", "T1CE"}),
        ((0.5, 0.5, 5.0), set()),  # clinical T2
        ((1.5625, 1.5625, 5.0), set()),  # T2 in the plane of a functional study
        ((1.6, 1.6, 5.0), set()),  # portable scanner of 64 mT
        ((1.0, 1.0, 1.0), set()),
    ],
)
def test_voxels_that_are_coarse_in_the_plane_raise_a_doubt(head, spacing, doubted):
    voxel_mm = in_plane_mm(_image(*spacing))
    for label in LABELS:
        found = classification(head, _sure_of(label, head), voxel_mm)
        assert found.label == label
        assert (found.confidence < head.confidence_gate) == (label in doubted)
        assert any("echo-planar" in doubt.text for doubt in found.doubts) == (label in doubted)


def test_a_share_of_the_look_alikes_goes_to_other_and_nothing_is_lost():
    plain = dict(zip(LABELS, (0.10, 0.80, 0.05, 0.02, 0.03), strict=True))
    coarse = {"T1": 0.10, "T2": 0.48, "FLAIR": 0.03, "T1CE": 0.02, "other": 0.37}
    coarsest = {"T1": 0.06, "T2": 0.48, "FLAIR": 0.03, "T1CE": 0.012, "other": 0.418}
    assert allow_for_echo_planar(plain, COARSE_MM) == pytest.approx(coarse)
    assert allow_for_echo_planar(plain, COARSEST_MM) == pytest.approx(coarsest)
    assert allow_for_echo_planar(plain, 1.0) == plain


def test_a_sure_t2_of_coarse_voxels_stays_t2_but_is_uncertain(head):
    logits = _sure_of("T2", head)
    sure, doubted = classification(head, logits), classification(head, logits, 2.0)
    assert sure.confidence > 0.99
    assert not sure.doubts
    assert doubted.label == "T2"
    assert doubted.confidence < head.confidence_gate
    assert [doubt for doubt in doubted.doubts if "echo-planar" in doubt.text]


def test_a_t1_that_was_resampled_to_two_millimeters_is_as_sure_as_ever(head):
    logits = _sure_of("T1", head)
    assert classification(head, logits, 2.0).doubts == ()
    assert probabilities_of(head, logits, 2.0)["T1"] == probabilities_of(head, logits)["T1"]


def test_a_share_goes_to_the_echo_planar_kind_where_it_has_a_name():
    plain = {"T2": 0.50, "FLAIR": 0.30, "DWI-b0": 0.05, "DWI-trace": 0.05, "CT": 0.10}
    allowed = allow_for_echo_planar(plain, 2.0)
    assert allowed == pytest.approx({"T2": 0.30, "FLAIR": 0.18, "DWI-b0": 0.25, "DWI-trace": 0.17, "CT": 0.10})


def test_labels_without_other_are_left_alone():
    assert allow_for_echo_planar({"T1": 0.1, "T2": 0.9}, 3.0) == {"T1": 0.1, "T2": 0.9}


def test_the_predictor_looks_at_the_voxels_of_the_scan_itself_and_so_does_its_view(tmp_path, monkeypatch):
    """At 3.5 mm; what the network sees always has 3 mm, and the standardized scan 1 mm."""
    values = np.random.default_rng(0).uniform(50, 100, (50, 60, 50)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((3.5, 3.5, 3.5))
    path = tmp_path / "a.nii.gz"
    study = predictor.Predictor("cpu")
    scan = Scan(image=image, name="a", path=path, format="NIfTI", modality="MR", sha256="0" * 64, warnings=())
    study.set_study({"a": scan}, PreprocessingOptions(preset="official"))
    doubted, view = study.predict("sequence", "a"), study.view("sequence", "a")
    monkeypatch.setattr(prepared_study, "in_plane_mm", lambda image: 1.0)
    plain, plain_view = study.predict("sequence", "a"), study.view("sequence", "a")
    assert doubted.probabilities == pytest.approx(allow_for_echo_planar(plain.probabilities, 3.5))
    assert doubted.probabilities["T2"] < plain.probabilities["T2"]
    inputs = [torch.rand(1, 1, *view.encoder.input_size, generator=torch.Generator().manual_seed(0))]
    assert view.numbers(inputs, "T2") < plain_view.numbers(inputs, "T2")
    assert not any("echo-planar" in warning for warning in plain.warnings)
