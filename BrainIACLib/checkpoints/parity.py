"""Upstream's published numbers (PROTOCOL 3.4) against real weights, where a person has them.

Scans are found by their sha256, so the names do not matter; weights are converted into a folder that vanishes at the
end. Inputs are made as by the preset ``official``: scans as stored, resize and normalization of the contract.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from BrainIACLib.checkpoints.conversion import inspect_checkpoint
from BrainIACLib.checkpoints.importing import import_checkpoint
from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.checkpoints.official_files import task_by_name
from BrainIACLib.contracts import EMBEDDING_TASK
from BrainIACLib.errors import BrainIACError, ModelError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.private_folder import temporary_folder

SAMPLES = {
    "00001_t2f": "82aed8546af5e6d8d94fd91c56227abdcf6120130390d1556c4342a208980604",
    "00001_t1c": "4399faadcc45c8a4541313cdf88aced7d835ed59ac3078d950e0eac293d603f5",
    "00001_t1n": "e860924b936e301ddeba20409fbb59dde322475cb49328f1b46a9235c792e73e",
    "00001_t2w": "4cd389cc57d12134a30a898c66532228126b9a7d0600ee578e82a32144528b51",
    "subpixar009_T1w": "1e46cc233952a663f6e5f89e07e5f5f436744d190772ee2a5ca1c639fff1f15a",
    "sample_0000 tensor": "454f7cb71e6e9c8c3fec03548f7972d1db7ce698fb18a58f38a745acb1dba391",
}
SCAN_SUFFIX = ".nii.gz"
HALF_PRECISION, FULL_PRECISION = 2e-2, 1e-3  # relative: older values were probably computed in half precision


@dataclass(frozen=True)
class Golden:
    """Numbers that upstream published: the raw outputs after the link, or the named entries of an embedding."""

    generation: str
    task: str
    samples: tuple[str, ...]
    entries: tuple[int, ...]
    expected: tuple[float, ...]
    tolerance: float
    name: str


GOLDEN = (
    Golden(
        "v1", EMBEDDING_TASK, ("00001_t2f",), (0, 1, 2, 3, 4, -1),
        (1.0091317, 0.7204924, 0.66194254, 1.6527308, 0.21886589, 0.4587407), FULL_PRECISION, "features",
    ),
    Golden(
        "v1", "sequence", ("00001_t2f",), (0, 1, 2, 3), (0.08643489, 0.2677301, 0.0037375, 0.6420975),
        HALF_PRECISION, "probabilities",
    ),
    Golden("v1", "idh", ("00001_t1c", "00001_t2f"), (0,), (0.87116045,), HALF_PRECISION, "probability"),
    Golden("v1", "mci", ("00001_t2f",), (0,), (0.44064537,), HALF_PRECISION, "probability (weak: off-domain)"),
    Golden("v1", "stroke", ("00001_t2f",), (0,), (77.27757,), HALF_PRECISION, "days (older file)"),
    Golden("v1", "stroke", ("subpixar009_T1w",), (0,), (49.2165,), FULL_PRECISION, "days"),
    Golden("v1", "age", ("00001_t2f",), (0,), (50.913994,), HALF_PRECISION, "months (older file)"),
    Golden("v1", "age", ("subpixar009_T1w",), (0,), (43.1463,), FULL_PRECISION, "months"),
    Golden(
        "v2", EMBEDDING_TASK, ("sample_0000 tensor",), (0, 1, 2, 3, 4, -1),
        (1.3895652, 0.40950263, -0.63220817, -0.85498595, -1.5196849, 2.5349183), FULL_PRECISION, "features",
    ),
)  # fmt: skip


def run_parity(weights: Path, scans: Path) -> list[dict[str, Any]]:
    """One row for each golden value: ``result`` is "equal", "differs", or what is missing.

    A file whose keys cannot tell its task counts for the task that its released name suggests.
    """
    found_scans = _found_scans(scans)
    rows = []
    with temporary_folder() as store:
        models, notes = _converted(weights, store)
        for golden in GOLDEN:
            fitting = [m for m in models if (m.contract.encoder.generation, m.task) == (golden.generation, golden.task)]
            row: dict[str, Any] = {"weights": f"{golden.generation} {golden.task}", "scans": " + ".join(golden.samples)}
            row |= {"value": golden.name, "expected": _rounded(golden.expected), "found": None, "difference": None}
            missing = [sample for sample in golden.samples if sample not in found_scans]
            if missing:
                rows.append({**row, "result": f"no scan {', '.join(missing)}"})
            elif not fitting:
                rows.append({**row, "result": "no weights"})
            for model in fitting if not missing else ():
                values = _values(model, [found_scans[sample] for sample in golden.samples])
                chosen = values[list(golden.entries)]
                scale = np.maximum(np.abs(golden.expected), 1e-2 if len(golden.entries) > 1 else 1e-6)
                difference = float(np.max(np.abs(chosen - golden.expected) / scale))
                name = model.contract.source.name if model.contract.source else model.contract.id
                row |= {"weights": f"{row['weights']} ({name})", "found": _rounded(chosen.tolist())}
                result = "equal" if difference <= golden.tolerance else "differs"
                rows.append({**row, "difference": f"{difference:.2e}", "result": result})
    empty = {name: None for name in rows[0]}
    return rows + [{**empty, "weights": name, "result": f"not used: {reason}"} for name, reason in notes.items()]


def _rounded(values: Sequence[float]) -> str:
    return " ".join(f"{value:.5g}" for value in values)


def _found_scans(folder: Path) -> dict[str, Path]:
    names = {sha256: name for name, sha256 in SAMPLES.items()}
    hashes = {file_sha256(path): path for path in sorted(folder.rglob(f"*{SCAN_SUFFIX}"))}
    return {names[sha256]: path for sha256, path in hashes.items() if sha256 in names}


def _converted(weights: Path, store: Path) -> tuple[list[InstalledModel], dict[str, str]]:
    models, notes = [], {}
    if not weights.is_dir():
        raise ModelError(f"'{weights}' is not a folder of weight files.")
    for path in sorted(path for path in weights.iterdir() if path.is_file() and not path.name.endswith(SCAN_SUFFIX)):
        try:
            tasks = inspect_checkpoint(path).tasks
            task = tasks[0] if len(tasks) == 1 else task_by_name(path.name, tasks)
            if task is None:
                notes[path.name] = f"neither its content nor its name tells its task ({', '.join(tasks)})"
                continue
            models.append(import_checkpoint(path, task, store).model)
        except BrainIACError as error:
            notes[path.name] = str(error)
    return models, notes


def _values(model: InstalledModel, scans: list[Path]) -> np.ndarray:
    """The embedding, or the outputs after the link in the network's own unit."""
    import dataclasses

    import SimpleITK as sitk
    import torch

    from BrainIACLib.contracts import AS_STORED, TWO_CLASS_LINKS
    from BrainIACLib.models.heads import linked
    from BrainIACLib.preprocessing.intensity import model_input

    net = load_model(model)
    encoder = dataclasses.replace(model.contract.encoder, orientation=AS_STORED)
    with torch.inference_mode():
        embeddings = []
        for path in scans:
            image = sitk.ReadImage(str(path), sitk.sitkFloat32)
            if file_sha256(path) == SAMPLES["sample_0000 tensor"]:  # normalized already
                tensor = torch.from_numpy(sitk.GetArrayFromImage(image).transpose(2, 1, 0).copy())[None, None]
            else:
                tensor = model_input(image, encoder)
            embeddings.append(net.encoder(tensor))
        embedding = torch.stack(embeddings).mean(dim=0)
        if model.contract.head is None:
            return embedding[0].numpy()
        head = model.contract.head
        answered = linked(net.head(embedding)[0], head.link, head.temperature).numpy()
        return answered[1:] if head.link in TWO_CLASS_LINKS else answered  # golden values name the second class alone
