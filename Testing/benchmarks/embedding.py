"""Scans a minute from model input to embedding: ``python -m Testing.benchmarks.embedding``.

Reading and preprocessing are not in it. Every row is a process of its own, the rows take turns over the rounds, and
medians are printed as a markdown table. The encoders run as the predictor runs them (float32, ``inference_mode``): the
bundled one, and ResNet50 (v1, 128 cubed) and ViT-B (v2, 96 cubed) at random initialization, as speed does not depend on
weights. Memory is what a process takes beyond the loaded encoder and its input at its highest point (Linux). CPU
seconds are the figure to trust on a shared machine. ``--calls 1 --rounds 1`` is a quick trial.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
import subprocess
import sys

from Testing.benchmarks.network import measured

ENCODERS = ("bundled", "ResNet50 (v1)", "ViT-B (v2)")
BATCHES, THREADS = (1, 4), (1, 2)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=10, help="timed calls a process, after one to warm up (10)")
    parser.add_argument("--rounds", type=int, default=3, help="processes a row (3)")
    parser.add_argument("--device", default="cpu", choices=("cpu", "cuda"))
    parser.add_argument("--child", nargs=3, metavar=("ENCODER", "BATCH", "THREADS"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        name, batch, threads = options.child
        print(json.dumps(embed(name, int(batch), int(threads), options.device, options.calls)))
        return
    import torch

    threads = THREADS if options.device == "cpu" else (1,)
    variants = [(name, batch, count) for name in ENCODERS for batch in BATCHES for count in threads]
    runs = {variant: [] for variant in variants}
    for _ in range(options.rounds):
        for variant in variants:
            runs[variant].append(_child(variant, options))
    print(f"torch {torch.__version__}, {platform.platform()}, {options.device}, {options.calls} calls a process\n")
    print("| encoder | batch | threads | scans a minute | wall s a scan | CPU s a scan | peak MiB |")
    print("|---|---|---|---|---|---|---|")
    for (name, batch, count), found in runs.items():
        wall, cpu = (statistics.median(run[key] for run in found) / batch for key in ("wall", "cpu"))
        memory = "-" if found[0]["memory"] is None else f"{statistics.median(run['memory'] for run in found):.0f}"
        print(f"| {name} | {batch} | {count} | {60 / wall:.0f} | {wall:.4f} | {cpu:.4f} | {memory} |")


def embed(name: str, batch: int, threads: int, device: str, calls: int) -> dict[str, float | None]:
    """Wall and CPU seconds of one call (medians), and the MiB it takes, in this process."""
    import torch

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    net, size = encoder(name)
    net, inputs = net.to(device), torch.randn(batch, 1, *size, device=device)
    with torch.inference_mode():
        first = measured(lambda: net(inputs), device)
        timed = [measured(lambda: net(inputs), device) for _ in range(calls)]
    return {key: statistics.median(call[key] for call in timed) for key in ("wall", "cpu")} | {
        "memory": first["memory"]
    }


def encoder(name: str):
    """One of ``ENCODERS`` in evaluation mode, and the size of its input."""
    from BrainIACLib.checkpoints.installed import find_encoder, load_model
    from BrainIACLib.models import encoders

    if name == "bundled":
        model = find_encoder()
        return load_model(model).encoder, model.contract.encoder.input_size
    architecture, embedding, edge = {"ResNet50 (v1)": ("resnet50", "gap", 128), "ViT-B (v2)": ("vit_b", "token0", 96)}[
        name
    ]
    net = encoders.encoder(architecture, 1.0, embedding)
    return net.eval().requires_grad_(False), (edge,) * 3


def _child(variant: tuple[str, int, int], options: argparse.Namespace) -> dict:
    command = [sys.executable, "-m", "Testing.benchmarks.embedding", "--calls", str(options.calls)]
    command += ["--device", options.device, "--child", *map(str, variant)]
    return json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
