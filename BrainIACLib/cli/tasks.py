"""``brainiac age``, ``idh``, ``survival``, ``mci``, ``stroke``: the tasks of the official heads, once imported."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.scan_options import (
    SCAN_HELP,
    add_model_options,
    add_scan_options,
    positive,
    preprocessing_options,
    print_json,
)
from BrainIACLib.errors import BrainIACError

ONE_SCAN = {
    "age": "brain age in years from a T1 scan",
    "mci": "mild cognitive impairment from a T1 scan",
    "stroke": "days since a stroke from a T1 scan",
}
SEVERAL_SCANS = {
    "idh": ("IDH class of a diffuse glioma", ("T1CE", "FLAIR")),
    "survival": ("survival of a glioblastoma at the model's end point", ("T1CE", "FLAIR", "T1", "T2")),
}


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Register the commands of this file."""
    for task, description in ONE_SCAN.items():
        command = commands.add_parser(task, help=f"{description} (needs an imported model)")
        command.add_argument("scans", nargs="+", type=Path, metavar="T1", help=SCAN_HELP)
        command.set_defaults(run=_each_scan, task=task, accept_missing=False)
    for task, (description, slots) in SEVERAL_SCANS.items():
        command = commands.add_parser(task, help=f"{description} (needs an imported model)")
        for slot in slots:
            command.add_argument(f"--{slot.lower()}", type=Path, metavar="SCAN", help=f"{slot} scan: {SCAN_HELP}")
        command.add_argument("--accept-missing", action="store_true", help="use the mean of the scans that are there")
        command.set_defaults(run=_one_study, task=task)
    for task in (*ONE_SCAN, *SEVERAL_SCANS):
        command = commands.choices[task]
        add_scan_options(command)
        add_model_options(command)
        command.add_argument("--out", type=Path, metavar="FOLDER", help="also write saliency maps, pictures and files")
        command.add_argument(
            "--samples", type=positive, default=10, help="noise samples of a saliency map (default 10)"
        )


def _each_scan(options: argparse.Namespace) -> int:
    from BrainIACLib.cli.analysis import result_folders

    predictor, folders = _predictor(options), result_folders(options.scans, options.out) if options.out else {}
    failed = 0
    for path in options.scans:
        try:
            _answer(options, predictor, {"T1": path}, folders.get(path))
        except BrainIACError as error:
            failed += 1
            if options.json:
                print_json(file=str(path), error=str(error))
            else:
                print(f"brainiac: {error}", file=sys.stderr)
    return 1 if failed else 0


def _one_study(options: argparse.Namespace) -> int:
    _, slots = SEVERAL_SCANS[options.task]
    paths = {slot: path for slot in slots if (path := getattr(options, slot.lower())) is not None}
    try:
        _answer(options, _predictor(options), paths, options.out)
    except BrainIACError as error:
        if not options.json:
            raise
        print_json(files={slot: str(path) for slot, path in paths.items()}, error=str(error))
        return 1
    return 0


def _predictor(options: argparse.Namespace):
    """Says at once what is missing, before anything is read or computed."""
    from BrainIACLib.checkpoints.installed import find_model
    from BrainIACLib.checkpoints.store import model_folders
    from BrainIACLib.predictor import Predictor

    folders = model_folders(options.models_dir)
    find_model(options.task, folders, options.model)
    return Predictor(options.device, folders)


def _answer(options: argparse.Namespace, predictor, paths: Mapping[str, Path], out: Path | None) -> None:
    from BrainIACLib.scans import read_scan

    predictor.check_scans(options.task, paths, model_id=options.model, accept_missing=options.accept_missing)
    with ProgressBar(options.task) as bar:
        bar.step("reading", 0.0, 0.05)("files", 0.0)
        scans = {slot: read_scan(path, series_uid=options.series, frame=options.frame) for slot, path in paths.items()}
        preprocessing = bar.step("preprocessing", 0.05, 0.6)
        standardised = predictor.set_study(scans, preprocessing_options(options), preprocessing, preset=options.preset)
        slots = {slot: slot for slot in scans}  # in this study a scan is called by its slot
        prediction = predictor.predict(
            options.task, slots, model_id=options.model, accept_missing=options.accept_missing
        )
        results = {}
        for number, (slot, scan) in enumerate(scans.items() if out else ()):
            from BrainIACLib.reports.result_files import write_results

            saliency = bar.step("saliency", 0.6 + 0.4 * number / len(scans), 0.6 + 0.4 * (number + 1) / len(scans))
            explanation = predictor.explain(
                options.task,
                slot,
                prediction.label,
                options.samples,
                options.seed,
                lambda done, slot=slot, saliency=saliency: saliency(slot, done),
                scans=slots,
                model_id=options.model,
            )
            folder = out if len(scans) == 1 else out / slot
            results[slot] = str(write_results(scan, standardised[slot], prediction, explanation, folder))
        bar.clear()
    files = {slot: str(path) for slot, path in paths.items()}
    if options.json:
        print_json(files=files, results=results, **prediction.to_json())
        return
    print(f"{', '.join(path.name for path in paths.values())}: {prediction.headline} ({options.task})")
    for warning in prediction.warnings:
        print(f"  warning: {warning}")
    print(f"  {prediction.valid_range} {prediction.notice}")
    for result in results.values():
        print(f"  results in {Path(result).parent}")
