"""Volumes a second of pretraining, two views, optimizer and all: ``python -m Testing.benchmarks.pretraining``.

Ours against a plain per-sample MONAI pipeline with the eager network, part by part, and against two bounds from rates
measured on the same device in the same run: arithmetic (FLOPs as torch counts them over the rate of a large matrix
product) and activation traffic (3.3 GB a view eager and 2.2 GB fused for ResNet50 at 128^3 in bfloat16, from
PERFORMANCE section 7, over the rate of a copy). On CUDA the defaults are the paper's sizes; on a CPU, small ones.
Variants take turns; the medians of the rounds are printed. Peak memory is that of the card, or on a CPU what a process
of its own, which does nothing else, comes to hold above what it held after the imports.
"""

from __future__ import annotations

import argparse
import functools
import multiprocessing
import platform
import resource
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from BrainIACLib.models.encoders import encoder
from Training.data.cache import Cache, write_cache
from Training.ssl.batches import StepBatches
from Training.ssl.config import Network
from Training.ssl.loss import nt_xent
from Training.ssl.model import Projector, build
from Training.ssl.views import ViewRanges, draw_view

PAPER_RATE = 24.7  # volumes a second on one A6000 (P-11)
EAGER_GB, FUSED_GB = 3.3, 2.2  # a view of 128^3 at width 1, bfloat16
SEED = 0
READING, OURS, PLAIN = "read from the cache", "whole step, ours", "whole step, per-sample MONAI"


def main() -> None:
    """Measure and print markdown tables."""
    cuda = torch.cuda.is_available()
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=128 if cuda else 48)
    parser.add_argument("--width", type=float, default=1.0 if cuda else 0.25)
    parser.add_argument("--batch", type=int, nargs="+", default=[32, 64] if cuda else [8])
    parser.add_argument("--steps", type=int, default=10 if cuda else 1, help="in a round, after one to warm up")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--compile", action="store_true", help="also with the encoder compiled")
    options = parser.parse_args()
    device = torch.device("cuda" if cuda else "cpu")
    name = torch.cuda.get_device_name() if cuda else f"CPU ({platform.machine()}), threads: {torch.get_num_threads()}"
    print(f"{name}, torch {torch.__version__}, {options.size}^3, width {options.width:g}\n")
    with tempfile.TemporaryDirectory() as folder:
        for batch in options.batch:
            cache = _cache(Path(folder) / str(batch), 2 * batch, options.size)
            _table(cache, batch, device, options)
    _bounds(device, options)


def _table(cache: Cache, batch: int, device: torch.device, options: argparse.Namespace) -> None:
    variants = _variants(cache, batch, device, options)
    peaks = dict.fromkeys(variants, 0.0)
    if device.type == "cpu":  # first of all: a child begins with the peak of the process that started it
        peaks = {variant: _peak_in_a_process(cache.folder, batch, options, variant) for variant in variants}
    works = {variant: make() for variant, make in variants.items()}
    rates: dict[str, list[float]] = {variant: [] for variant in variants}
    for work in works.values():
        work(0)
    for _ in range(options.rounds):
        for variant, work in works.items():
            rate, peak = _measured(work, options.steps, batch, device)
            rates[variant].append(rate)
            peaks[variant] = max(peaks[variant], peak)
    middle = {variant: statistics.median(values) for variant, values in rates.items()}
    plain, plain_peak = middle[PLAIN], peaks[PLAIN]
    unit = "volumes/s" if device.type == "cuda" else "volumes a CPU second"
    print(f"| batch {batch} | {unit} | of plain whole step | of the paper's {PAPER_RATE} | peak MiB | of plain |")
    print("|---|---|---|---|---|---|")
    for variant, rate in middle.items():
        print(
            f"| {variant} | {rate:.3g} | {rate / plain:.3g} | {rate / PAPER_RATE:.2g} | {peaks[variant]:.0f} | "
            f"{peaks[variant] / plain_peak:.2g} |"
        )
    print(f"\nReading is {100 * middle[OURS] / middle[READING]:.2f} % of our whole step.\n")


