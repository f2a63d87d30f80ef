"""``brainiac sequence`` and ``brainiac analyze``: answers for scans in files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.scan_options import SCAN_HELP, add_scan_options, positive, print_json
from BrainIACLib.cli.worker_study import set_study, worker
from BrainIACLib.errors import BrainIACError
from BrainIACLib.scans.formats import suffix


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Register the commands of this file."""
    sequence = commands.add_parser("sequence", help="which MR sequence is it: T1, T2, FLAIR, T1CE, or none of these")
    sequence.set_defaults(run=_sequence)
    analyze = commands.add_parser("analyze", help="the answer with saliency map, brain, mask, transform and picture")
    analyze.set_defaults(run=_analyze)
    analyze.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the results go")
    analyze.add_argument("--samples", type=positive, default=10, help="noise samples of the saliency map (default 10)")
    for command in (sequence, analyze):
        command.add_argument("scans", nargs="+", type=Path, metavar="SCAN", help=SCAN_HELP)
        add_scan_options(command)


def _sequence(options: argparse.Namespace) -> int:
    if not options.json:
        print(_table_row("file", "sequence", "probability", "warnings"))

    def classify(path: Path, client, bar) -> None:
        name = _name(path)
        set_study(client, options, {name: path}, bar.step("preprocessing", 0.05, 0.95))
        prediction = client.call("predict", task="sequence", scans={"any": name})
        bar.clear()
        if options.json:
            print_json(
                file=str(path),
                sequence=prediction["label"],
                **{key: prediction[key] for key in ("confidence", "probabilities", "warnings")},
            )
        else:
            warnings = " ".join(prediction["warnings"])
            print(_table_row(path.name, prediction["label"], f"{prediction['confidence']:.2f}", warnings))

    return _for_each_scan(options, classify)


def _analyze(options: argparse.Namespace) -> int:
    folders = result_folders(options.scans, options.out)

    def analyze(path: Path, client, bar) -> None:
        name = _name(path)
        study = set_study(client, options, {name: path}, bar.step("preprocessing", 0.05, 0.6))
        answer = client.call(
            "save",
            progress=bar.step("saliency", 0.6, 1.0),
            folder=str(folders[path].absolute()),
            task="sequence",
            scans={"any": name},
            scan=name,
            samples=options.samples,
            seed=options.seed,
        )
        prediction = answer["prediction"]
        bar.clear()
        if options.json:
            print_json(file=str(path), result=str(folders[path] / Path(answer["result"]).name), **prediction)
        else:
            print(f"{path.name}: {prediction['headline']} (sequence)")
            for warning in prediction["warnings"]:
                print(f"  warning: {warning}")
            print(f"  {_preprocessing_in_words(study[name]['record'])}")
            print(f"  results in {folders[path]}   {prediction['notice']}")

    return _for_each_scan(options, analyze)


def _for_each_scan(options: argparse.Namespace, act: Callable) -> int:
    """Answer every scan that can be answered; a failed one is reported and does not stop the others."""
    failed = 0
    with worker(options) as client:
        for path in options.scans:
            with ProgressBar(path.name) as bar:
                try:
                    bar.step("reading", 0.0, 0.05)("file", 0.0)
                    act(path, client, bar)
                except BrainIACError as error:
                    failed += 1
                    bar.clear()
                    if options.json:
                        print_json(file=str(path), error=str(error))
                    else:
                        print(f"brainiac: {_with_file(path, error)}", file=sys.stderr)
    return 1 if failed else 0


def _name(path: Path) -> str:
    """What a scan is called in results: its file's or folder's name without suffix."""
    name = path.absolute().name
    return name[: len(name) - len(suffix(path))] or "scan"


def _with_file(path: Path, error: BrainIACError) -> str:
    return str(error) if path.name in str(error) else f"'{path}': {error}"


def result_folders(scans: Sequence[Path], out: Path) -> dict[Path, Path]:
    """One scan writes into ``out`` itself; several into one folder each, named after the file, numbered where equal."""
    if len(scans) == 1:
        return {scans[0]: out}
    folders: dict[Path, Path] = {}
    for path in scans:
        stem = path.name.split(".")[0] or "scan"
        candidates = (out / (stem if number == 1 else f"{stem}_{number}") for number in range(1, len(scans) + 1))
        folders.setdefault(path, next(folder for folder in candidates if folder not in folders.values()))
    return folders


def _preprocessing_in_words(record: Sequence[dict]) -> str:
    steps = {step["name"]: step["parameters"] for step in record}
    backend = steps["brain extraction"]["backend"]
    brain = {
        "stripped": "the scan is already skull-stripped",
        "mask": "brain mask as given",
        "none": "whole head, brain extraction switched off",
    }.get(backend, f"brain extracted by {backend}")
    in_place = steps["registration"]["already_in_template_space"]
    return f"preprocessing: {brain}; {'already in MNI space' if in_place else 'registered to MNI space'}"


def _table_row(file: str, sequence: str, probability: str, warnings: str) -> str:
    return f"{file:<44} {sequence:<8} {probability:>11}  {warnings}".rstrip()
