"""What importing and loading official weights costs: ``python -m Testing.benchmarks.checkpoints``.

Files of the released sizes at random initialization (v1 ResNet50 task file, 185 MB; v2 ViT-B backbone, 354 MB) in a
temporary folder. Markdown tables: one import (time, processor time and peak memory of the child process); loading the
installed safetensors, also as fp16, against ``torch.load`` of the original, best of ``--repeats``; and, with
``--scan``, what a second task costs once a study is answered: another head on the same encoder, and another official
file, which brings its own fine-tuned encoder, so that only reading and standardizing are shared.
"""

from __future__ import annotations

import argparse
import dataclasses
import multiprocessing
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

from BrainIACLib.checkpoints.importing import import_checkpoint
from BrainIACLib.checkpoints.installed import InstalledModel, installed_models, load_model
from BrainIACLib.contracts import contract_to_json, read_contract
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.models.encoders import encoder
from BrainIACLib.predictor import Predictor
from BrainIACLib.scans import read_scan
from Testing.library.networks import as_after_training


def main() -> None:
    """Print the three tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--scan", type=Path, help="a scan for the last table; without it, that table is left out")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        files = {"age": released_v1(folder), "embedding": released_v2(folder)}
        print("| file | MB | import s | processor s | peak MB |\n|---|---|---|---|---|")
        for task, path in files.items():
            wall, processor, peak = _in_a_process(measure_import, path, task, folder / "store")
            print(f"| {path.name} | {path.stat().st_size / 1e6:.0f} | {wall:.1f} | {processor:.1f} | {peak:.0f} |")
        models = {model.task: model for model in installed_models(folder / "store")}
        print(
            "\n| file | torch.load alone | torch.load into a new net | load_model fp32, sha256 checked | fp16 |\n"
            "|---|---|---|---|---|"
        )
        for task, path in files.items():
            model, half = models[task], in_half_precision(models[task], folder / f"half {task}")
            row = [
                _best(lambda path=path: torch.load(path, weights_only=True), options.repeats),
                _best(lambda path=path, model=model: _into_net(path, model), options.repeats),
                _best(lambda model=model: load_model(model), options.repeats),
                _best(lambda half=half: load_model(half), options.repeats),
            ]
            print(f"| {path.name} | " + " | ".join(f"{seconds:.2f}" for seconds in row) + " |")
        if options.scan:
            second_task(options.scan, files["age"], folder / "store")


def released_v1(folder: Path) -> Path:
    """A v1 task file of the released size."""
    torch.manual_seed(0)
    net = as_after_training(encoder("resnet50", 1.0, "gap"))
    state = {f"backbone.backbone.{key}": value for key, value in net.state_dict().items()}
    state |= {"classifier.fc.weight": torch.zeros(1, 2048), "classifier.fc.bias": torch.tensor([300.0])}
    torch.save({"model_state_dict": state}, folder / "brainage_model_latest.pt")
    return folder / "brainage_model_latest.pt"


def released_v2(folder: Path) -> Path:
    """A v2 backbone file of nearly the released size (without the projector)."""
    torch.manual_seed(0)
    state = {f"backbone.{key}": value for key, value in encoder("vit_b", 1.0, "token0").state_dict().items()}
    torch.save({"state_dict": state}, folder / "BrainIAC.ckpt")
    return folder / "BrainIAC.ckpt"


def measure_import(path: Path, task: str, store: Path) -> tuple[float, float, float]:
    """(seconds, processor seconds of the child, its peak resident memory in MB) of one import."""
    import resource

    began = time.perf_counter()
    import_checkpoint(path, task, store)
    wall = time.perf_counter() - began
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return wall, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


def in_half_precision(model: InstalledModel, folder: Path) -> InstalledModel:
    """A copy of an installed model with fp16 weights."""
    folder.mkdir()
    contract = model.contract
    parts = {}
    for name, part in (("encoder", contract.encoder), ("head", contract.head)):
        if part is not None:
            tensors = load_file(model.folder / part.weights)
            halved = {key: value.half() if value.is_floating_point() else value for key, value in tensors.items()}
            save_file(halved, folder / part.weights)
            parts[name] = dataclasses.replace(part, sha256=file_sha256(folder / part.weights))
    (folder / "contract.json").write_text(contract_to_json(dataclasses.replace(contract, **parts)), encoding="utf-8")
    return InstalledModel(folder, read_contract(folder))


def second_task(scan: Path, checkpoint: Path, store: Path) -> None:
    """A first answer from the file on disk, then another head on the same encoder, then another official file."""
    import_checkpoint(checkpoint, "mci", store)  # the same weights: the encoder is shared
    state = torch.load(checkpoint, weights_only=True)["model_state_dict"]
    state["backbone.backbone.bn1.bias"] += 0.01
    torch.save({"model_state_dict": state}, checkpoint.with_name("stroke_model.pt"))
    import_checkpoint(checkpoint.with_name("stroke_model.pt"), "stroke", store)
    models = {model.task: model for model in installed_models(store)}
    predictor = Predictor("cpu", store)
    load_model(models["age"])  # what is timed starts with warm libraries and file cache, as the later rows do
    first = _seconds(lambda: (predictor.set_study({"scan": read_scan(scan)}), predictor.predict("age", "scan")))
    print("\n| answer | shared with the first | processor s | share of the first |\n|---|---|---|---|")
    print(f"| first: read, standardize, load, embed, predict | | {first:.2f} | 100 % |")
    for task, title, shared in (
        ("mci", "another head on the same encoder", "standardising, embedding"),
        ("stroke", "another official file, with its own encoder", "standardising"),
    ):
        load_model(models[task])
        for when in ("first time: load included", "again"):
            seconds = _seconds(lambda task=task: predictor.predict(task, "scan"))
            print(f"| {title}, {when} | {shared} | {seconds:.3f} | {100 * seconds / first:.1f} % |")


def _into_net(path: Path, model: InstalledModel) -> None:
    """The original as a program would use it: unpickle, rename, load into the net."""
    content = torch.load(path, weights_only=True)
    state = next(iter(content.values()))
    prefix = "backbone.backbone." if model.contract.head else "backbone."
    net = encoder(model.contract.encoder.architecture, 1.0, model.contract.encoder.embedding)
    net.load_state_dict({key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)})


def _best(act: Callable[[], object], repeats: int) -> float:
    return min(_seconds(act) for _ in range(repeats))


def _seconds(act: Callable[[], object]) -> float:
    """Of processor time."""
    began = time.process_time()
    act()
    return time.process_time() - began


def _in_a_process(act: Callable, *arguments):
    """In a fresh process, so that its children's peak memory is that of this act alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(act, arguments)


if __name__ == "__main__":
    main()