def _variants(
    cache: Cache, batch: int, device: torch.device, options: argparse.Namespace
) -> dict[str, Callable[[], Callable[[int], object]]]:
    """Name -> what makes the function of a step, so that a process makes the one that it measures alone."""
    make = functools.partial
    variants = {
        READING: make(_reading, cache, batch),
        "two views, ours": make(_our_views, cache, batch, device),
        "two views, per-sample MONAI": make(_monai_views, cache, batch),
        "network, ours": make(_network, batch, device, options, plain=False),
        "network, plain eager": make(_network, batch, device, options, plain=True),
        OURS: make(_whole, cache, batch, device, options, plain=False),
        PLAIN: make(_whole, cache, batch, device, options, plain=True),
    }
    if options.compile:
        variants[f"{OURS}, compiled"] = make(_whole, cache, batch, device, options, plain=False, compiled=True)
    return variants


def _peak_in_a_process(folder: Path, batch: int, options: argparse.Namespace, variant: str) -> float:
    """MiB above what the imports take, of two steps."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(_peak, (folder, batch, options, variant))


def _peak(folder: Path, batch: int, options: argparse.Namespace, variant: str) -> float:
    import monai.transforms  # noqa: F401 -- before the count, and for every variant

    cache = Cache(folder)
    torch.rand(8, 8) @ torch.rand(8, 8)  # starts the threads
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    work = _variants(cache, batch, torch.device("cpu"), options)[variant]()
    for step in range(2):
        work(step)
    return (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024


def _measured(work: Callable[[int], None], steps: int, batch: int, device: torch.device) -> tuple[float, float]:
    """Volumes a second (of wall time on CUDA, of CPU time else, which other programs do not change), and peak MiB."""
    clock = time.perf_counter if device.type == "cuda" else time.process_time
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
    started = clock()
    for step in range(steps):
        work(step)
    if device.type == "cuda":
        torch.cuda.synchronize()
    peak = torch.cuda.max_memory_allocated() / 2**20 if device.type == "cuda" else 0.0
    return steps * batch / (clock() - started), peak


def _cache(folder: Path, count: int, size: int) -> Cache:
    """Smooth random volumes: speed does not depend on what they show."""
    rng = np.random.default_rng(SEED)
    volumes = (np.clip(rng.normal(0.4, 0.2, (size,) * 3), 0, 1).astype(np.float32) for _ in range(count))
    table = pd.DataFrame({"scan": range(count), "patient": [f"p{n}" for n in range(count)]})
    write_cache(folder, table, volumes)
    return Cache(folder)


# --- parts: each a function of the step -----------------------------------------------------------------------------


def _reading(cache: Cache, batch: int) -> Callable[[int], None]:
    batches = StepBatches(cache, range(len(cache)), batch_size=batch, epochs=10_000, seed=SEED)
    return lambda step: cache.batch(batches.rows_of(step).tolist())


def _our_views(cache: Cache, batch: int, device: torch.device) -> Callable[[int], list[Tensor]]:
    batches = StepBatches(cache, range(len(cache)), batch_size=batch, epochs=10_000, seed=SEED)

    def views(step: int) -> list[Tensor]:
        volumes = cache.batch(batches.rows_of(step).tolist()).to(device, non_blocking=True).float().div_(255)
        return [draw_view(batch, ViewRanges(), SEED, step, view).apply(volumes) for view in range(2)]

    return views


def _monai_views(cache: Cache, batch: int) -> Callable[[int], list[Tensor]]:
    """The usual way: one float volume after the other through MONAI's random transforms, in the loading process."""
    from monai.transforms import (
        Compose,
        RandAdjustContrast,
        RandAffine,
        RandFlip,
        RandGaussianNoise,
        RandGaussianSmooth,
        RandSpatialCrop,
        Resize,
    )

    size, ranges = cache.size, ViewRanges()
    radians = np.deg2rad(ranges.rotation_degrees)
    least = [int(n * ranges.crop[0]) for n in size]
    augment = Compose(
        [
            RandFlip(ranges.flip_probability, 0),
            RandAffine(
                ranges.affine_probability,
                rotate_range=[radians] * 3,
                scale_range=[0.12] * 3,
                translate_range=[ranges.shift * n for n in size],
                padding_mode="zeros",
            ),
            RandSpatialCrop(least, size, random_size=True),
            Resize(size, mode="trilinear"),
            RandGaussianSmooth(*[ranges.blur_sigma] * 3, prob=ranges.blur_probability),
            RandAdjustContrast(ranges.intensity_probability, ranges.gamma),
            RandGaussianNoise(ranges.noise_probability, 0, ranges.noise_deviation[1]),
        ]
    ).set_random_state(SEED)
    batches = StepBatches(cache, range(len(cache)), batch_size=batch, epochs=10_000, seed=SEED)

    def views(step: int) -> list[Tensor]:
        volumes = cache.batch(batches.rows_of(step).tolist()).float() / 255
        return [torch.stack([augment(volume) for volume in volumes]) for _ in range(2)]

    return views


