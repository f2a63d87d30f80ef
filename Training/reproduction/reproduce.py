"""``python -m Training reproduce``: the paper's experiments from data to report, by one command; resumable.

    python -m Training reproduce --cohort synthetic --labelmaps FOLDER --out report/ --preset small
    python -m Training reproduce --cohort open --labelmaps FOLDER --out report/
    python -m Training reproduce --cohort manifest.csv --brainiac model/ --medicalnet resnet_50.pth --out report/

Without --brainiac the initialization "BrainIAC" is an own SimCLR pretraining on simulated heads, and every result says
so; --variants adds lines that were pretrained with other views, and --pretraining goes on with one begun elsewhere.
The cohort synthetic and the own pretraining are drawn from SynthSeg's training label maps: FOLDER is
data/training_label_maps of a copy of https://github.com/BBillot/SynthSeg.
Without --medicalnet there are no MedicalNet runs; --brainsegfounder adds a line of that encoder. ``out/work`` keeps
caches and runs: the same command goes on with them.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import sys
from pathlib import Path

import pandas as pd

from BrainIACLib.errors import BrainIACError, ManifestError, TrainingError
from BrainIACLib.resources import resource
from Training.cohorts.simulated_patients import NOTE
from Training.cohorts.synthetic import EXTERNAL, TUMOURS, draw_cohort, usable_label_maps
from Training.data.cache import Cache
from Training.data.manifest import read_manifest
from Training.data.prepare import cache_of_manifest
from Training.data.standardising import Standardising
from Training.downstream.few_shot import few_shot
from Training.downstream.hardware_options import add_hardware_options
from Training.downstream.plan import Plan, Workbench, write_plan
from Training.downstream.possible import possible_cells, refuse_unknown_datasets, remarks
from Training.downstream.queue import work_in_processes
from Training.downstream.studies import studies
from Training.downstream.weight_options import add_weight_options, weight_sources
from Training.report import evaluate
from Training.reproduction.designs import OPEN_DESIGNS
from Training.reproduction.open_cohort import open_cache
from Training.reproduction.own_pretraining import OwnPretrainings, refuse_no_pretraining
from Training.reproduction.presets import PRESETS, Preset
from Training.runs.cell import ANATOMY, BUNDLED, TRIVIAL, VARIANTS, VOLUMES, Cell
from Training.runs.layout import few_shot_is_new, write_few_shot, write_grid
from Training.starter import SIMULATED_ONLY
from Training.synthesis.template_grid import template_grid
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
    own = _refuse_impossible_options(options, preset, work)
    sources = weight_sources(options)
    synthetic = options.cohort == "synthetic"
    cache = _cohort_cache(options, preset, work)
    prepared = options.prepared_labelmaps or work / "labelmaps"
    if own:
        real = cache if preset.real_scans and options.cohort == "open" else None
        sources |= own.models(options.labelmaps, work, prepared, options.processes, real)
    if options.cohort == "open":
        sources[BUNDLED] = SIMULATED_ONLY  # the bundled version learned from persons who are tested
        sources[ANATOMY] = sources[VOLUMES] = resource("Models", "structure-volumes")
    sources = {name: str(Path(source).resolve()) for name, source in sources.items() if source is not None}
    if "MedicalNet" not in sources:
        print("reproduce: no MedicalNet runs, because its file was not given (--medicalnet)")
    volumes = Cache(cache, verify=False)
    plan = Plan(
        cache=str(cache.resolve()),
        cohort=options.cohort if options.cohort in COHORTS else Path(options.cohort).stem,
        labels="simulated" if synthetic else "real",
        sources=sources,
        recipes=dict(preset.recipes),
        external=(EXTERNAL,) if synthetic and preset.cohort.external else tuple(options.external),
        stability={name: list(levels) for name, levels in preset.stability.items()},
        few_levels=preset.few_levels,
        unswept=preset.unswept,
        device=options.device,
        command=command,
        simulated_note=NOTE if synthetic else "",
        saliency_patients=preset.saliency_patients,
        tumours=str((cache / TUMOURS).resolve()) if synthetic else "",
        spacing_mm=template_grid(tuple(volumes.size)).spacing,
        embeddings=str((work / "embeddings").resolve()),
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
        lines = [name for name in (*sources, "Scratch", *TRIVIAL) if name not in design.without]
        cells = preset.wanted(lines, asked)
        runs, out = work / f"runs-{design.name}", options.out / design.name
        try:
            status |= _work(of_design, cells, runs, out, options, preset.resamples)
        except (TrainingError, ManifestError) as error:  # the other questions may have an answer
            print(f"reproduce: {design.name}: {error}", file=sys.stderr)
            status = 1
    return status


def _refuse_impossible_options(options: argparse.Namespace, preset: Preset, work: Path) -> OwnPretrainings | None:
    """Before any work; the pretrainings that the command needs, None where the weights are given."""
    if options.cohort not in COHORTS:
        if not Path(options.cohort).is_file():
            raise ManifestError(f"'{options.cohort}' is no cohort: --cohort is {', '.join(COHORTS)}, or a CSV file.")
        refuse_unknown_datasets(read_manifest(options.cohort)["dataset"], options.external)
    elif options.external:
        raise TrainingError(f"--external is for a manifest: the cohort {options.cohort} has external tests of its own.")
    if options.question and options.cohort != "open":
        raise TrainingError("--question is for the cohort open.")
    if options.brainiac is not None and (options.pretraining is not None or options.variants):
        raise TrainingError(
            "--brainiac gives the weights, and --pretraining and --variants are for own ones; give one or the other."
        )
    if options.pretraining is not None:
        refuse_no_pretraining(options.pretraining)
    synthetic = options.cohort == "synthetic"
    if options.brainiac is None:
        own = OwnPretrainings.of(preset, work, options.pretraining, options.variants, synthetic)
    else:
        own = None
    if synthetic:
        usable_label_maps(options.labelmaps, preset.cohort.maps)
    elif own and own.unfinished():
        usable_label_maps(options.labelmaps, own.patients.maps, "The own pretraining (no --brainiac)")
    return own


def _work(plan: Plan, cells: list[Cell], runs: Path, out: Path, options: argparse.Namespace, resamples: int) -> int:
    """Train what is left of the cells, and write their report; 0 if every cell is finished."""
    if not cells:
        raise TrainingError("There is nothing to train: the cohort has labels for none of the tasks that are asked.")
    bench = Workbench(plan, runs)
    refuse_unknown_datasets(bench.cache.table["dataset"], plan.external)
    write_plan(plan, runs)
    for sentence in remarks(bench, list(dict.fromkeys(cell.task for cell in cells))):
        print(f"reproduce: {sentence}")
    cells, impossible = possible_cells(bench, cells)
    for sentence in impossible:
        print(f"reproduce: {sentence}")
    if not cells:
        raise TrainingError("The cohort is too small: no run is possible with any amount of its data.")
    write_grid(runs, cells)
    left = work_in_processes(runs, cells, options.processes)
    _write_few_shot(bench, cells)
    status = evaluate.main(["--runs", str(runs), "--out", str(out), "--resamples", str(resamples)])
    if left:
        print(
            f"reproduce: {len(left)} of {len(cells)} runs are not finished, first {left[0].name}; its status.json in "
            f"'{runs}' says why, and the same command tries them again"
        )
    return 1 if left else status


def _write_few_shot(bench: Workbench, cells: list[Cell]) -> None:
    """``few_shot.csv`` of the tasks with classes, from the initializations whose encoders are probed; once."""
    names = list(dict.fromkeys(cell.initialisation for cell in cells if cell.mode == "probe"))
    asked = dict.fromkeys(cell.task for cell in cells if TASKS[cell.task].kind == "classification")
    if bench.plan.folds or not names or not asked or few_shot_is_new(bench.runs):
        return
    write_few_shot(bench.runs, pd.concat([few_shot(bench, task, names) for task in asked]))


def _cohort_cache(options: argparse.Namespace, preset: Preset, work: Path) -> Path:
    if options.cohort == "synthetic":
        prepared = options.prepared_labelmaps or work / "labelmaps"
        return draw_cohort(preset.cohort, options.labelmaps, work / "synthetic", prepared, options.processes)
    if options.cohort == "open":
        return open_cache(options.data, work, options.standardized, options.processes)
    how = Standardising(size=preset.cohort.size)
    return cache_of_manifest(Path(options.cohort), work / "cache", how=how, workers=options.processes)


def _possible_tasks(cache: Cache) -> tuple[str, ...]:
    """The tasks that the table of scans has labels for."""
    possible = []
    for name, task in TASKS.items():
        try:
            studies(cache.table, task)
        except TrainingError as error:
            print(f"reproduce: no runs of {task.says}: {error}")
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
        "pretrains for 8 to 15 core-hours; full is the paper's grid, and wants a GPU",
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
    add(
        "--standardized",
        "--standardised",
        type=Path,
        metavar="FOLDER",
        help="of the cohort open: scans as the probes of Training.starter keep them, taken from there and added to it",
    )
    add_weight_options(parser)
    add(
        "--pretraining",
        type=Path,
        metavar="FOLDER",
        help="of an own pretraining of this preset: taken if it has done all its steps, else gone on with (OUT/work)",
    )
    add("--variants", nargs="+", choices=VARIANTS, default=[], help="own pretrainings with other views, a line each")
    add("--external", nargs="+", default=[], metavar="DATASET", help="datasets never to train on: tested apart")
    add_hardware_options(parser, processes=os.cpu_count() or 1)
    return parser
