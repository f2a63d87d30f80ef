"""Which series fills a slot, why, and what a person can change; header against image; enhancement."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import given
from hypothesis import strategies as st
from scipy.ndimage import shift

from BrainIACLib.errors import BrainIACError
from BrainIACLib.studies.agreement import AGREE, DISAGREE, UNSURE, ImageClass, judge, undecided
from BrainIACLib.studies.choice import Candidate, choose
from BrainIACLib.studies.enhancement import LEAST_SHARE, share_that_rose
from BrainIACLib.studies.header_rules import HeaderClass

GOOD = Candidate("1", "T1", AGREE, (1.0, 1.0, 1.0), (240.0, 240.0, 170.0), False, 1, 0, "100000")


def better(other: Candidate) -> tuple[str, str, str]:
    """Which key is taken of GOOD and ``other``, why, and why not the other."""
    (choice,) = choose([other, GOOD])
    return choice.series, choice.why, next(iter(choice.others.values()))


@pytest.mark.parametrize(
    ("change", "why", "why_not"),
    [
        ({"relation": DISAGREE}, "header and image agree", "contradicts"),
        ({"derived": True}, "as measured", "computed"),
        ({"extent": (240.0, 240.0, 60.0)}, "whole brain", "covers only 60 mm"),
        ({"relation": UNSURE}, "header and image agree", "not sure"),
        ({"spacing": (1.0, 1.0, 5.0)}, "finest voxels", "coarser voxels (1 x 1 x 5 mm)"),
        ({"repeats": 40}, "a single volume", "40 volumes"),
        ({"time": "095900"}, "acquired last", "acquired earlier"),
    ],
)
def test_each_point_of_the_order_decides_and_is_said(change, why, why_not):
    taken, reason, other = better(dataclasses.replace(GOOD, key="2", **change))
    assert taken == "1"
    assert why in reason
    assert why_not in other


def test_a_coarse_believed_series_beats_a_fine_contradicted_one():
    coarse = dataclasses.replace(GOOD, key="2", spacing=(0.9, 0.9, 5.0))
    fine = dataclasses.replace(GOOD, key="3", relation=DISAGREE)
    assert choose([fine, coarse])[0].series == "2"


def test_a_person_can_choose_and_the_choice_is_said():
    other = dataclasses.replace(GOOD, key="2", spacing=(1.0, 1.0, 5.0))
    (choice,) = choose([GOOD, other], {"T1": "2"})
    assert (choice.series, choice.by_person) == ("2", True)
    assert "you chose" in choice.why
    by_slot = {one.slot: one.series for one in choose([GOOD, other], {"T2": "1"})}
    assert by_slot == {"T1": "2", "T2": "1"}


@pytest.mark.parametrize(
    ("use", "said"),
    [({"T3": "1"}, "no slot 'T3'"), ({"T1": "9"}, "cannot be used"), ({"T1": "1", "T2": "1"}, "chosen for two slots")],
)
def test_a_choice_that_cannot_be_is_refused(use, said):
    with pytest.raises(BrainIACError, match=said):
        choose([GOOD], use)


@given(st.permutations(["a", "b", "c", "d"]), st.lists(st.floats(0.5, 6), min_size=4, max_size=4))
def test_the_choice_does_not_depend_on_the_order_of_the_series(order, edges):
    candidates = {
        key: dataclasses.replace(GOOD, key=key, spacing=(1.0, 1.0, edge), time=f"10000{number}")
        for number, (key, edge) in enumerate(zip("abcd", edges, strict=True))
    }
    assert choose([candidates[key] for key in order]) == choose(list(candidates.values()))


def header(name: str, by_words: bool = False) -> HeaderClass:
    return HeaderClass(name, "reason", by_words)


def test_a_b0_image_that_looks_like_t2_stays_a_b0_with_a_finding():
    found = judge("7", header("DWI-b0"), ImageClass("T2", 0.99, True))
    assert (found.name, found.relation) == ("DWI-b0", DISAGREE)
    assert "not used as T2" in found.finding


def test_attributes_outweigh_the_image_and_words_do_not():
    image = ImageClass("T1", 0.97, True)
    assert judge("7", header("T1CE"), image).name == "T1CE"
    assert judge("7", header("T1CE", by_words=True), image).name == "T1"
    assert judge("7", header("T1CE"), image).finding


def test_an_unsure_image_contradicts_nothing_and_names_nothing():
    unsure = ImageClass("FLAIR", 0.4, False)
    assert judge("7", header("T1"), unsure).relation == UNSURE
    assert judge("7", None, unsure).name == ""
    assert judge("7", None, ImageClass("FLAIR", 0.95, True)).name == "FLAIR"


def test_what_an_image_looks_like_is_said_where_nothing_else_names_a_series():
    """Not of what the header names, of a sure image, or of what is none of the four."""
    unsure = ImageClass("FLAIR", 0.669, False)
    said = undecided("7", judge("7", None, unsure), unsure)
    assert said.startswith("Series 7 is not used: nothing but its image says what it is")
    assert "looks like FLAIR (probability 0.66)" in said
    for named, image in (
        (header("PD"), unsure),
        (None, ImageClass("FLAIR", 0.95, True)),
        (None, ImageClass("other", 0.5, False)),
        (None, None),
    ):
        assert undecided("7", judge("7", named, image), image) == ""


def test_a_person_may_choose_a_series_that_nothing_names():
    nameless = dataclasses.replace(GOOD, name="")
    assert choose([nameless], {"T1": "1"})[0].why == "as you chose; nothing else says surely what it is"
    assert choose([GOOD], {"T2": "1"})[0].why == "as you chose; it is taken for T1 otherwise"


def test_agreement_is_also_that_the_model_has_no_class_for_it():
    assert judge("7", header("MRA"), ImageClass("other", 0.95, True)).relation == AGREE


@pytest.mark.parametrize("patient", ["BraTS2021_01476", "BraTS2021_01483", "openms_cs_patient07"])
def test_real_enhancement_is_seen_and_another_gray_scale_with_a_shift_is_none(shared_data, patient):
    before, after = (
        sitk.ReadImage(str(shared_data / "multiseq" / f"{patient}_{kind}.nii.gz"), sitk.sitkFloat32)
        for kind in ("T1", "T1CE")
    )
    values = sitk.GetArrayFromImage(before)
    bent = np.where(values > 0, values.max() * (values / values.max()) ** 1.25, 0)
    again = sitk.GetImageFromArray(shift(bent, (0.7, -0.5, 0.6), order=1).astype(np.float32))
    again.CopyInformation(before)
    assert share_that_rose(before, after) > LEAST_SHARE > share_that_rose(before, again)