def _training(batch: int, device: torch.device, options: argparse.Namespace, *, plain: bool, compiled: bool = False):
    """A function of both views that takes one optimizer step: ours in channels-last with the stem on cells, or not."""
    network = replace(Network(), width=options.width)
    size = (options.size,) * 3
    if plain:
        net = encoder(network.architecture, network.width, network.embedding)
        projector: nn.Module = Projector(net.embedding_size, network.projector_hidden, network.projector_size)
    else:
        net, projector = build(network, size, SEED)
    net, projector = net.to(device), projector.to(device)
    if compiled:
        net.compile()
    optimiser = torch.optim.AdamW([*net.parameters(), *projector.parameters()], lr=1e-4)
    layout = torch.contiguous_format if plain else torch.channels_last_3d

    def train(views: Tensor) -> None:
        with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
            projections = projector(net(views.contiguous(memory_format=layout)))
            loss = nt_xent(*projections.chunk(2), 0.5)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return train


def _network(batch: int, device: torch.device, options: argparse.Namespace, *, plain: bool) -> Callable[[int], None]:
    train = _training(batch, device, options, plain=plain)
    views = torch.rand(2 * batch, 1, *(options.size,) * 3, device=device)
    return lambda step: train(views)


def _whole(
    cache: Cache, batch: int, device: torch.device, options: argparse.Namespace, *, plain: bool, compiled: bool = False
) -> Callable[[int], None]:
    train = _training(batch, device, options, plain=plain, compiled=compiled)
    views = _monai_views(cache, batch) if plain else _our_views(cache, batch, device)
    return lambda step: train(torch.cat(views(step)).to(device))


# --- bounds ---------------------------------------------------------------------------------------------------------


def _bounds(device: torch.device, options: argparse.Namespace) -> None:
    dtype = torch.bfloat16 if device.type == "cuda" else torch.float32
    train = _training(1, device, options, plain=True)
    with FlopCounterMode(display=False) as counter:
        train(torch.rand(4, 1, *(options.size,) * 3, device=device))
    flops = counter.get_total_flops() / 2  # two volumes, four views
    n = 8192 if device.type == "cuda" else 1024
    a, b = (torch.rand(n, n, device=device).to(dtype) for _ in range(2))
    products = 2 * n**3 * max(_measured(lambda _: a @ b, 10, 1, device)[0] for _ in range(3))
    source = torch.rand(2**28 if device.type == "cuda" else 2**24, device=device)
    target = torch.empty_like(source)
    copied = 8 * len(source) * max(_measured(lambda _: target.copy_(source), 10, 1, device)[0] for _ in range(3))
    scale = (options.size / 128) ** 3 * options.width * (1 if device.type == "cuda" else 2)  # float32: twice the bytes
    print("| bound | needed for a volume | measured rate | volumes a second |")
    print("|---|---|---|---|")
    print(f"| arithmetic | {flops / 1e9:.3g} GFLOP | {products / 1e12:.3g} TFLOP/s | {products / flops:.3g} |")
    for name, size in (("traffic, eager", EAGER_GB), ("traffic, fused", FUSED_GB)):
        needed = 2 * size * scale
        print(f"| {name} | {needed:.3g} GB | {copied / 1e9:.3g} GB/s | {copied / 1e9 / needed:.3g} |")


if __name__ == "__main__":
    main()
