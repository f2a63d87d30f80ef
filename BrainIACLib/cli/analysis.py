"""``brainiac sequence`` and ``brainiac analyze``: answers for scans in files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.scan_options import (
    SCAN_HELP,
    add_models_dir,
    add_scan_options,
    age,
    each_once,
    positive,
    print_json,
)
from BrainIACLib.cli.worker_study import set_study, worker
from BrainIACLib.contracts import HeadContract
from BrainIACLib.errors import BrainIACError
from BrainIACLib.reports.earlier_results import refuse_results_of_another_scan
from BrainIACLib.sequences import STANDARD_NAMES
from BrainIACLib.worker.requests import Predict, Save


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Register the commands of this file."""
    sequence = commands.add_parser(
        "sequence", help=f"which MR sequence is it: {', '.join(STANDARD_NAMES)}, or none of these"
    )
    sequence.set_defaults(run=_sequence)
    analyze = commands.add_parser(
        "analyze",
        help="the answer with saliency map, brain, mask, transform and picture",
        description="The answer with saliency map, brain, mask, transform and picture, written into the folder of "
        "--out: those of one scan into the folder itself, of several into one subfolder each, named after the file. "
        "Earlier results of the same file or DICOM folder are replaced; where those of another are, none are written.",
    )
    analyze.set_defaults(run=_analyze)
    analyze.add_argument(
        "--task", default="sequence", help="which question (default: sequence); yours after train-head"
    )
    analyze.add_argument("--model", metavar="ID", help="which model, where several are installed for the task")
    add_models_dir(analyze, must_exist=True)
    analyze.add_argument("--accept-missing", action="store_true", help="use the mean of the scans that are there")
    analyze.add_argument("--age", type=age, metavar="YEARS", help="of the person: warn outside the training ages")
    analyze.add_argument(
        "--trust", action="store_true", help="also change the scan slightly and see if the answer holds"
    )
    analyze.add_argument(
        "--sanity-check", action="store_true", help="also see if the map depends on the model's weights"
    )
    analyze.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the results go")
    analyze.add_argument("--samples", type=positive, default=10, help="noise samples of the saliency map (default 10)")
    sequence.add_argument("scans", nargs="+", type=Path, metavar="SCAN", help=SCAN_HELP)
    analyze.add_argument(
        "scans",
        nargs="+",
        metavar="SCAN",
        help=f"{SCAN_HELP}; for a task that takes several scans: T1CE=FILE FLAIR=FILE ...",
    )
    for command in (sequence, analyze):
        add_scan_options(command)


def _sequence(options: argparse.Namespace) -> int:
    if not options.json:
        print(_table_row("file", "sequence", "probability", "warnings"))
    notice = ""

    def classify(path: Path, client, bar) -> None:
        nonlocal notice
        name = _name(path)
        set_study(client, options, {name: path}, bar.job("preprocessing", 0.05, 0.95))
        prediction = client.call(Predict("sequence", {"any": name}))
        notice = prediction["notice"]
        bar.clear()
        if options.json:
            print_json(
                file=str(path),
                sequence=prediction["label"],
                **{key: prediction[key] for key in ("confidence", "probabilities", "warnings", "notice")},
            )
        else:
            warnings = " ".join(prediction["warnings"])
            print(_table_row(str(path), prediction["label"], f"{prediction['confidence']:.2f}", warnings))

    status = _for_each_scan(options, classify)
    if notice and not options.json:
        print(notice, file=sys.stderr)  # the table alone goes on to other programs
    return status


def _analyze(options: argparse.Namespace) -> int:
    from BrainIACLib.answers import missing_slots
    from BrainIACLib.checkpoints.installed import find_model
    from BrainIACLib.checkpoints.store import model_folders

    head = find_model(options.task, model_folders(options.models_dir), options.model).contract.head
    slots = head.slots if head else ("any",)
    if len(slots) == 1:
        options.scans = each_once([Path(text) for text in options.scans])  # their results would be in each other's way
        folders = result_folders(options.scans, options.out)

        def analyze(path: Path, client, bar) -> None:
            _answer(options, client, bar, {slots[0]: path}, {slots[0]: folders[path]})

        return _for_each_scan(options, analyze)
    paths = _slots_of(options.scans, head)
    missing_slots(head, paths, options.accept_missing)  # before the minutes of preprocessing
    options.scans = [options.out]  # one study, called after its results where it fails

    def analyze_study(_: Path, client, bar) -> None:
        _answer(options, client, bar, paths, {slot: options.out / slot for slot in paths})

    return _for_each_scan(options, analyze_study)


