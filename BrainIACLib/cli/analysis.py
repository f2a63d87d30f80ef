"""``brainiac sequence`` and ``brainiac analyze``: answers for scans in files."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.scan_options import SCAN_HELP, add_scan_options, positive, preprocessing_options, print_json
from BrainIACLib.errors import BrainIACError


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

    def classify(path: Path, scan, predictor, bar) -> None:
        predictor.set_study({scan.name: scan}, preprocessing_options(options), bar.step("preprocessing", 0.05, 0.95))
        prediction = predictor.predict("sequence", scan.name)
        bar.clear()
        if options.json:
            print_json(
                file=str(path),
                sequence=prediction.label,
                confidence=prediction.confidence,
                probabilities=prediction.probabilities,
                warnings=prediction.warnings,
            )
        else:
            print(
                _table_row(path.name, prediction.label, f"{prediction.confidence:.2f}", " ".join(prediction.warnings))
            )

    return _for_each_scan(options, classify)


def _analyze(options: argparse.Namespace) -> int:
    folders = result_folders(options.scans, options.out)

    def analyze(path: Path, scan, predictor, bar) -> None:
        from BrainIACLib.reports.result_files import write_results

        preprocessing = bar.step("preprocessing", 0.05, 0.6)
        standardised = predictor.set_study({scan.name: scan}, preprocessing_options(options), preprocessing)[scan.name]
        prediction = predictor.predict("sequence", scan.name)
        saliency = bar.step("saliency", 0.6, 0.9)
        explanation = predictor.explain(
            "sequence", scan.name, prediction.label, options.samples, options.seed, lambda done: saliency("maps", done)
        )
        bar.step("writing", 0.9, 1.0)("files", 0.0)
        result = write_results(scan, standardised, prediction, explanation, folders[path])
        bar.clear()
        if options.json:
            print_json(file=str(path), result=str(result), **prediction.to_json())
        else:
            print(f"{path.name}: {prediction.label}, probability {prediction.confidence:.2f} (sequence)")
            for warning in prediction.warnings:
                print(f"  warning: {warning}")
            print(f"  {_preprocessing_in_words(standardised)}")
            print(f"  results in {result.parent}   {prediction.notice}")

    return _for_each_scan(options, analyze)


def _for_each_scan(options: argparse.Namespace, act: Callable) -> int:
    """Answer every scan that can be answered; a failed one is reported and does not stop the others."""
    from BrainIACLib.predictor import Predictor
    from BrainIACLib.scans import read_scan

    predictor = Predictor(options.device)
    failed = 0
    for path in options.scans:
        with ProgressBar(path.name) as bar:
            try:
                bar.step("reading", 0.0, 0.05)("file", 0.0)
                act(path, read_scan(path, series_uid=options.series, frame=options.frame), predictor, bar)
            except Exception as error:  # one bad scan of a cohort, even one that shows a defect here, costs only itself
                failed += 1
                bar.clear()
                said = str(error) if isinstance(error, BrainIACError) else _unexpected(path, error)
                if options.json:
                    print_json(file=str(path), error=said)
                else:
                    print(f"brainiac: {said}", file=sys.stderr)
    return 1 if failed else 0


def _unexpected(path: Path, error: Exception) -> str:
    reason = " ".join(str(error).split())[:200]
    return f"'{path}' failed in an unexpected way ({type(error).__name__}: {reason}); please report this."


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


def _preprocessing_in_words(standardised) -> str:
    steps = {step.name: step.parameters for step in standardised.record}
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
