"""Where a trained cell looks: maps for the figures, and their distance from tumors in mm (PROTOCOL P-36, P-43, P-44).

Each case is explained by a network that is tested with it: in a cross-validation by that of the one fold which does.
Maps are made on the grid of the encoder's input, inside the brain. The way there from the patient's own grid is rigid,
so that millimeters are the same. Transformers have no ReLU to guide: their maps are of plain SmoothGrad.
"""

from __future__ import annotations

import io
import typing
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor, nn

from BrainIACLib.models.heads import EncoderWithHead, OneOfSeveral
from BrainIACLib.publishing import write_bytes, write_text
from BrainIACLib.saliency import guided_smoothgrad
from BrainIACLib.statistics.saliency_distance import centre_of_mass_distance
from Training.downstream.inputs import VolumeInputs
from Training.downstream.plan import Workbench
from Training.runs.cell import Cell
from Training.tasks import TASKS

if typing.TYPE_CHECKING:
    from Training.downstream.one_training import Trained

PICTURES = 2  # patients of each task whose maps are kept
THRESHOLD = 0.0  # of the map's maximum; the paper states none (P-36)
FOLDER = "saliency"


def write_saliency(bench: Workbench, cell: Cell, trainings: Sequence[Trained], folder: Path) -> None:
    """Write ``saliency/`` of a cell: maps of ``PICTURES`` test patients, and distances where tumor masks are known.

    ``bench.plan.saliency_patients`` test patients are chosen, the first of ``_ranked_patients``; the maps of the first
    are kept, and all that have a mask are measured, each on all its scans.

    Parameters
    ----------
    trainings : one, or one for each fold.
    """
    data, start = bench.studies(cell.task), bench.initialisation(cell.initialisation)
    masks = tumour_masks(bench.plan.tumours)
    patients = _ranked_patients(bench, cell, trainings)[: bench.plan.saliency_patients]
    pictured = patients[:PICTURES]
    shown = data.table["patient"].isin([one for one in patients if one in pictured or one in masks])
    inputs = VolumeInputs(bench.cache, data.volumes, start.contract, bench.plan.device, resized=bench.resized)
    (folder / FOLDER).mkdir(exist_ok=True)
    sizes = zip(bench.plan.spacing_mm, bench.cache.size, inputs.size, strict=True)
    spacing = tuple(step * stored / shown for step, stored, shown in sizes)
    distances = []
    for trained in trainings:
        encoder = trained.net.encoder if trained.net is not None else start.encoder(cell.seed)
        model = EncoderWithHead(encoder.to(bench.plan.device), trained.head.to(bench.plan.device)).eval()
        for row in np.flatnonzero((trained.split == "test") & shown):
            patient = data.table["patient"].iloc[row]
            of_patient = _maps(model, inputs, data.volumes[row], cell, patient == patients[0], start.contract.guidable)
            for volume, heat, target, answer in of_patient:
                sequence = str(bench.cache.table["sequence"].iloc[volume])
                image = inputs.shown(volume)
                heat = np.where(image > 0, heat, 0)  # only where the network was shown the patient
                mask = _of_size(masks.get(patient), inputs.size)
                if target == "task" and mask is not None and mask.any() and heat.max() > 0:
                    distance = centre_of_mass_distance(heat, mask, spacing, THRESHOLD)
                    distances.append((patient, sequence, distance, THRESHOLD))
                if patient in pictured:
                    path = folder / FOLDER / f"{patient}_{sequence}_{target}.npz"
                    _write_map(path, image, heat, spacing, patient, sequence, target, answer, mask)
    if distances:
        table = pd.DataFrame(distances, columns=["patient", "sequence", "distance_mm", "threshold"])
        write_text(table.to_csv(index=False), folder / FOLDER / "centre_of_mass.csv")


def tumour_masks(path: str) -> dict[str, np.ndarray]:
    """patient -> bool (X, Y, Z) on the grid of the cache; empty without a file."""
    if not path:
        return {}
    with np.load(path, allow_pickle=False) as masks:
        return {patient: masks[patient].astype(bool) for patient in masks.files}


def _of_size(mask: np.ndarray | None, size: tuple[int, int, int]) -> np.ndarray | None:
    """A mask on the grid of the cache, on that of the encoder's input: voxels that it fills by half."""
    if mask is None or mask.shape == size:
        return mask
    shares = torch.nn.functional.interpolate(torch.from_numpy(mask)[None, None].float(), size=size, mode="area")
    return shares[0, 0].numpy() >= 0.5


def _ranked_patients(bench: Workbench, cell: Cell, trainings: Sequence[Trained]) -> list[str]:
    """The test patients of all trainings: those with the most sequences first, as the paper's panels show one patient
    in up to four (P-43); of these first whose scans were standardized without a warning; then as in the table."""
    data, scans = bench.studies(cell.task), bench.cache.table
    warned = scans["warnings"].fillna("") != "" if "warnings" in scans else pd.Series(False, index=scans.index)
    rows = np.flatnonzero(np.any([trained.split == "test" for trained in trainings], axis=0))
    volumes_of: dict[str, list[int]] = {}
    for patient, volumes in zip(data.table["patient"].iloc[rows], data.volumes[rows], strict=True):
        volumes_of.setdefault(patient, []).extend(volumes[volumes >= 0])

    def rank(patient: str) -> tuple[int, bool]:
        own = volumes_of[patient]
        return -scans["sequence"].iloc[own].nunique(), bool(warned.iloc[own].any())

    return sorted(volumes_of, key=rank)


def _maps(model: EncoderWithHead, inputs: VolumeInputs, volumes: np.ndarray, cell: Cell, backbone: bool, guided: bool):
    """(row of the cache, map (X, Y, Z), target, explained class or "") of each scan of a study; of its backbone too,
    where asked (P-44)."""
    volumes = volumes[volumes >= 0]
    scans = inputs.scans(volumes)
    with torch.inference_mode():
        embeddings = model.encoder(scans)
        answer = int(model.head(embeddings.mean(0, keepdim=True))[0].argmax())
    for number, volume in enumerate(volumes):
        others = embeddings.sum(0, keepdim=True) - embeddings[number : number + 1]
        one = OneOfSeveral(model, others.clone(), len(volumes))
        explained = TASKS[cell.task].classes[answer] if TASKS[cell.task].classes else ""
        yield volume, _map(one, scans[number : number + 1], answer, guided), "task", explained
        if backbone and TASKS[cell.task].classes:
            # The named scalar of the embedding (U-13): its mean, not upstream's largest feature.
            mean = _MeanFeature(model.encoder)
            yield volume, _map(mean, scans[number : number + 1], 0, guided), "backbone", ""


class _MeanFeature(nn.Module):
    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        return self.encoder(x).mean(1, keepdim=True)


def _map(model: nn.Module, scan: Tensor, output: int, guided: bool) -> np.ndarray:
    return guided_smoothgrad(model, scan, lambda outputs: outputs[:, output], guided=guided).map.cpu().numpy()


def _write_map(path: Path, image, heat, spacing, patient, sequence, target, answer, tumour) -> None:
    stream = io.BytesIO()
    top = float(heat.max())
    np.savez_compressed(
        stream,
        image=image.astype(np.float32),
        map=(heat / top if top > 0 else heat).astype(np.float32),
        spacing=np.array(spacing),
        patient=patient,
        sequence=sequence,
        target=target,
        answer=answer,
        **({"tumour": tumour} if tumour is not None else {}),
    )
    write_bytes(stream.getvalue(), path)
