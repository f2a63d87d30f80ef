"""The cohort ``synthetic``: a cache of simulated patients, drawn in parallel, with labels that are marked simulated.

Patients of the hold-out have head shapes (label maps) that no training patient has; those of the external set have
other shapes again and another scanner. Patients for pretraining are others of the training maps.
"""

from __future__ import annotations

import functools
import io
import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from BrainIACLib.errors import ManifestError
from BrainIACLib.publishing import write_bytes
from BrainIACLib.sequences import STANDARD_NAMES
from Training.cohorts.simulated_patients import NOTE, OTHER_SCANNER, USUAL_SCANNER, draw_patient
from Training.data.cache import INDEX, quantise, write_cache
from Training.data.standardising import Standardising
from Training.synthesis.label_maps import LABEL_MAPS, LabelMap, label_map_files, load_label_map
from Training.synthesis.template_grid import template_grid

ROLES = ("pretrain", "train", "test", "external")
DATASET, EXTERNAL = "synthetic", "synthetic, other scanner"
TUMOURS = "tumours.npz"
DRAWN = ".drawn"


@dataclass(frozen=True)
class SyntheticCohort:
    """How many patients of each role, on how many label maps, on which grid (the whole ICBM152 template grid).

    ``external`` patients, on label maps of their own, make the data set ``EXTERNAL``.
    """

    pretrain: int
    train: int
    test: int
    training_maps: int
    test_maps: int
    size: tuple[int, int, int]
    seed: int = 0
    external: int = 0
    external_maps: int = 0

    @property
    def maps(self) -> int:
        """How many label maps it takes."""
        return self.training_maps + self.test_maps + self.external_maps


def draw_cohort(cohort: SyntheticCohort, labelmaps: Path, folder: Path, prepared: Path, processes: int = 1) -> Path:
    """Make the cache ``folder`` unless it is there already.

    Parameters
    ----------
    labelmaps : folder of SynthSeg's training label maps.
    prepared : folder that keeps the label maps as they are prepared (26 CPU seconds each, once).

    Raises
    ------
    ManifestError : too few label maps there, or the folder holds another cohort.
    """
    folder = Path(folder)
    facts = {**asdict(cohort), "size": list(cohort.size), "note": NOTE}
    if (folder / INDEX).is_file():
        before = json.loads((folder / INDEX).read_text(encoding="utf-8"))["preprocessing"]
        if before.get("cohort") != facts:
            raise ManifestError(f"'{folder}' holds another synthetic cohort; choose another folder.")
        return folder
    maps = usable_label_maps(labelmaps, cohort.maps)
    drawn = folder / DRAWN
    drawn.mkdir(parents=True, exist_ok=True)
    jobs = []
    for number, role in enumerate(ROLES):
        chosen = _maps_of(role, cohort, maps)
        jobs += [
            _Job(role, cohort.seed * 10 + number, index, tuple(chosen), prepared, cohort.size, drawn)
            for index in range(getattr(cohort, role))
        ]
    with ProcessPoolExecutor(processes, get_context("spawn")) as pool:
        list(pool.map(load_label_map, maps, [prepared] * len(maps)))
        rows = [row for rows in pool.map(_draw, jobs, chunksize=4) for row in rows]
    preprocessing = {**asdict(Standardising(size=cohort.size, steps="stored")), "cohort": facts, "simulated": True}
    _write_tumours(folder, jobs)
    write_cache(folder, pd.DataFrame(rows), _volumes(jobs), preprocessing=preprocessing)
    shutil.rmtree(drawn)
    return folder


def _maps_of(role: str, cohort: SyntheticCohort, maps: list[Path]) -> list[Path]:
    """The label maps of a role; the training ones where it has none of its own."""
    first, second = cohort.training_maps, cohort.training_maps + cohort.test_maps
    own = {"test": maps[first:second], "external": maps[second : second + cohort.external_maps]}
    return own.get(role) or maps[:first]


def usable_label_maps(labelmaps: Path, needed: int, purpose: str = "The synthetic cohort") -> list[Path]:
    """The first ``needed`` label maps. Raises ManifestError, saying for what ``purpose``, if they are not there."""
    try:
        maps = label_map_files(labelmaps)
    except FileNotFoundError:
        maps = []
    if len(maps) < needed:
        raise ManifestError(
            f"{purpose} needs {needed} of SynthSeg's training label maps ({LABEL_MAPS}), and '{labelmaps}' holds "
            f"{len(maps)}; give their folder with --labelmaps."
        )
    return maps[:needed]


@dataclass(frozen=True)
class _Job:
    role: str
    seed: int
    index: int
    maps: tuple[Path, ...]
    prepared: Path
    size: tuple[int, int, int]
    drawn: Path

    @property
    def patient(self) -> str:
        return f"simulated-{self.role}-{self.index:05d}"

    @property
    def file(self) -> Path:
        return self.drawn / f"{self.patient}.npz"


def _draw(job: _Job) -> list[dict]:
    """Draw a patient into its file, or take it from there; the rows of its four scans."""
    if not job.file.is_file():
        torch.set_num_threads(1)
        scanner = OTHER_SCANNER if job.role == "external" else USUAL_SCANNER
        maps = _label_maps(job.maps, job.prepared)
        patient = draw_patient(job.seed, job.index, maps, template_grid(job.size), scanner)
        facts = {key: value for key, value in asdict(patient).items() if key not in ("volumes", "tumour")}
        stream = io.BytesIO()
        volumes = np.stack([quantise(volume.numpy(), job.patient) for volume in patient.volumes])
        np.savez(stream, volumes=volumes, tumour=patient.tumour.numpy(), facts=json.dumps(facts))
        write_bytes(stream.getvalue(), job.file)
    with np.load(job.file, allow_pickle=False) as stored:
        facts = json.loads(str(stored["facts"]))
    outside = job.role == "external"
    place = {"dataset": EXTERNAL if outside else DATASET, "role": "" if outside else job.role}
    common = {"patient": job.patient, **place, "session": "", **facts}
    return [{"scan": f"{job.patient}_{name}", "sequence": name, **common} for name in STANDARD_NAMES]


@functools.lru_cache(maxsize=2)
def _label_maps(paths: tuple[Path, ...], prepared: Path) -> list[LabelMap]:
    return [load_label_map(path, prepared) for path in paths]


def _volumes(jobs: list[_Job]) -> Iterator[np.ndarray]:
    for job in jobs:
        with np.load(job.file, allow_pickle=False) as stored:
            yield from stored["volumes"].astype(np.float32) / 255


def _write_tumours(folder: Path, jobs: list[_Job]) -> None:
    masks = {}
    for job in jobs:
        if job.role == "test":
            with np.load(job.file, allow_pickle=False) as stored:
                masks[job.patient] = stored["tumour"]
    stream = io.BytesIO()
    np.savez_compressed(stream, **masks)
    write_bytes(stream.getvalue(), folder / TUMOURS)
