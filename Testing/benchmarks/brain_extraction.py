"""Brain extraction side by side, on real and rendered heads: ``python -m Testing.benchmarks.brain_extraction``.

``scans``: every raw whole head of ``../shared/data`` against a reference network (``--reference``; the issue asks for
hd-bet-accurate, which takes minutes a scan on a CPU). ``labelmaps``: label maps that no training saw, rendered as
images, against their truth. ``tumors``: how much of the tumor labels of ``multiseq`` the mask keeps. ``downstream``:
what the choice of the mask does to the bundled sequence model's answers and embeddings on the raw heads. ``cost``: time
and memory of one scan, a process for each back end. ``level``, not a measurement: where the bundled network's distance
should be cut, by the four real scans that may set it and by label maps that it was trained on.

Masks of the other networks are kept in ``--cache``; the bundled one is computed anew. Tables are markdown.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
import itertools
import multiprocessing
import resource as system_resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import PreprocessingError
from BrainIACLib.preprocessing.brain_extraction import extract_brain
from BrainIACLib.preprocessing.brain_extraction.bundled import brain_distance
from BrainIACLib.preprocessing.intensity import model_input
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.resources import resource

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
LEVEL_SCANS = (
    "IXI012-HH-1211_T1w_2mm",
    "IXI013-HH-1212_T1w_2mm",
    "openms_long_patient01_study1_T1W",
    "openms_long_patient01_study1_FLAIR",
)
LEVEL_MAPS = ("01", "03", "06", "08", "10", "13")
SEQUENCES = ("T1", "T2", "FLAIR", "T1CE")
PARTS = ("scans", "labelmaps", "tumors", "downstream", "cost", "level")


def main() -> None:
    """Run the parts asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--cache", type=Path, default=Path("runs/brain_masks"))
    parser.add_argument("--backends", nargs="+", default=["bundled", "deepbet"])
    parser.add_argument("--reference", default="hd-bet")
    parser.add_argument("--only", default="", metavar="TEXT", help="of the real whole heads, those with it in the name")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:-1])
    options = parser.parse_args()
    options.cache.mkdir(parents=True, exist_ok=True)
    if "scans" in options.parts:
        _scans_table(options)
    if "labelmaps" in options.parts:
        _label_maps_table(options)
    if "tumors" in options.parts:
        _tumours_table(options)
    if "downstream" in options.parts:
        _downstream_table(options)
    if "cost" in options.parts:
        _cost_table(options)
    if "level" in options.parts:
        _level_table(options)


# --- Masks ----------------------------------------------------------------------------------------------------------


def mask_of(image: sitk.Image, backend: str, cache: Path) -> np.ndarray | None:
    """bool (Z, Y, X), from the cache if it was computed before; None where the back end refuses."""
    content = sitk.GetArrayViewFromImage(image).tobytes() + repr((image.GetSpacing(), image.GetDirection())).encode()
    stored = cache / f"{hashlib.sha256(content).hexdigest()[:16]}_{backend}.npz"
    if backend != "bundled" and stored.is_file():
        with np.load(stored) as arrays:
            return arrays["mask"]
    try:
        mask = sitk.GetArrayFromImage(extract_brain(image, backend).mask) > 0
    except PreprocessingError as error:
        print(f"    {backend} refuses: {error}")
        return None
    np.savez_compressed(stored, mask=mask)
    return mask


def agreement(mask: np.ndarray, reference: np.ndarray, spacing: tuple[float, ...]) -> tuple[float, float, float]:
    """Dice, 95th percentile of the surface distances (both ways, mm), volume difference in %; ``spacing`` Z, Y, X."""
    overlap = 2 * float((mask & reference).sum()) / float(mask.sum() + reference.sum())
    distances = np.concatenate([_surface_distances(*pair, spacing) for pair in ((mask, reference), (reference, mask))])
    return overlap, float(np.percentile(distances, 95)), 100 * (float(mask.sum()) / float(reference.sum()) - 1)


def _surface_distances(one: np.ndarray, other: np.ndarray, spacing: tuple[float, ...]) -> np.ndarray:
    """mm from each border voxel of ``one`` to the border of ``other``."""
    images = [sitk.GetImageFromArray(mask.astype(np.uint8)) for mask in (one, other)]
    for image in images:
        image.SetSpacing(spacing[::-1])
    border = sitk.GetArrayFromImage(sitk.LabelContour(images[0])) > 0
    distance = sitk.SignedMaurerDistanceMap(sitk.LabelContour(images[1]), False, False, True)
    return np.abs(sitk.GetArrayFromImage(distance)[border])


# --- Tables ---------------------------------------------------------------------------------------------------------


