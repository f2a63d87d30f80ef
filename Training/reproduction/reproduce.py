"""``python -m Training reproduce``: the paper's experiments from data to report, by one command; resumable.

    python -m Training reproduce --cohort synthetic --labelmaps FOLDER --out report/ --preset small
    python -m Training reproduce --cohort open --labelmaps FOLDER --out report/
    python -m Training reproduce --cohort manifest.csv --brainiac model/ --medicalnet resnet_50.pth --out report/

Without --brainiac the initialization "BrainIAC" is an own small SimCLR pretraining on simulated heads, and every result
says so. The cohort synthetic and the own pretraining are drawn from SynthSeg's training label maps: FOLDER is
data/training_label_maps of a copy of https://github.com/BBillot/SynthSeg.
Without --medicalnet there are no MedicalNet runs. ``out/work`` keeps caches and runs: the same command goes on with
them.
"""

from __future__ import annotations

import argparse
import dataclasses
import logging
import os
import sys
import warnings
from pathlib import Path

import pandas as pd

from BrainIACLib.contracts import read_contract
from BrainIACLib.errors import BrainIACError, ManifestError, TrainingError
from BrainIACLib.resources import resource
from Training.cohorts.open_data import write_open_manifest
from Training.cohorts.simulated_patients import NOTE
from Training.cohorts.synthetic import EXTERNAL, TUMOURS, draw_cohort, usable_label_maps
from Training.data.cache import Cache
from Training.data.manifest import read_manifest
from Training.data.standardising import Standardising
from Training.downstream.few_shot import few_shot
from Training.downstream.hardware_options import add_hardware_options
from Training.downstream.plan import Plan, Workbench, write_plan
from Training.downstream.queue import work_in_processes
from Training.downstream.studies import studies
from Training.report import evaluate
from Training.reproduction.designs import OPEN_DESIGNS
from Training.reproduction.presets import PRESETS, Preset
from Training.runs.cell import BUNDLED, TRIVIAL, Cell
from Training.runs.layout import write_grid
from Training.synthesis.template_grid import template_grid
from Training.tables.few_shot import few_shot_table
from Training.tasks import TASKS

COHORTS = ("synthetic", "open")


