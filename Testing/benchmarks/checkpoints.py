"""What importing and loading official weights costs: ``python -m Testing.benchmarks.checkpoints``.

Files of the released sizes at random initialisation (v1 ResNet50 task file, 185 MB; v2 ViT-B backbone, 354 MB) in a
temporary folder. Markdown tables: one import (time, processor time and peak memory of the child process); loading the
installed safetensors, also as fp16, against ``torch.load`` of the original, best of ``--repeats``; and what a second
task costs once a study is embedded, on ``--scan`` or a synthetic head.
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
        print("\n| file | torch.load of the original s | load_model fp32 s | load_model fp16 s |\n|---|---|---|---|")
        for task, path in files.items():
            model, half = models[task], in_half_precision(models[task], folder / f"half {task}")
            row = [
                _best(lambda path=path, model=model: _into_net(path, model), options.repeats),
                _best(lambda model=model: load_model(model), options.repeats),
                _best(lambda half=half: load_model(half), options.repeats),
            ]
            print(f"| {path.name} | " + " | ".join(f"{seconds:.2f}" for seconds in row) + " |")
        if options.scan:
            second_task(options.scan, files["age"], folder / "store")


def released_v1(folder: Path) -> Path:
    """A v1 task file of the released size."""
    state = {f"backbone.backbone.{key}": value for key, value in encoder("resnet50", 1.0, "gap").state_dict().items()}
    state |= {"classifier.fc.weight": torch.zeros(1, 2048), "classifier.fc.bias": torch.tensor([300.0])}
    torch.save({"model_state_dict": state}, folder / "brainage_model_latest.pt")
    return folder / "brainage_model_latest.pt"


def released_v2(folder: Path) -> Path:
    """A v2 backbone file of nearly the released size (without the projector)."""
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
    """A first answer from the file on disk, then another head on the same encoder, and one with its own encoder."""
    import_checkpoint(checkpoint, "mci", store)  # the same weights: the encoder is shared
    state = torch.load(checkpoint, weights_only=True)["model_state_dict"]
    state["backbone.backbone.bn1.bias"] += 0.01
    torch.save({"model_state_dict": state}, checkpoint.with_name("stroke_model.pt"))
    import_checkpoint(checkpoint.with_name("stroke_model.pt"), "stroke", store)
    predictor = Predictor("cpu", store)
    began = time.process_time()
    predictor.set_study({"scan": read_scan(scan)})
    predictor.predict("age", "scan")
    first = time.process_time() - began
    print("\n| answer | processor s | share of the first |\n|---|---|---|")
    print(f"| first: read, standardise, load, embed, predict | {first:.2f} | 100 % |")
    for task, title in (("mci", "second head, same encoder"), ("stroke", "third head, encoder of its own")):
        load_model(next(model for model in installed_models(store) if model.task == task))  # into the file cache
        began = time.process_time()
        predictor.predict(task, "scan")
        seconds = time.process_time() - began
        print(f"| {title}, loading it included | {seconds:.2f} | {100 * seconds / first:.1f} % |")
        began = time.process_time()
        predictor.predict(task, "scan")
        seconds = time.process_time() - began
        print(f"| {title}, loaded and embedded | {seconds:.3f} | {100 * seconds / first:.2f} % |")


def _into_net(path: Path, model: InstalledModel) -> None:
    """The original as a program would use it: unpickle, rename, load into the net."""
    content = torch.load(path, weights_only=True)
    state = next(iter(content.values()))
    prefix = "backbone.backbone." if model.contract.head else "backbone."
    net = encoder(model.contract.encoder.architecture, 1.0, model.contract.encoder.embedding)
    net.load_state_dict({key[len(prefix) :]: value for key, value in state.items() if key.startswith(prefix)})


def _best(act: Callable[[], object], repeats: int) -> float:
    seconds = []
    for _ in range(repeats):
        began = time.process_time()
        act()
        seconds.append(time.process_time() - began)
    return min(seconds)


def _in_a_process(act: Callable, *arguments):
    """In a fresh process, so that its children's peak memory is that of this act alone."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(act, arguments)


if __name__ == "__main__":
    main()
