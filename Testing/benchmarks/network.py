"""Time and memory of encoder, start and saliency against MONAI's: ``python -m Testing.benchmarks.network``.

Every figure comes from a process of its own; variants take turns, so that a busy moment meets them all, and medians
over the rounds are printed as a markdown table with ratios. Weights are random (seeded), as speed does not depend on
them. Close everything else first. ``--size 64 --samples 2 --rounds 1`` is a quick trial.

Memory is what the process takes beyond the loaded model at its highest point: "resident" as the system counts it, "in
use" with glibc told to hand freed blocks back at once, so that the gaps its heap keeps are not counted (Linux only).

Two correct float32 maps need not be equal: where a ReLU's input is within rounding of zero, or the two largest values
of a max-pool are within rounding of each other, they decide differently. The agreement table therefore shows how far
each map, MONAI's too, is from the float64 one.
"""

from __future__ import annotations

import argparse
import ctypes
import gc
import importlib
import itertools
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ENCODERS = ("plain call", "channels-last", "prepared", "bf16 channels-last", "bf16 prepared")
SALIENCIES = ("MONAI as used upstream", "MONAI truly guided", "ours plain", "ours guided", "ours guided, bf16")
FLOAT64 = ("ours plain, float64", "ours guided, float64")
STARTS = ("import torch", "ours", "MONAI", "installed model")
GIVE_BACK_FREED_BLOCKS = {"MALLOC_MMAP_THRESHOLD_": "262144"}
SEED, NOISE = 0, 0.15