def main(argv: list[str]) -> int:
    """Exit status 0: the report is there and every run in it is finished."""
    options = _parser().parse_args(argv)
    try:
        return reproduce(options, "python -m Training reproduce " + " ".join(argv))
    except BrainIACError as error:
        print(f"reproduce: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("reproduce: stopped; run the same command again to go on.", file=sys.stderr)
        return 130


def reproduce(options: argparse.Namespace, command: str) -> int:
    """The steps of ``main``; ``command`` goes into every run's record."""
    preset, work = PRESETS[options.preset], options.out / "work"
    if options.seeds:
        preset = dataclasses.replace(preset, seeds=tuple(dict.fromkeys(options.seeds)))
    if options.cohort not in COHORTS:
        if not Path(options.cohort).is_file():
            raise ManifestError(f"'{options.cohort}' is no cohort: --cohort is {', '.join(COHORTS)}, or a CSV file.")
        read_manifest(options.cohort)  # said before anything that only the own pretraining needs
    if options.cohort == "synthetic" or options.brainiac is None:
        maps = preset.cohort.maps
        purpose = "The synthetic cohort" if options.cohort == "synthetic" else "The own pretraining (no --brainiac)"
        usable_label_maps(options.labelmaps, maps, purpose)  # said before any work
    cache = _cohort_cache(options, preset, work)
    brainiac = options.brainiac or _own_pretraining(options, preset, work)
    sources = {"BrainIAC": brainiac, "MedicalNet": options.medicalnet}
    if options.cohort == "open":
        sources[BUNDLED] = resource("Models", "sequence-starter")
    sources = {name: str(Path(source).resolve()) for name, source in sources.items() if source is not None}
    if "MedicalNet" not in sources:
        print("reproduce: no MedicalNet runs, because its file was not given (--medicalnet)")
    synthetic = options.cohort == "synthetic"
    volumes = Cache(cache, verify=False)
    plan = Plan(
        cache=str(cache.resolve()),
        cohort=options.cohort if options.cohort in COHORTS else Path(options.cohort).stem,
        labels="simulated" if synthetic else "real",
        sources=sources,
        recipes=dict(preset.recipes),
        external=(EXTERNAL,) if synthetic and preset.cohort.external else tuple(options.external),
        stability={name: list(levels) for name, levels in preset.stability.items()},
        device=options.device,
        command=command,
        simulated_note=NOTE if synthetic else "",
        saliency_patients=preset.saliency_patients,
        tumours=str((cache / TUMOURS).resolve()) if synthetic else "",
        spacing_mm=template_grid(tuple(volumes.size)).spacing,
    )
    tasks = _possible_tasks(volumes)
    if options.cohort != "open":
        cells = preset.wanted([*sources, "Scratch"], tasks)
        return _work(plan, cells, work / "runs", options.out, options, preset.resamples)
    status, there = 0, sorted(set(volumes.table["dataset"]))
    for design in OPEN_DESIGNS:
        if options.question and design.name not in options.question:
            continue
        print(f"reproduce: {design.name}: {design.says}", flush=True)
        of_design = dataclasses.replace(plan, external=design.external(there), folds=design.folds)
        asked = tuple(task for task in design.tasks if task in tasks)
        cells = preset.wanted([*sources, "Scratch", *TRIVIAL], asked)
        runs, out = work / f"runs-{design.name}", options.out / design.name
        status |= _work(of_design, cells, runs, out, options, preset.resamples)
    return status


def _work(plan: Plan, cells: list[Cell], runs: Path, out: Path, options: argparse.Namespace, resamples: int) -> int:
    """Train what is left of the cells, and write their report; 0 if every cell is finished."""
    write_plan(plan, runs)
    write_grid(runs, cells)
    left = work_in_processes(runs, cells, options.processes)
    status = evaluate.main(["--runs", str(runs), "--out", str(out), "--resamples", str(resamples)])
    _write_few_shot(plan, cells, runs, out)
    if left:
        print(
            f"reproduce: {len(left)} of {len(cells)} runs are not finished, first {left[0].name}; its status.json in "
            f"'{runs}' says why, and the same command tries them again"
        )
    return 1 if left else status


def _write_few_shot(plan: Plan, cells: list[Cell], runs: Path, out: Path) -> None:
    """The table ``few_shot`` of the tasks with classes, from the initializations whose encoders are probed."""
    names = list(dict.fromkeys(cell.initialisation for cell in cells if cell.mode == "probe"))
    asked = dict.fromkeys(cell.task for cell in cells if TASKS[cell.task].kind == "classification")
    if plan.folds or not names or not asked:
        return
    bench = Workbench(plan, runs)
    found = pd.concat([few_shot(bench, task, names) for task in asked])
    few_shot_table(found, plan.labels == "simulated").write(out / "tables")
    print(f"{out / 'tables' / 'few_shot.md'}")


def _cohort_cache(options: argparse.Namespace, preset: Preset, work: Path) -> Path:
    if options.cohort == "synthetic":
        return _synthetic_cache(options, preset, work)
    manifest = Path(options.cohort)
    if options.cohort == "open":
        manifest = write_open_manifest(options.data, work / "open.csv")
    from Training.data.prepare import cache_of_manifest

    size = read_contract(resource("Models", "sequence-starter")).encoder.input_size
    how = Standardising(size=tuple(size) if options.cohort == "open" else preset.cohort.size)
    return cache_of_manifest(manifest, work / "cache", how=how, workers=options.processes)


def _synthetic_cache(options: argparse.Namespace, preset: Preset, work: Path) -> Path:
    prepared = options.prepared_labelmaps or work / "labelmaps"
    return draw_cohort(preset.cohort, options.labelmaps, work / "synthetic", prepared, options.processes)


def _own_pretraining(options: argparse.Namespace, preset: Preset, work: Path) -> Path:
    """The model folder of a SimCLR pretraining on the simulated patients that are for nothing else."""
    from Training.ssl.callbacks import Stopped
    from Training.ssl.monitor_curves import draw_monitors
    from Training.ssl.pretrain import pretrain

    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # it advertises
    warnings.filterwarnings("ignore", module="pytorch_lightning")
    cache = _synthetic_cache(options, preset, work)
    try:
        pretrain(preset.pretraining, Cache(cache, verify=False), work / "pretraining")
    except Stopped:  # a signal, acted on when the step was done and saved
        raise KeyboardInterrupt from None
    draw_monitors(work / "pretraining")
    return work / "pretraining" / "last"


def _possible_tasks(cache: Cache) -> tuple[str, ...]:
    """The tasks that the table of scans has labels for."""
    possible = []
    for name, task in TASKS.items():
        try:
            studies(cache.table, task)
        except TrainingError:
            print(f"reproduce: no runs for the task '{name}', because the cohort has no labels for it")
        else:
            possible.append(name)
    return tuple(possible)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m Training reproduce", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--cohort", required=True, help="synthetic, open, or a manifest (CSV)")
    add("--out", type=Path, required=True, help="folder of the report")
    add(
        "--preset",
        choices=list(PRESETS),
        default="small",
        help="how large: ci shows in about 70 seconds that it runs; small takes about 12 minutes on two free cores "
        "(the default); frozen tunes no network: it solves heads on frozen encoders and on untrained features; night "
        "pretrains for about nine core-hours; full is the paper's grid, and wants a GPU",
    )
    add("--seeds", type=int, nargs="+", help="of each cell, averaged with those in --out (the preset's)")
    add(
        "--labelmaps",
        type=Path,
        default=Path("../shared/data/labelmaps"),
        help="folder of SynthSeg's training label maps",
    )
    add("--prepared-labelmaps", type=Path, help="folder that keeps them prepared (26 CPU seconds each, once)")
    add("--data", type=Path, default=Path("../shared/data"), help="folder with MANIFEST.csv, for the cohort open")
    questions = [design.name for design in OPEN_DESIGNS]
    add("--question", nargs="+", choices=questions, help="of the cohort open, these only")
    add("--brainiac", type=Path, help="model folder: imported official weights or an own pretraining")
    add("--medicalnet", type=Path, help="MedicalNet's file, or the model folder made from it")
    add("--external", nargs="+", default=[], metavar="DATASET", help="datasets never to train on: tested apart")
    add_hardware_options(parser, processes=os.cpu_count() or 1)
    return parser
