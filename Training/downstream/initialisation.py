"""The starts of a training: BrainIAC, MedicalNet, Scratch (PROTOCOL P-13, U-01), and what they are compared with.

"BrainIAC" is whatever model folder is given for it: imported official weights, or an own pretraining; ``title`` says
which, and every result carries it. The paper's three have the same net; heads are always random. "BrainSegFounder" is
another group's encoder, from their file. "Bundled" and "Anatomy" are the encoders that the extension ships, "Volumes"
the first numbers of the latter; the others are features without training (``baselines``).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from BrainIACLib.checkpoints.installed import InstalledModel, load_model
from BrainIACLib.checkpoints.official_contracts import official_contract
from BrainIACLib.checkpoints.reading import read_checkpoint
from BrainIACLib.checkpoints.recognition import Recognised, recognise
from BrainIACLib.contracts import EMBEDDING_TASK, EncoderContract, SourceContract, read_contract
from BrainIACLib.errors import ModelError
from BrainIACLib.file_hash import file_sha256
from BrainIACLib.models.anatomy import EMBEDDING_NAMES
from BrainIACLib.models.encoders import encoder as new_encoder
from Training.cohorts.open_data import learned_from
from Training.data.fingerprints import Fingerprints, fingerprints_of_names, read_fingerprints
from Training.downstream.baselines import BASELINES, Baseline
from Training.downstream.brainsegfounder import TRAINING_DATA, read_brainsegfounder
from Training.runs.cell import BRAINSEGFOUNDER, VOLUMES

NO_DIGEST = "0" * 64
VOLUME_NUMBERS = sum("block" not in name for name in EMBEDDING_NAMES)  # the volumes come first, then regional shares
NO_NETWORK = "no network"


@dataclass(frozen=True)
class Initialisation:
    """A start: what it is, how its input is made, and its weights.

    ``zero_keys`` were not in the file and are zero (MedicalNet's four shortcut biases). ``weights`` : None for random
    ones. ``trained_on`` : None where nobody wrote down who the pretraining saw. ``numbers`` : of the embedding that are
    taken, from the first on; None for all.
    """

    name: str
    title: str
    contract: EncoderContract
    sha256: str
    zero_keys: tuple[str, ...]
    weights: dict[str, Tensor] | None
    training_data: str  # in words, what the weights were trained on
    trained_on: Fingerprints | None = None
    baseline: Baseline | None = None
    numbers: int | None = None

    @property
    def fixed(self) -> bool:
        """Features without weights, or a part of an embedding: no network to tune, and no map of where it looks."""
        return self.baseline is not None or self.numbers is not None

    @property
    def embedding_size(self) -> int:
        """Of what a head is given."""
        return self.contract.embedding_size if self.numbers is None else self.numbers

    @property
    def pretrained(self) -> bool:
        """Decides the learning rate (P-16)."""
        return self.weights is not None

    def encoder(self, seed: int) -> nn.Module:
        """A new encoder in float32 on the CPU; ``seed`` decides random weights and nothing else."""
        if self.baseline is not None:
            return self.baseline.module()
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            net = new_encoder(self.contract.architecture, self.contract.width, self.contract.embedding)
        if self.weights is not None:
            net.load_state_dict(self.weights, strict=True)
        return net

    @property
    def facts(self) -> dict:
        """What a run's record says about its start."""
        return {
            "title": self.title,
            "training_data": self.training_data,
            "architecture": NO_NETWORK if self.baseline is not None else self.contract.architecture,
            "width": self.contract.width,
            "generation": self.contract.generation,
            "normalisation": self.contract.normalisation,
            "sha256": None if self.sha256 == NO_DIGEST else self.sha256,
            "keys_at_zero": [key for key in self.zero_keys if not key.endswith("num_batches_tracked")],
        }


def load_initialisation(name: str, source: Path | None, like: EncoderContract | None) -> Initialisation:
    """The start called ``name`` (of ``Training.runs.cell.INITIALISATIONS``).

    Parameters
    ----------
    source : a model folder (contract.json, safetensors), or MedicalNet's or BrainSegFounder's own file; None for
        Scratch.
    like : architecture and input of Scratch, so that it differs from the pretrained net in the weights alone; input of
        the baselines; None for others.

    Raises
    ------
    ModelError : no source, no model there, damaged, or a file that must be imported first.
    """
    if name == "Scratch":
        contract = dataclasses.replace(like, sha256=NO_DIGEST, generation="own")
        return Initialisation(name, "random weights", contract, NO_DIGEST, (), None, "nothing")
    if name in BASELINES:
        contract = dataclasses.replace(like, sha256=NO_DIGEST, generation="own", embedding_size=BASELINES[name].size)
        title = BASELINES[name].title
        return Initialisation(name, title, contract, NO_DIGEST, (), None, "nothing", baseline=BASELINES[name])
    if source is None:
        what = "its authors' file" if name == BRAINSEGFOUNDER else "a model folder"
        raise ModelError(f"The initialization {name} needs weights: give {what} with --{name.lower()}.")
    source = Path(source)
    if name == BRAINSEGFOUNDER:
        found = read_brainsegfounder(source)
        sha256 = found.contract.sha256
        return Initialisation(name, found.title, found.contract, sha256, (), found.weights, TRAINING_DATA)
    if not source.is_dir():
        return _from_medicalnet_file(name, source)
    start = _from_folder(name, source)
    if name == VOLUMES:
        title = f"{VOLUME_NUMBERS} volumes of structures, by {start.title}"
        return dataclasses.replace(start, title=title, numbers=VOLUME_NUMBERS)
    return start


def _from_folder(name: str, folder: Path) -> Initialisation:
    contract = read_contract(folder)
    weights = load_model(InstalledModel(folder, contract)).encoder.state_dict()
    zero_keys = contract.source.allowed_missing_keys if contract.source else ()
    sha256, data = contract.encoder.sha256, contract.training_data
    trained_on = read_fingerprints(folder) or _named_in_the_recipe(folder)
    return Initialisation(name, contract.title, contract.encoder, sha256, tuple(zero_keys), weights, data, trained_on)


def _named_in_the_recipe(folder: Path) -> Fingerprints | None:
    """Of the real persons that the bundled anatomy encoder learned from, which its recipe names; None for others."""
    names = learned_from(folder)
    return fingerprints_of_names(names) if names else None


def _from_medicalnet_file(name: str, path: Path) -> Initialisation:
    checkpoint = read_checkpoint(path)
    recognised = recognise(checkpoint.shapes)
    if recognised.generation != "medicalnet":
        raise ModelError(
            f"'{path.name}' is a {recognised.title}: accept its license with 'brainiac models import {path.name}' and "
            f"give the folder that this makes with --{name.lower()}."
        )
    net = new_encoder(recognised.architecture, recognised.width, "gap")
    weights = _tensors(net, recognised, checkpoint.tensors)
    source = SourceContract(path.name, file_sha256(path), recognised.title, (), recognised.zero_keys, "MIT")
    contract = official_contract(recognised, EMBEDDING_TASK, source, {"encoder": NO_DIGEST})
    zero, data = recognised.zero_keys, contract.training_data
    return Initialisation(name, contract.title, contract.encoder, source.sha256, zero, weights, data)


def _tensors(net: nn.Module, recognised: Recognised, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """The net's state from the file's keys; absent ones are zero, never what the random initialization left (U-01)."""
    return {
        key: torch.zeros_like(value)
        if key in recognised.zero_keys
        else tensors[recognised.encoder_keys[key]].to(value.dtype)
        for key, value in net.state_dict().items()
    }
