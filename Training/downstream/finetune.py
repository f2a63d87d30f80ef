"""``python -m Training finetune``: train one cell, or a grid of tasks, initializations and label fractions.

    python -m Training finetune --task sequence --init brainiac --fraction 0.1 --cache cache/ --brainiac model/
    python -m Training finetune --grid paper --cache cache/ --brainiac model/ --medicalnet resnet_50.pth --runs runs/

``--manifest`` standardizes the scans first. The same command again goes on with what is left.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from BrainIACLib.errors import BrainIACError, TrainingError
from Training.downstream.hardware_options import add_hardware_options
from Training.downstream.perturbations import FEW_LEVELS, SWEEPS
from Training.downstream.plan import Plan, write_plan
from Training.downstream.queue import is_finished, work_in_processes, work_through
from Training.downstream.recipe import recipe_names
from Training.downstream.weight_options import add_weight_options, weight_sources
from Training.runs.cell import FRACTIONS, INITIALISATIONS, MODES, PAPER, Cell
from Training.runs.layout import write_grid
from Training.tasks import TASKS
from Training.tasks.age import AGE_UNITS
from Training.tasks.task import ONE_YEAR

SWEEP_CHOICES = {"none": {}, "few": FEW_LEVELS, "paper": {sweep.name: list(sweep.levels) for sweep in SWEEPS}}


def main(argv: list[str]) -> int:
    """Exit status 0: every wanted cell is finished; 1: one is not, or nothing can begin; 2: a wrong command line."""
    parser = _parser()
    options = parser.parse_args(argv)
    if options.cache is None and options.manifest is None:
        parser.error("Say where the scans are: --cache with a prepared cache, or --manifest.")
    try:
        cells = wanted_cells(options)
    except BrainIACError as error:
        parser.error(str(error))
    try:
        plan = _plan(options, argv)
        write_plan(plan, options.runs)
        write_grid(options.runs, cells)
        if options.slurm is not None:
            from Training.downstream.slurm import submit

            jobs = submit(options.runs, cells, partition=options.slurm, hours=options.hours)
            print(f"submitted {len(jobs)} jobs; 'python -m Training evaluate --runs {options.runs}' shows their state")
            return 0
        if options.processes > 1:
            left = work_in_processes(options.runs, cells, options.processes)
        else:
            work_through(options.runs, cells)
            left = [cell for cell in cells if not is_finished(options.runs, cell)]
    except BrainIACError as error:
        print(f"finetune: {error}", file=sys.stderr)
        return 1
    print(f"{len(cells) - len(left)} of {len(cells)} runs in '{options.runs}' are finished")
    return 1 if left else 0


def wanted_cells(options: argparse.Namespace) -> list[Cell]:
    """The cells that the command line asks for."""
    if options.grid == "paper":
        tasks, starts, fractions = options.task or list(TASKS), options.init or PAPER, FRACTIONS
        fractions = options.fraction or fractions
    else:
        if not options.task or not options.init:
            raise TrainingError("Say what to train: --task and --init, or --grid paper.")
        tasks, starts, fractions = options.task, options.init, options.fraction or [1.0]
    return [
        Cell(task, start, fraction, seed, mode)
        for mode in options.mode
        for seed in options.seed
        for task in tasks
        for start in starts
        for fraction in fractions
    ]


def _plan(options: argparse.Namespace, argv: list[str]) -> Plan:
    cache = options.cache or options.runs.parent / f"{options.runs.name}-cache"
    if options.manifest is not None:
        from Training.data.prepare import cache_of_manifest

        cache_of_manifest(options.manifest, cache, workers=max(1, (os.cpu_count() or 1) // 2))
    sources = weight_sources(options)
    return Plan(
        cache=str(cache.resolve()),
        cohort=options.cohort or cache.name,
        labels="simulated" if options.simulated else "real",
        sources={name: str(path.resolve()) for name, path in sources.items() if path is not None},
        architecture=options.architecture,
        width=options.width,
        recipes={"finetune": options.recipe, "probe": options.probe_recipe},
        external=tuple(options.external),
        age_unit=options.age_unit,
        horizon=options.horizon,
        folds=options.folds,
        stability={name: list(levels) for name, levels in SWEEP_CHOICES[options.stability].items()},
        device=options.device,
        command="python -m Training finetune " + " ".join(argv),
    )


def _initialisation(text: str) -> str:
    known = {name.lower(): name for name in INITIALISATIONS}
    if text.lower() not in known:
        raise argparse.ArgumentTypeError(f"'{text}' is none of {', '.join(known)}")
    return known[text.lower()]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m Training finetune", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--task", nargs="+", choices=list(TASKS), help="what is learned; with --grid, of these only")
    add("--init", nargs="+", type=_initialisation, metavar="|".join(INITIALISATIONS).lower(), help="where from")
    add("--fraction", nargs="+", type=float, metavar="0..1", help="of the training cases (validation included)")
    add("--grid", choices=["paper"], help="all tasks, initializations and the six fractions of the paper")
    add("--mode", nargs="+", choices=MODES, default=["finetune"], help="the whole net, or heads on frozen embeddings")
    add("--seed", nargs="+", type=int, default=[0], help="of the drawing of cases and of training (0)")
    add("--manifest", type=Path, help="scans to standardize first, as far as they are not")
    add("--cache", type=Path, help="volumes that 'python -m Training prepare' made")
    add("--runs", type=Path, default=Path("runs"), help="folder of runs; one folder a cell")
    add_weight_options(parser)
    add("--architecture", default="resnet50", help="of Scratch where no --brainiac is given")
    add("--width", type=float, default=1.0, help="of Scratch, as a share of the architecture's channels (1)")
    add("--recipe", default="paper", help=f"of finetuning: {', '.join(recipe_names())}, or a JSON file")
    add("--probe-recipe", default="probe", help="of heads on frozen embeddings, as --recipe")
    add("--external", nargs="+", default=[], metavar="DATASET", help="datasets never to train on: tested apart")
    add(
        "--age-unit",
        choices=list(AGE_UNITS),
        default="years",
        help="unit in which age is learned; results are in years",
    )
    add("--horizon", type=float, default=ONE_YEAR, help="up to which survival is predicted, in months (12)")
    add("--folds", type=int, default=0, help="cross-validation by patient instead of a hold-out")
    add(
        "--stability",
        choices=list(SWEEP_CHOICES),
        default="paper",
        help="levels of each image artifact, for cells of all data",
    )
    add("--cohort", default="", help="a name to print")
    add("--simulated", action="store_true", help="images or labels are simulated: every result says so")
    add_hardware_options(parser, processes=1)
    add("--slurm", metavar="PARTITION", help="submit one job a cell instead")
    add("--hours", type=float, default=24.0, help="of a SLURM job")
    return parser