def main() -> None:
    """Run the parts asked for and print their tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, nargs="+", default=[10, 25], help="noise samples of the saliency map")
    parser.add_argument("--size", type=int, default=128, help="edge of the cubic input in voxels")
    parser.add_argument("--rounds", type=int, default=5, help="processes per variant (saliency: at most 3)")
    parser.add_argument("--parts", nargs="+", choices=("encoder", "start", "saliency"))
    parser.add_argument("--child", nargs=5, metavar=("KIND", "VARIANT", "DEVICE", "SAMPLES", "FOLDER"))
    options = parser.parse_args()
    if options.child:
        kind, variant, device, samples, folder = options.child
        print(json.dumps(CHILDREN[kind](variant, device, int(samples), Path(folder), options.size)))
        return
    import torch

    sys.stdout.reconfigure(line_buffering=True)
    parts = options.parts or ("encoder", "start", "saliency")
    devices = ["cpu", "cuda"] if torch.cuda.is_available() else ["cpu"]
    print(
        f"torch {torch.__version__}, {platform.platform()}, {torch.get_num_threads()} threads, {options.size}^3 voxels"
    )
    with tempfile.TemporaryDirectory() as folder:
        _write_model(Path(folder), options.size)
        if "encoder" in parts:
            for device in devices:
                _encoder_table(device, Path(folder), options)
        if "start" in parts:
            _start_table(Path(folder), options)
        if "saliency" in parts:
            for device in devices:
                for samples in options.samples:
                    _saliency_table(device, samples, Path(folder), options)
                _agreement_table(device, Path(folder), options)


# --- what each process measures -------------------------------------------------------------------------------------


def _encoder_child(variant: str, device: str, _samples: int, folder: Path, _size: int) -> dict:
    import torch

    net = _our_model(folder).encoder.to(device)
    if "prepared" in variant:
        from BrainIACLib.models.inference import prepare_for_inference

        net = prepare_for_inference(net)
    dtype = torch.bfloat16 if "bf16" in variant else torch.float32
    layout = torch.contiguous_format if variant == "plain call" else torch.channels_last_3d
    net = net.to(dtype=dtype) if "prepared" in variant else net.to(dtype=dtype, memory_format=layout)
    inputs = torch.load(folder / "input.pt").to(device, dtype).contiguous(memory_format=layout)
    with torch.no_grad():
        first = measured(lambda: net(inputs), device)
        calls = [measured(lambda: net(inputs), device) for _ in range(5)]
    torch.save(calls[-1].pop("value").float().cpu(), _result_file(folder, "encoder", variant, device))
    seconds = {key: statistics.median(call[key] for call in calls) for key in ("wall", "cpu")}
    return {**seconds, "memory": first["memory"], "first": first["wall"]}


def _saliency_child(variant: str, device: str, samples: int, folder: Path, _size: int) -> dict:
    import torch

    inputs = torch.load(folder / "input.pt").to(device)
    if variant.startswith("MONAI"):
        from monai.visualize import GuidedBackpropSmoothGrad

        model = _monai_model(folder).to(device)
        if "truly" in variant:
            _name_relus_as_monai_expects(model)
        generator = torch.Generator().manual_seed(SEED)
        torch.normal = lambda mean, deviation, size, dtype, device: (  # the noise of ours, on any device
            mean + deviation * torch.randn(size, generator=generator, dtype=dtype)
        ).to(device)
        method = GuidedBackpropSmoothGrad(model, NOISE, samples, verbose=False)
        result = measured(lambda: method(inputs, index=0)[0, 0] * samples**0.5, device)
    else:
        from BrainIACLib.models.inference import prepare_for_inference
        from BrainIACLib.saliency import guided_smoothgrad

        dtype = torch.float64 if "float64" in variant else torch.float32
        model, inputs = prepare_for_inference(_our_model(folder).to(device, dtype)), inputs.to(dtype)
        with torch.autocast(device, torch.bfloat16, enabled="bf16" in variant):
            options = {"samples": samples, "noise": NOISE, "seed": SEED, "guided": "guided" in variant}
            result = measured(lambda: guided_smoothgrad(model, inputs, lambda out: out[:, 0], **options).map, device)
    torch.save(result.pop("value").double().cpu(), _result_file(folder, "saliency", variant, device))
    return result


def _start_child(variant: str, _device: str, _samples: int, folder: Path, size: int) -> dict:
    marks = [time.perf_counter()]
    import torch

    if variant == "import torch":
        return {"import": time.perf_counter() - marks[0]}
    importlib.import_module("monai.networks.nets" if variant == "MONAI" else "BrainIACLib.predictor")
    marks.append(time.perf_counter())
    if variant == "installed model":
        from BrainIACLib.checkpoints.installed import installed_models, load_model

        installed = installed_models()[0]
        model, shape = load_model(installed), installed.contract.encoder.input_size
    else:
        model, shape = (_monai_model if variant == "MONAI" else _our_model)(folder), (size,) * 3
    marks.append(time.perf_counter())
    with torch.inference_mode():
        model(torch.zeros(1, 1, *shape))
    marks.append(time.perf_counter())
    phases = (later - earlier for earlier, later in itertools.pairwise(marks))
    return {**dict(zip(("import", "load", "forward"), phases, strict=True)), "resident": status_mib("VmHWM")}


CHILDREN = {"encoder": _encoder_child, "saliency": _saliency_child, "start": _start_child}


def measured(call, device: str) -> dict:
    """Value, wall and CPU seconds, and the MiB taken beyond what was held before, at the highest point."""
    import torch

    if device == "cuda":
        torch.cuda.reset_peak_memory_stats()
        torch.cuda.synchronize()
        before = torch.cuda.memory_allocated() / 2**20
    else:
        gc.collect()
        if sys.platform == "linux":
            ctypes.CDLL(None).malloc_trim(0)  # hand back what loading and preparing the model left behind
        before = status_mib("VmRSS")
        if before is not None:
            Path("/proc/self/clear_refs").write_text("5")  # start the highest point anew
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    if device == "cuda":
        torch.cuda.synchronize()
    wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    highest = torch.cuda.max_memory_allocated() / 2**20 if device == "cuda" else status_mib("VmHWM")
    return {"value": value, "wall": wall, "cpu": cpu, "memory": None if before is None else highest - before}


def status_mib(field: str) -> float | None:
    status = Path("/proc/self/status")
    if not status.exists():
        return None
    (line,) = (line for line in status.read_text().splitlines() if line.startswith(field + ":"))
    return int(line.split()[1]) / 1024


# --- the two models, with equal weights -----------------------------------------------------------------------------


def _write_model(folder: Path, size: int) -> None:
    import torch
    from safetensors.torch import save_file

    from BrainIACLib.models.heads import EncoderWithHead, LinearHead
    from BrainIACLib.models.resnet import ResNet

    torch.manual_seed(SEED)
    model = EncoderWithHead(ResNet("resnet50"), LinearHead(2048, 4))
    save_file(model.state_dict(), folder / "ours.safetensors")
    torch.save(
        {key.replace("encoder.", "").replace("head.", ""): value for key, value in model.state_dict().items()},
        folder / "monai.pt",
    )
    torch.save(torch.rand(1, 1, size, size, size), folder / "input.pt")


def _our_model(folder: Path):
    from safetensors.torch import load_file

    from BrainIACLib.models.encoders import empty_encoder
    from BrainIACLib.models.heads import EncoderWithHead, empty_head

    model = EncoderWithHead(empty_encoder("resnet50", 1.0, "gap"), empty_head("linear", 2048, 4))
    model.load_state_dict(load_file(folder / "ours.safetensors"), assign=True)
    return model.eval().requires_grad_(False)


def _monai_model(folder: Path):
    import torch
    from monai.networks.nets import resnet50

    model = resnet50(spatial_dims=3, n_input_channels=1, conv1_t_stride=2, num_classes=4)
    model.load_state_dict(torch.load(folder / "monai.pt", weights_only=True))
    return model.eval()


def _name_relus_as_monai_expects(model) -> None:
    from collections import OrderedDict

    from torch import nn

    for module in list(model.modules()):
        if isinstance(getattr(module, "act", None), nn.ReLU):
            module.act = nn.Sequential(OrderedDict(relu=nn.ReLU()))


# --- tables ---------------------------------------------------------------------------------------------------------


def _rounds(kind: str, variants: list[str], device: str, samples: int, folder: Path, size: int, rounds: int) -> dict:
    """variant -> median of each figure over the rounds; the variants take turns within a round."""
    figures = {variant: [] for variant in variants}
    for _ in range(rounds):
        for variant in variants:
            figures[variant].append(_child(kind, variant, device, samples, folder, size, {}))
    return {variant: {key: _median([run[key] for run in runs]) for key in runs[0]} for variant, runs in figures.items()}


def _child(kind: str, variant: str, device: str, samples: int, folder: Path, size: int, environment: dict) -> dict:
    command = [sys.executable, "-m", "Testing.benchmarks.network", "--size", str(size)]
    command += ["--child", kind, variant, device, str(samples), str(folder)]
    started = time.perf_counter()
    finished = subprocess.run(command, stdout=subprocess.PIPE, check=True, env={**os.environ, **environment})
    return {**json.loads(finished.stdout.splitlines()[-1]), "process": time.perf_counter() - started}


def _encoder_table(device: str, folder: Path, options: argparse.Namespace) -> None:
    import torch

    variants = [variant for variant in ENCODERS if "bf16" not in variant or _has_bf16(device)]
    figures = _rounds("encoder", variants, device, 0, folder, options.size, options.rounds)
    print(f"\n## Encoder (resnet50), one volume, {device}\n")
    print("| variant | wall s | of plain | CPU s | resident MiB | cosine to plain | largest difference / largest |")
    print("|---|---|---|---|---|---|---|")
    expected = torch.load(_result_file(folder, "encoder", variants[0], device))
    for variant in variants:
        found = torch.load(_result_file(folder, "encoder", variant, device))
        cosine = torch.cosine_similarity(found.double(), expected.double()).item()
        row = figures[variant]
        print(
            f"| {variant} | {row['wall']:.3f} | {row['wall'] / figures[variants[0]]['wall']:.2f} | {row['cpu']:.3f} "
            f"| {_number(row['memory'], 0)} | {cosine:.7f} | {_difference(found, expected):.1e} |"
        )


def _start_table(folder: Path, options: argparse.Namespace) -> None:
    from BrainIACLib.checkpoints.installed import installed_models

    variants = [variant for variant in STARTS if variant != "installed model" or installed_models()]
    figures = _rounds("start", variants, "cpu", 0, folder, options.size, options.rounds)
    print("\n## Start to the end of the first forward pass, new process, files in the cache\n")
    print(
        "| variant | whole process s | import s | load s | first forward s | resident MiB |\n|---|---|---|---|---|---|"
    )
    for variant in variants:
        row = figures[variant]
        columns = " | ".join(
            f"{row[key]:.2f}" if key in row else "-" for key in ("process", "import", "load", "forward")
        )
        print(f"| {variant} | {columns} | {_number(row.get('resident'), 0)} |")
    print("\nImport seconds by package (`python -X importtime`, own time):", _import_seconds())


def _import_seconds() -> str:
    code = "import BrainIACLib.predictor, torch"
    command = [sys.executable, "-X", "importtime", "-c", code]
    lines = subprocess.run(command, stderr=subprocess.PIPE, text=True, check=True).stderr.splitlines()
    packages: dict[str, float] = {}
    for line in lines:
        own, _, name = line.removeprefix("import time:").split("|")
        if own.strip().isdigit():
            package = name.strip().split(".")[0]
            packages[package] = packages.get(package, 0) + int(own) / 1e6
    largest = sorted(packages.items(), key=lambda item: -item[1])[:6]
    return ", ".join(f"{package} {seconds:.2f}" for package, seconds in largest) + f"; all {sum(packages.values()):.2f}"


def _saliency_table(device: str, samples: int, folder: Path, options: argparse.Namespace) -> None:
    variants = [variant for variant in SALIENCIES if "bf16" not in variant or _has_bf16(device)]
    figures = _rounds("saliency", variants, device, samples, folder, options.size, min(options.rounds, 3))
    print(f"\n## Saliency, {samples} samples, first call of the process, {device}\n")
    print(
        "| variant | wall s | MONAI / this | CPU s | MONAI / this | resident MiB | MONAI / this |\n" + "|---" * 7 + "|"
    )
    for variant in variants:
        columns = [
            f"{_number(figures[variant][key], digits)} | {_ratio(figures[variants[0]][key], figures[variant][key])}"
            for key, digits in (("wall", 2), ("cpu", 2), ("memory", 0))
        ]
        print(f"| {variant} | " + " | ".join(columns) + " |")


def _agreement_table(device: str, folder: Path, options: argparse.Namespace) -> None:
    """Two samples each: the highest point of memory comes with the second, and maps do not agree better for more."""
    import torch

    variants = [variant for variant in SALIENCIES if "bf16" not in variant or _has_bf16(device)]
    in_use, maps = {}, {}
    for variant in (*variants, *FLOAT64):
        where = "cpu" if variant in FLOAT64 else device
        in_use[variant] = _child("saliency", variant, where, 2, folder, options.size, GIVE_BACK_FREED_BLOCKS)["memory"]
        maps[variant] = torch.load(_result_file(folder, "saliency", variant, where)).flatten()
    print(f"\n## Saliency, 2 samples: memory in use, and distance between maps relative to the maximum, {device}\n")
    print(
        "| variant | in use MiB | MONAI / this | largest to MONAI | largest to float64 | 99.9 % within | correlation |"
    )
    print("|---" * 7 + "|")
    for variant in variants:
        is_guided = "guided" in variant
        monai, exact = maps[SALIENCIES[is_guided]], maps[FLOAT64[is_guided]]
        distance = (maps[variant] - exact).abs() / exact.max()
        columns = [_number(in_use[variant], 0), _ratio(in_use[variants[0]], in_use[variant])]
        columns.append(f"{_difference(maps[variant], monai):.1e}")
        columns += [f"{distance.max():.1e}", f"{distance.kthvalue(int(0.999 * len(distance))).values:.1e}"]
        columns.append(f"{torch.corrcoef(torch.stack([maps[variant], exact]))[0, 1]:.6f}")
        print(f"| {variant} | " + " | ".join(columns) + " |")


def _difference(found, expected) -> float:
    return ((found - expected).abs().max() / expected.abs().max()).item()


def _median(values: list[float | None]) -> float | None:
    return None if None in values else statistics.median(values)


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _ratio(base: float | None, value: float | None) -> str:
    return "-" if base is None or not value else f"{base / value:.2f}"


def _has_bf16(device: str) -> bool:
    flags = Path("/proc/cpuinfo")
    return device == "cuda" or (flags.exists() and "avx512_bf16" in flags.read_text())


def _result_file(folder: Path, kind: str, variant: str, device: str) -> Path:
    return folder / f"{kind}-{variant.replace(' ', '_')}-{device}.pt"


if __name__ == "__main__":
    main()
