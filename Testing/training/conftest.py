"""Shared fixtures of the training rooms' tests: one held-out label map and one head, prepared once."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

pytest.importorskip("scipy", reason="needs the 'training' extra")

from BrainIACLib.publishing.lock import locked
from Training.starter.image_formation import FINE_GRID
from Training.synthesis.anatomy import Anatomy, Pose, Tumour, build_anatomy
from Training.synthesis.label_maps import LabelMap, load_label_map

HELD_OUT = "synthseg_training_seg_11.nii.gz"


@pytest.fixture(scope="session")
def prepared_label_maps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where they are kept: one folder for all processes of a run, since preparing one takes most of a minute."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "labelmaps"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def label_map(shared_data: Path, prepared_label_maps: Path) -> LabelMap:
    """A prepared label map that the starter was not trained on."""
    path = shared_data / "labelmaps" / HELD_OUT
    if not path.is_file():
        pytest.skip(f"needs the label map {HELD_OUT}, which is not here")
    with locked(prepared_label_maps / "lock", "another process of the tests prepares it", wait=600):
        return load_label_map(path, prepared_label_maps)


@pytest.fixture(scope="session")
def head(label_map: LabelMap) -> Anatomy:
    """An adult head in template pose with one large ring-enhancing tumor."""
    tumour = Tumour(kind="ring", radius=18, rim=6, halo=8)
    rng, generator = np.random.default_rng(4), torch.Generator().manual_seed(4)
    return build_anatomy(label_map, FINE_GRID, Pose(), [tumour], rng, generator)