def _slots_of(texts: Sequence[str], head: HeadContract) -> dict[str, Path]:
    """``T1CE=FILE`` arguments as slot -> path."""
    slots = head.slots
    parts = [text.partition("=") for text in texts]
    if any(not path or slot not in slots for slot, _, path in parts) or len({slot for slot, _, _ in parts}) < len(
        parts
    ):
        wanted = " ".join(f"{slot}=FILE" for slot in slots)
        if head.missing_policy == "refuse":
            raise BrainIACError(
                f"This task takes several scans; name each once, like this: {wanted} (with --accept-missing, those "
                "that you have)."
            )
        raise BrainIACError(f"This task takes several scans; name those that you have once, like this: {wanted}.")
    return {slot: Path(path) for slot, _, path in parts}


def _answer(options: argparse.Namespace, client, bar, paths: Mapping[str, Path], folders: Mapping[str, Path]) -> None:
    """One study: slot -> file, and slot -> folder of its map."""
    for slot, path in paths.items():
        refuse_results_of_another_scan(path, slot, folders[slot])
    names = {slot: _name(path) if len(paths) == 1 else slot for slot, path in paths.items()}
    by_name = {names[slot]: path for slot, path in paths.items()}
    study = set_study(client, options, by_name, bar.job("preprocessing", 0.05, 0.6))
    results, prediction = {}, {}
    for number, (slot, name) in enumerate(names.items()):
        first = number == 0
        answer = client.call(
            Save(
                folder=folders[slot],
                task=options.task,
                scans=names,
                scan=name,
                model=options.model,
                accept_missing=options.accept_missing,
                samples=options.samples,
                seed=options.seed,
                age_years=options.age,
                trust=options.trust and first,
                sanity=options.sanity_check and first,
            ),
            bar.job("saliency", 0.6 + 0.4 * number / len(names), 0.6 + 0.4 * (number + 1) / len(names)),
        )
        prediction = prediction or answer["prediction"]
        results[slot] = str(folders[slot] / Path(answer["result"]).name)
    bar.clear()
    if options.json:
        files = {slot: str(path) for slot, path in paths.items()}
        where = {"files": files, "results": results} if len(paths) > 1 else {}
        one = {} if len(paths) > 1 else {"file": next(iter(files.values())), "result": next(iter(results.values()))}
        print_json(**one, **where, **prediction)
        return
    print(f"{', '.join(path.name for path in paths.values())}: {prediction['headline']} ({options.task})")
    for warning in prediction["warnings"]:
        print(f"  warning: {warning}")
    for line in trust_in_words(prediction["trust"]):
        print(f"  {line}")
    for name in by_name:
        print(f"  {_preprocessing_in_words(study[name]['record'])}")
    print(f"  results in {', '.join(str(folder) for folder in folders.values())}   {prediction['notice']}")


def trust_in_words(trust: Mapping[str, dict]) -> list[str]:
    """The parts of ``Prediction.trust`` as lines."""
    lines = []
    if found := trust.get("prediction_set"):
        lines.append(f"prediction set: {', '.join(found['classes'])}; it {found['meaning']}")
    if found := trust.get("prediction_interval"):
        interval = f"{found['low']:.1f} to {found['high']:.1f} {found['unit']}"
        lines.append(f"prediction interval: {interval}; it {found['meaning']}")
    if found := trust.get("novelty"):
        lines.append(
            f"distance from the training cases: {found['score']:.2f}; 95 % of them lie below 1, and above "
            f"{found['warn_above']:.2f} a warning is given"
        )
    asked = [trust[name] for name in ("spread", "sanity_check") if name in trust] + [
        *trust.get("stability", {}).values()
    ]
    return lines + [found["meaning"] for found in asked]


def _for_each_scan(options: argparse.Namespace, act: Callable) -> int:
    """Answer every scan that can be answered; a failed one is reported and does not stop the others."""
    failed = 0
    with worker(options) as client:
        for path in options.scans:
            with ProgressBar(path.name) as bar:
                try:
                    bar.job("reading", 0.0, 0.05).report("file", 0.0)
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
    from BrainIACLib.scans.formats import suffix

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
        "bundled": "brain extracted by the bundled network",
    }.get(backend, f"brain extracted by {backend}")
    in_place = steps["registration"]["already_in_template_space"]
    return f"preprocessing: {brain}; {'already in MNI space' if in_place else 'registered to MNI space'}"


def _table_row(file: str, sequence: str, probability: str, warnings: str) -> str:
    return f"{file:<44} {sequence:<8} {probability:>11}  {warnings}".rstrip()