def _scans_table(options: argparse.Namespace) -> None:
    print(f"\n### Real whole heads against {options.reference}\n")
    results: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for sequence, path in _raw_scans(options):
        image = sitk.ReadImage(str(path), sitk.sitkFloat32)
        reference = mask_of(image, options.reference, options.cache)
        for backend in options.backends:
            mask = mask_of(image, backend, options.cache)
            if mask is None or reference is None:
                continue
            figures = agreement(mask, reference, image.GetSpacing()[::-1])
            results.setdefault((sequence, backend), []).append(figures)
            print(
                f"    {path.name} {sequence} {backend}: Dice {figures[0]:.4f}, {figures[1]:.1f} mm, {figures[2]:+.1f} %"
            )
    _print_agreement("sequence", results)


def _raw_scans(options: argparse.Namespace) -> Iterator[tuple[str, Path]]:
    with (options.data / "MANIFEST.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            if row["file"].startswith("scans/") and row["skull_stripped"] == "no" and options.only in row["file"]:
                yield row["sequence"], options.data / row["file"]


def _label_maps_table(options: argparse.Namespace) -> None:
    print("\n### Unseen label maps, rendered, against their truth\n")
    results: dict[tuple[str, str], list[tuple[float, float, float]]] = {}
    for sequence, image, truth in _unseen(options):
        for backend in [*options.backends, options.reference]:
            mask = mask_of(image, backend, options.cache)
            if mask is not None:
                figures = agreement(mask, truth, image.GetSpacing()[::-1])
                results.setdefault((sequence, backend), []).append(figures)
    _print_agreement("rendered", results)


def _unseen(options: argparse.Namespace) -> Iterator[tuple[str, sitk.Image, np.ndarray]]:
    """The label maps that no training saw, under the four sequences, an unnatural contrast, and T2 in 5 mm slices."""
    from Training.starter.brain_extraction.__main__ import HELD_OUT

    return _renderings(options, HELD_OUT, (*SEQUENCES, "random", "T2 in 5 mm slices"))


def _renderings(
    options: argparse.Namespace, names: tuple[str, ...], kinds: tuple[str, ...]
) -> Iterator[tuple[str, sitk.Image, np.ndarray]]:
    """Each label map in its own pose at 1 mm under each kind of contrast, with noise; and its true mask."""
    from Training.starter.brain_extraction.border import with_border_distance
    from Training.synthesis.random_contrast import draw_random_contrast
    from Training.synthesis.sequences import draw_contrast
    from Training.synthesis.tissue_parameters import draw_tissues

    for number, name in enumerate(names):
        path = options.data / "labelmaps" / f"{name}.nii.gz"
        label_map = with_border_distance(path, options.cache / "labelmaps")
        for kind in kinds:
            rng = np.random.default_rng([number, *kind.encode()])
            tissues = draw_tissues(rng)
            contrast = draw_random_contrast(rng) if kind == "random" else draw_contrast(kind.split()[0], tissues, rng)
            signal = contrast.signal[label_map.tissue].transpose(2, 1, 0)
            image = sitk.GetImageFromArray(np.hypot(signal + rng.normal(0, 0.03, signal.shape), 0.03))
            image.SetDirection((-1, 0, 0, 0, -1, 0, 0, 0, 1))  # RAS
            truth = sitk.GetImageFromArray(label_map.hull.astype(np.float32).transpose(2, 1, 0))
            if kind.endswith("slices"):
                image, truth = (sitk.BinShrink(volume, (1, 1, 5)) for volume in (image, truth))
            yield kind, sitk.Cast(image, sitk.sitkFloat32), sitk.GetArrayFromImage(truth) > 0


def _print_agreement(column: str, results: dict[tuple[str, str], list[tuple[float, float, float]]]) -> None:
    print(f"\n| {column} | back end | n | Dice median | worst | 95 % surface distance, mm | worst | volume, % |")
    print("|---|---|---|---|---|---|---|---|")
    for (kind, backend), figures in sorted(results.items()):
        dice, surface, volume = zip(*figures, strict=True)
        print(
            f"| {kind} | {backend} | {len(figures)} | {statistics.median(dice):.4f} | {min(dice):.4f} | "
            f"{statistics.median(surface):.1f} | {max(surface):.1f} | {statistics.median(volume):+.1f} |"
        )


def _tumours_table(options: argparse.Namespace) -> None:
    print("\n### Share of the tumor label inside the mask (stripped scans)\n")
    print("| case | sequence | back end | kept | lost, ml |\n|---|---|---|---|---|")
    for label_file in sorted((options.data / "multiseq").glob("*_tumour_seg.nii.gz")):
        label = sitk.ReadImage(str(label_file))
        tumour = sitk.GetArrayFromImage(label) > 0
        voxel_ml = float(np.prod(label.GetSpacing())) / 1000
        case = label_file.name.removesuffix("_tumour_seg.nii.gz")
        for sequence in SEQUENCES:
            image = sitk.ReadImage(str(label_file.with_name(f"{case}_{sequence}.nii.gz")), sitk.sitkFloat32)
            for backend in options.backends:
                mask = mask_of(image, backend, options.cache)
                if mask is not None:
                    lost = float((tumour & ~mask).sum())
                    print(
                        f"| {case} | {sequence} | {backend} | {1 - lost / tumour.sum():.4f} | {lost * voxel_ml:.2f} |"
                    )


def _downstream_table(options: argparse.Namespace) -> None:
    """Each raw head standardized with each back end's mask (of the raw scan), embedded and answered."""
    backends = [*options.backends, options.reference]
    print(f"\n### The sequence model on raw whole heads, by brain mask ({', '.join(backends)})\n")
    folder = resource("Models", "sequence-starter")
    model = InstalledModel(folder, read_contract(folder))
    labels, embeddings = {}, {}
    for sequence, path in _raw_scans(options):
        image = sitk.ReadImage(str(path), sitk.sitkFloat32)
        masks = {backend: mask_of(image, backend, options.cache) for backend in backends}
        if any(mask is None for mask in masks.values()):
            continue
        for backend, mask in masks.items():
            label, embedding = _sequence_answer(image, mask, model)
            labels.setdefault(backend, []).append((sequence, label))
            embeddings.setdefault(backend, []).append(embedding)
        answers = ", ".join(f"{backend}: {labels[backend][-1][1]}" for backend in backends)
        print(f"    {path.name} {sequence}: {answers}", flush=True)
    print("\n| mask | right | of |\n|---|---|---|")
    for backend, pairs in labels.items():
        print(f"| {backend} | {sum(truth == label for truth, label in pairs)} | {len(pairs)} |")
    print("\n| masks | same answer | of | cosine of the embeddings: median | least |\n|---|---|---|---|---|")
    for one, other in itertools.combinations(backends, 2):
        same = sum(a == b for a, b in zip(labels[one], labels[other], strict=True))
        cosines = [
            float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
            for a, b in zip(embeddings[one], embeddings[other], strict=True)
        ]
        print(f"| {one}, {other} | {same} | {len(cosines)} | {statistics.median(cosines):.4f} | {min(cosines):.4f} |")


def _sequence_answer(image: sitk.Image, mask: np.ndarray, model: InstalledModel) -> tuple[str, np.ndarray]:
    """The label and the embedding of one scan inside ``mask`` (bool, Z, Y, X)."""
    import torch

    brain = sitk.GetImageFromArray(mask.astype(np.uint8))
    brain.CopyInformation(image)
    standardised = standardise(image, mask=brain)
    net = load_model(model)
    with torch.inference_mode():
        embedding = net.encoder(model_input(standardised.image, model.contract.encoder))
        answer = net.head(embedding)[0]
    return model.contract.head.labels[int(answer.argmax())], embedding[0].numpy()


def _cost_table(options: argparse.Namespace) -> None:
    sequence, path = next(_raw_scans(options))
    print(f"\n### One scan ({path.name}, {sequence}), a process each: second call, and the peak of the process\n")
    print("| back end | wall, s | CPU, s | peak, MiB |\n|---|---|---|---|")
    context = multiprocessing.get_context("spawn")
    for backend in [*options.backends, options.reference]:
        with context.Pool(1) as pool:
            wall, cpu, peak = pool.apply(_cost, (backend, path))
        print(f"| {backend} | {wall:.2f} | {cpu:.2f} | {peak:.0f} |")


def _cost(backend: str, path: Path) -> tuple[float, float, float]:
    image = sitk.ReadImage(str(path), sitk.sitkFloat32)
    for _ in range(2):
        wall, cpu = time.perf_counter(), time.process_time()
        extract_brain(image, backend)
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    return wall, cpu, system_resource.getrusage(system_resource.RUSAGE_SELF).ru_maxrss / 1024


def _level_table(options: argparse.Namespace) -> None:
    """Mean Dice of the bundled network by level; the best level is that of the mean over both kinds of heads."""
    print(f"\n### Level of the cut: {options.reference} on four scans, truth on label maps of the training\n")
    real = [
        (image, mask_of(image, options.reference, options.cache))
        for image in (
            sitk.ReadImage(str(options.data / "scans" / f"{name}.nii.gz"), sitk.sitkFloat32) for name in LEVEL_SCANS
        )
    ]
    names = tuple(f"synthseg_training_seg_{number}" for number in LEVEL_MAPS)
    simulated = ((image, truth) for _, image, truth in _renderings(options, names, SEQUENCES))
    levels = np.arange(-2, 0.76, 0.25)
    means = [np.mean([_dice_by_level(*pair, levels) for pair in pairs], axis=0) for pairs in (real, simulated)]
    print("| level, mm | real | simulated | mean |\n|---|---|---|---|")
    for level, one, other in zip(levels, *means, strict=True):
        print(f"| {level:+.2f} | {one:.4f} | {other:.4f} | {(one + other) / 2:.4f} |")


def _dice_by_level(image: sitk.Image, truth: np.ndarray, levels: np.ndarray) -> list[float]:
    distance = sitk.GetArrayFromImage(brain_distance(image).distance)
    return [2 * float((truth & (distance > k)).sum()) / float(truth.sum() + (distance > k).sum()) for k in levels]


if __name__ == "__main__":
    main()
