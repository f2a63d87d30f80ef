"""The child process of ``conversion``: ``python -m BrainIACLib.checkpoints.conversion_process``; one JSON line out."""

from __future__ import annotations

import argparse
import dataclasses
import errno
import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

import torch
from safetensors import SafetensorError
from safetensors.torch import save_file
from torch import Tensor

from BrainIACLib.checkpoints.conversion import MEMORY_BASE, MEMORY_PER_BYTE, TIME_LIMIT
from BrainIACLib.checkpoints.installed import InstalledModel, load_mask_net, load_model
from BrainIACLib.checkpoints.model_card import model_card
from BrainIACLib.checkpoints.official_contracts import official_contract
from BrainIACLib.checkpoints.reading import Checkpoint, read_checkpoint
from BrainIACLib.checkpoints.recognition import Recognised, recognise
from BrainIACLib.contracts import ModelContract, SourceContract, contract_to_json, read_contract
from BrainIACLib.errors import ModelError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.foreign_text import printable
from BrainIACLib.models.encoders import empty_encoder
from BrainIACLib.models.heads import EncoderWithHead, empty_head
from BrainIACLib.models.unetr import Unetr, empty_decoder
from BrainIACLib.models.vit import ViT


def main(arguments: list[str] | None = None) -> int:
    """Inspect or convert one file; the answer, or the error, is the last line of standard output."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("action", choices=("inspect", "convert"))
    parser.add_argument("path", type=Path)
    parser.add_argument("--task")
    parser.add_argument("--accepted")
    parser.add_argument("--out", type=Path)
    options = parser.parse_args(arguments)
    try:
        limit_resources(options.path.stat().st_size)
        if options.action == "inspect":
            recognised = recognise(read_checkpoint(options.path, check_sums=False).shapes)
            tasks = recognised.tasks
            answer = {"title": recognised.title, "generation": recognised.generation, "tasks": tasks}
        else:
            answer = {"id": convert(options.path, options.task, options.accepted, options.out)}
    except ModelError as error:
        text = str(error)  # what tensors are said to be is said without the file that they came from
        answer = {"error": text if options.path.name in text else f"'{options.path.name}': {text}"}
        answer["command"] = error.command
    except MemoryError:
        answer = {"error": f"'{options.path.name}' needs more memory than a file of its size should."}
    except OSError as error:
        answer = {"error": _in_words(error, options.path.name)}
    print(json.dumps(answer), flush=True)
    return 1 if "error" in answer else 0


def limit_resources(file_size: int) -> None:
    """Bound what this process may take from now on, where the system can."""
    if sys.platform == "win32":  # which knows no such limits: the parent's time limit remains
        return
    import resource

    limits = [(resource.RLIMIT_CPU, 2 * TIME_LIMIT), (resource.RLIMIT_FSIZE, 2 * file_size + (1 << 20))]
    statistics = Path("/proc/self/statm")
    if statistics.exists():  # Linux alone counts and bounds private memory
        taken = int(statistics.read_text().split()[5]) * resource.getpagesize()
        limits.append((resource.RLIMIT_DATA, taken + MEMORY_BASE + MEMORY_PER_BYTE * file_size))
    for name, limit in limits:
        _, hard = resource.getrlimit(name)
        limit = limit if hard == resource.RLIM_INFINITY else min(limit, hard)
        resource.setrlimit(name, (limit, limit))


def convert(path: Path, task: str, accepted: str, out: Path) -> str:
    """See ``conversion.convert_checkpoint``."""
    source_sha256 = file_sha256(path)
    checkpoint = read_checkpoint(path)
    recognised = recognise(checkpoint.shapes)
    if task not in recognised.tasks:
        raise ModelError(
            f"'{path.name}' is a {recognised.title}; it can be for {', '.join(recognised.tasks)}, not for '{task}'."
        )
    parts = {
        "encoder": _encoder_tensors(recognised, checkpoint),
        "head": _tensors(recognised.head_keys, checkpoint),
        "decoder": _tensors(recognised.decoder_keys, checkpoint),
    }
    _check_values(parts, checkpoint, recognised, path.name)
    sha256 = {name: _write_tensors(tensors, out / f"{name}.safetensors") for name, tensors in parts.items() if tensors}
    source = SourceContract(
        name=printable(path.name, keep=""),
        sha256=source_sha256,
        layout=recognised.title,
        dropped_keys=recognised.dropped_keys,
        allowed_missing_keys=recognised.zero_keys,
        terms_accepted=accepted,
    )
    if recognised.generation == "own":
        contract = _own_contract(read_contract(path.parent), source, sha256)
    else:
        contract = official_contract(recognised, task, source, sha256)
    _write_text(contract_to_json(contract), out / "contract.json")
    _write_text(model_card(contract), out / "card.md")
    _compare_outputs(parts, InstalledModel(out, read_contract(out)))
    return contract.id


def _own_contract(beside: ModelContract, source: SourceContract, sha256: Mapping[str, str]) -> ModelContract:
    """A checkpoint of ``Training/`` means what the contract.json in its folder says; the weights are new."""
    if beside.head is None:
        raise ModelError(f"'{source.name}' has a head, but the contract.json beside it has none.")
    return dataclasses.replace(
        beside,
        id=f"{beside.id}-{source.sha256[:8]}",
        encoder=dataclasses.replace(beside.encoder, weights="encoder.safetensors", sha256=sha256["encoder"]),
        head=dataclasses.replace(beside.head, weights="head.safetensors", sha256=sha256["head"]),
        source=source,
    )


def _encoder_tensors(recognised: Recognised, checkpoint: Checkpoint) -> dict[str, Tensor]:
    net = empty_encoder(recognised.architecture, recognised.width, "token0")
    return {
        key: torch.zeros(empty.shape, dtype=empty.dtype)
        if key in recognised.zero_keys
        else checkpoint.tensors[recognised.encoder_keys[key]].contiguous()
        for key, empty in net.state_dict().items()
    }


def _tensors(keys: Mapping[str, str], checkpoint: Checkpoint) -> dict[str, Tensor]:
    return {key: checkpoint.tensors[source].contiguous() for key, source in keys.items()}


def _check_values(parts: Mapping[str, Any], checkpoint: Checkpoint, recognised: Recognised, name: str) -> None:
    for tensors in parts.values():
        for key, tensor in tensors.items():
            if tensor.is_floating_point() != (not key.endswith("num_batches_tracked")):
                raise ModelError(f"'{name}' cannot be used: '{key}' is of type {tensor.dtype}.")
            if tensor.is_floating_point() and not tensor.isfinite().all():
                raise ModelError(f"'{name}' cannot be used: its weights '{key}' hold NaN or infinite values.")
    for twin, original in recognised.twins.items():
        if not torch.equal(checkpoint.tensors[twin], checkpoint.tensors[original]):
            raise ModelError(
                f"'{name}' holds two copies that differ ('{twin}' and '{original}'); which is meant is unclear."
            )


def _write_tensors(tensors: dict[str, Tensor], path: Path) -> str:
    try:
        save_file(tensors, path)
    except SafetensorError as error:  # its text alone carries the system's error number
        number = re.search(r"os error (\d+)", str(error))
        raise OSError(int(number[1]) if number else errno.EIO, str(error)) from None
    with path.open("rb+") as file:
        os.fsync(file.fileno())
    return file_sha256(path)


def _write_text(text: str, path: Path) -> None:
    with path.open("w", encoding="utf-8", newline="\n") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _compare_outputs(parts: Mapping[str, dict[str, Tensor]], model: InstalledModel) -> None:
    """The files as they will be used against the tensors as they were read: bit by bit, then one forward pass."""
    contract = model.contract
    original = empty_encoder(contract.encoder.architecture, contract.encoder.width, contract.encoder.embedding)
    head: torch.nn.Module = torch.nn.Identity()
    if contract.head is not None:
        head = empty_head(contract.head.head_type, contract.encoder.embedding_size, contract.head.outputs)
    installed = load_model(model)
    for net, written, tensors in (
        (original, installed.encoder, parts["encoder"]),
        (head, installed.head, parts["head"]),
    ):
        net.load_state_dict({key: _as_float32(tensor) for key, tensor in tensors.items()}, assign=True)
        read = net.state_dict()
        if not all(torch.equal(value, read[key]) for key, value in written.state_dict().items()):
            raise ModelError("The converted weights differ from the original ones; the disk may be damaged.")
    size = contract.encoder.input_size if contract.encoder.architecture == "vit_b" else (64, 64, 64)
    image = torch.rand((1, 1, *size), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        before, after = EncoderWithHead(original, head).eval()(image), installed(image)
    if not torch.equal(before, after) or not after.isfinite().all():
        raise ModelError("The converted model computes other or no finite numbers; the file cannot be used.")
    if contract.mask is not None:
        _compare_masks(original, parts["decoder"], model, image)


def _compare_masks(encoder: torch.nn.Module, tensors: dict[str, Tensor], model: InstalledModel, image: Tensor) -> None:
    decoder, installed = empty_decoder(model.contract.encoder.embedding_size), load_mask_net(model)
    decoder.load_state_dict({key: _as_float32(tensor) for key, tensor in tensors.items()}, assign=True)
    with torch.inference_mode():
        before, after = Unetr(cast(ViT, encoder), decoder).eval()(image), installed(image)
    if not torch.equal(before, after) or not after.isfinite().all():
        raise ModelError("The converted decoder computes other or no finite numbers; the file cannot be used.")


def _as_float32(tensor: Tensor) -> Tensor:
    return tensor.float() if tensor.is_floating_point() else tensor


def _in_words(error: OSError, name: str) -> str:
    if error.errno in (errno.ENOSPC, errno.EFBIG, errno.EDQUOT):
        return f"There is no space left to convert '{name}'; free some and import it again. Nothing was installed."
    return f"Converting '{name}' failed ({error.strerror or error}). Nothing was installed."


if __name__ == "__main__":
    sys.exit(main())
