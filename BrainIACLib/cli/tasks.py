"""``brainiac age``, ``idh``, ``survival``, ``mci``, ``stroke``: the tasks of the official heads, once imported."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Mapping
from pathlib import Path

from BrainIACLib.answers import fill_slots, missing_slots
from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.scan_options import (
    SCAN_HELP,
    add_model_options,
    add_scan_options,
    each_once,
    positive,
    print_json,
)
from BrainIACLib.cli.worker_study import set_study, worker
from BrainIACLib.contracts import HeadContract
from BrainIACLib.errors import BrainIACError
from BrainIACLib.reports.earlier_results import refuse_results_of_another_scan
from BrainIACLib.sequences import STUDY_ORDER
from BrainIACLib.worker.client import Client
from BrainIACLib.worker.requests import Predict, Save

ONE_SCAN = {
    "age": "brain age in years from a T1 scan",
    "mci": "mild cognitive impairment from a T1 scan",
    "stroke": "days since a stroke from a T1 scan",
}
SEVERAL_SCANS = {
    "idh": ("IDH class of a diffuse glioma", STUDY_ORDER[:2]),
    "survival": ("survival of a glioblastoma at the model's end point", STUDY_ORDER),
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

    head, options.scans = _head(options), each_once(options.scans)
    folders, failed = result_folders(options.scans, options.out) if options.out else {}, 0
    with worker(options) as client:
        for path in options.scans:
            try:
                _answer(options, client, head, {"T1": path}, folders.get(path))
            except BrainIACError as error:
                failed += 1
                if options.json:
                    print_json(file=str(path), error=str(error))
                else:
                    print(f"brainiac: {error}", file=sys.stderr)
    return 1 if failed else 0


def _one_study(options: argparse.Namespace) -> int:
    head = _head(options)
    _, slots = SEVERAL_SCANS[options.task]
    paths = {slot: path for slot in slots if (path := getattr(options, slot.lower())) is not None}
    try:
        with worker(options) as client:
            _answer(options, client, head, paths, options.out)
    except BrainIACError as error:
        if not options.json:
            raise
        print_json(files={slot: str(path) for slot, path in paths.items()}, error=str(error))
        return 1
    return 0


def _head(options: argparse.Namespace) -> HeadContract | None:
    """What the model for the task takes. Raises ModelError before anything is read or computed."""
    from BrainIACLib.checkpoints.installed import find_model
    from BrainIACLib.checkpoints.store import model_folders

    return find_model(options.task, model_folders(options.models_dir), options.model).contract.head


def _answer(
    options: argparse.Namespace,
    client: Client,
    head: HeadContract | None,
    paths: Mapping[str, Path],
    out: Path | None,
) -> None:
    if head is not None:
        missing_slots(head, fill_slots(head, paths), options.accept_missing)
    folders = {slot: out if len(paths) == 1 else out / slot for slot in paths} if out else {}
    for slot, folder in folders.items():
        refuse_results_of_another_scan(paths[slot], slot, folder)
    question = {
        "task": options.task,
        "scans": {slot: slot for slot in paths},  # in this study a scan is called by its slot
        "model": options.model,
        "accept_missing": options.accept_missing,
    }
    with ProgressBar(options.task) as bar:
        set_study(client, options, paths, bar.job("preprocessing", 0.0, 0.6))
        prediction, results = client.call(Predict(**question)), {}
        for number, (slot, folder) in enumerate(folders.items()):
            share = 0.4 / len(paths)
            answer = client.call(
                Save(folder=folder, scan=slot, samples=options.samples, seed=options.seed, **question),
                bar.job(slot, 0.6 + share * number, 0.6 + share * (number + 1)),
            )
            results[slot] = str(folder / Path(answer["result"]).name)
        bar.clear()
    files = {slot: str(path) for slot, path in paths.items()}
    if options.json:
        print_json(files=files, results=results, **prediction)
        return
    print(f"{', '.join(path.name for path in paths.values())}: {prediction['headline']} ({options.task})")
    for warning in prediction["warnings"]:
        print(f"  warning: {warning}")
    print(f"  {prediction['valid_range']} {prediction['notice']}")
    for result in results.values():
        print(f"  results in {Path(result).parent}")
