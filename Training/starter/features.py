"""What embeddings and baselines without training say of the open scans: numbers that probes, age head and volumes read.

Each scan is standardized and embedded once and kept: with the anatomy encoder and the sequence encoder of version 1.2,
each alone and both side by side, a random network of the latter's shape, an intensity histogram and block averages.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk
import torch

from BrainIACLib.checkpoints.installed import InstalledModel, find_encoder, load_model
from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import BrainIACError
from BrainIACLib.models.anatomy import EMBEDDING_NAMES, certainty_of, embedding_of
from BrainIACLib.models.resnet import ResNet
from BrainIACLib.preprocessing.intensity import model_input
from BrainIACLib.preprocessing.pipeline import standardise
from BrainIACLib.scans import read_scan
from Training.cohorts.open_data import SINGLE, study_of
from Training.starter import SIMULATED_ONLY
from Training.starter.anatomy.real_scans import is_trained_on
from Training.starter.anatomy.reference import person_of
from Training.starter.harmless_changes import HARMLESS, changed
from Training.starter.open_scans import OpenScan, all_prepared, manifest_sha256, open_scans, prepared

ANATOMY_MODEL = "structure-volumes"
REPRESENTATIONS = (
    "anatomy",
    "volumes",
    "sequence encoder",
    "joined",
    "random network",
    "histogram",
    "block averages",
)
JOINED = ("anatomy", "sequence encoder")  # side by side, as one embedding would hold them
BLOCKS = (8, 10, 8)
GLOBAL = sum("block" not in name for name in EMBEDDING_NAMES)
REPEATED_HEADS = 5


@dataclass(frozen=True)
class Features:
    """``scans``: n of them; ``of``: representation -> (n, d)."""

    scans: list[OpenScan]
    of: dict[str, np.ndarray]

    def rows(self, keep: np.ndarray) -> Features:
        """Some of the scans."""
        chosen = [scan for scan, kept in zip(self.scans, keep, strict=True) if kept]
        return Features(chosen, {name: values[keep] for name, values in self.of.items()})

    def column(self, name: str) -> np.ndarray:
        """(n,) of a field of the scans."""
        return np.array([getattr(scan, name) for scan in self.scans])

    def sources(self) -> np.ndarray:
        """(n,) names of what is left out together: a study, joined with others of its source; single scans alone."""
        found = ((scan.study, study_of(scan.subject)) for scan in self.scans)
        return np.array([own if source == SINGLE else source for own, source in found])


@torch.inference_mode()
def anatomy(images: Iterator[sitk.Image]) -> dict[str, np.ndarray]:
    """The embeddings of the anatomy network, the part of them that is volumes alone, and how sure it was (n, 1)."""
    model = find_encoder(model_id=ANATOMY_MODEL)
    net = load_model(model).encoder
    embeddings, certainty = [], []
    for image in images:
        shares = net.shares(model_input(image, model.contract.encoder))
        embeddings.append(embedding_of(shares)[0].numpy())
        certainty.append(certainty_of(shares).numpy())
    found = np.stack(embeddings)
    return {"anatomy": found, "volumes": found[:, :GLOBAL], "certainty": np.stack(certainty)}


def sequence_model() -> InstalledModel:
    """Version 1.2, from simulated images alone: the bundled version learned from scans that are asked about here."""
    return InstalledModel(SIMULATED_ONLY, read_contract(SIMULATED_ONLY))


@torch.inference_mode()
def baselines(images: Iterator[sitk.Image], seed: int = 0) -> dict[str, np.ndarray]:
    """The sequence encoder, a random network of its shape, an intensity histogram and block averages."""
    model = sequence_model()
    contract = model.contract.encoder
    torch.manual_seed(seed)
    nets = {
        "sequence encoder": load_model(model).encoder,
        "random network": ResNet(contract.architecture, contract.width).eval(),
    }
    found: dict[str, list[np.ndarray]] = {name: [] for name in (*nets, "histogram", "block averages")}
    for image in images:
        volume = model_input(image, contract)
        for name, net in nets.items():
            found[name].append(net(volume)[0].numpy())
        inside = volume[volume != 0]
        found["histogram"].append(torch.histc(inside, 32, -3, 3).numpy() / max(inside.numel(), 1))
        found["block averages"].append(torch.nn.functional.adaptive_avg_pool3d(volume, BLOCKS).flatten().numpy())
    return {name: np.stack(values) for name, values in found.items()}


def features_of(data: Path, work: Path) -> Features:
    """Of all open scans that can be standardized; kept by the weights that they come from."""
    ready = all_prepared(open_scans(data), work / "standardised")
    of: dict[str, np.ndarray] = {}
    for make, model in ((anatomy, find_encoder(model_id=ANATOMY_MODEL)), (baselines, sequence_model())):
        sha256 = model.contract.encoder.sha256
        stored = work / f"{make.__name__}-{sha256[:8]}-{manifest_sha256(data)[:8]}.npz"
        if not stored.is_file():
            images = (prepared(scan, work / "standardised").image for scan in ready)
            np.savez(stored, scans=np.array([scan.sha256 for scan in ready]), **make(images))
        with np.load(stored) as kept:
            if kept["scans"].tolist() != [scan.sha256 for scan in ready]:
                raise BrainIACError(f"'{stored}' holds other scans; delete it.")
            of |= {name: kept[name].astype(np.float64) for name in kept.files if name != "scans"}
    return Features(ready, with_joined(of))


def with_joined(of: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same, and both encoders' embeddings side by side."""
    return {**of, "joined": np.concatenate([of[name] for name in JOINED], 1)}


def repeated(data: Path, work: Path) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Representation -> (n, d), and the head of each row: IXI scans that no network was trained on, as they are and
    after every harmless change; kept by the weights that they come from."""
    plain = [scan for scan in open_scans(data, ("age_ixi",)) if not is_trained_on(person_of(scan.file))]
    heads = plain[:REPEATED_HEADS]
    subjects = np.repeat(np.arange(len(heads)), 1 + len(HARMLESS))
    models = find_encoder(model_id=ANATOMY_MODEL), sequence_model()
    weights = [model.contract.encoder.sha256[:8] for model in models]
    stored = work / f"repeated-{'-'.join(weights)}-{manifest_sha256(data)[:8]}.npz"
    if not stored.is_file():
        images = list(_repeats(heads))
        np.savez(stored, **anatomy(iter(images)), **baselines(iter(images)))
    with np.load(stored) as kept:
        return with_joined({name: kept[name].astype(np.float64) for name in kept.files}), subjects


def _repeats(heads: list[OpenScan]) -> Iterator[sitk.Image]:
    for scan in heads:
        image = sitk.Cast(read_scan(scan.path).image, sitk.sitkFloat32)
        for one in (image, *(changed(image, kind) for kind in HARMLESS)):
            yield standardise(one).image
