"""``brainiac train-head``: a new task from a table of embeddings and a column of labels, in seconds."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from BrainIACLib.cli.embed import table_path
from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.scan_options import add_models_dir, print_json


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Register the command of this file."""
    train = commands.add_parser(
        "train-head",
        help="a new task from embeddings and labels, with its cross-validated worth",
        description="Fits a head, cross-validates it by patient, and installs it as a task for 'brainiac analyze'.",
    )
    train.add_argument("--embeddings", type=table_path, required=True, metavar="FILE", help="made by brainiac embed")
    train.add_argument("--target", required=True, metavar="COLUMN", help="what to learn; of survival, the times")
    train.add_argument("--task", required=True, metavar="NAME", help="how the new task is called")
    train.add_argument("--labels", type=Path, metavar="CSV", help="more columns, joined by 'scan' or 'patient'")
    train.add_argument(
        "--kind",
        choices=("auto", "classification", "regression", "survival"),
        default="auto",
        help="auto: a column of numbers with more than ten values is regression, any other classification",
    )
    train.add_argument("--event", default="event", metavar="COLUMN", help="of survival: 1 happened, 0 censored")
    train.add_argument("--endpoint", type=float, metavar="TIME", help="of survival: probability by when (one year)")
    train.add_argument("--slots", metavar="T1CE,FLAIR", help="join these scans of a session; the others are left out")
    train.add_argument("--head", choices=("linear", "two-layer"), default="linear", help="two-layer: the paper's")
    train.add_argument("--class-weights", choices=("balanced", "none"), default="balanced", help="(balanced)")
    train.add_argument("--coverage", type=_share, default=0.9, help="of prediction sets and intervals (0.9)")
    train.add_argument("--seed", type=int, default=0, help="of folds and shuffles (0)")
    train.add_argument("--replace", action="store_true", help="take the place of an earlier head for this task")
    train.add_argument("--dry-run", action="store_true", help="report only, install nothing")
    train.add_argument("--report", type=Path, metavar="FILE", help="also write the whole report as JSON")
    train.add_argument("--json", action="store_true", help="the whole report and the folder as one JSON object")
    add_models_dir(train)
    train.set_defaults(run=_train)


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = float("nan")
    if not 0.5 <= value < 1:
        raise argparse.ArgumentTypeError("must be a number of at least 0.5 and below 1")
    return value


def _train(options: argparse.Namespace) -> int:
    from BrainIACLib.checkpoints.store import user_folders
    from BrainIACLib.embeddings.files import read_table
    from BrainIACLib.head_training.cases import with_labels
    from BrainIACLib.head_training.training import train_head

    table = read_table(options.embeddings)
    if options.labels:
        table = with_labels(table, options.labels)
    with ProgressBar("training") as bar:
        head = train_head(
            table,
            options.target,
            options.task,
            options.kind,
            options.seed,
            bar.job("", 0.0, 1.0),
            head=options.head,
            balanced=options.class_weights == "balanced",
            coverage=options.coverage,
            event=options.event,
            endpoint=options.endpoint,
            slots=tuple(options.slots.split(",")) if options.slots else None,
        )
    store = options.models_dir or user_folders()[0]
    if options.report:  # before the head is installed: if it cannot be written, nothing has changed
        import json

        from BrainIACLib.publishing import write_text

        write_text(json.dumps(head.report, indent=1) + "\n", options.report)
    folder = None if options.dry_run else head.install(store, replace=options.replace)
    if options.json:
        print_json(folder=str(folder) if folder else None, report=head.report)
        return 0
    _print_report(head.report)
    if folder:
        slots = head.cases.slots
        scans = "SCAN" if len(slots) == 1 else " ".join(f"{slot}=FILE" for slot in slots)
        where = f" --models-dir {shlex.quote(str(options.models_dir))}" if options.models_dir else ""
        print(f"\nInstalled as {folder}\nUse it: brainiac analyze {scans} --task {options.task} --out FOLDER{where}")
        if not head.cases.complete:
            print("Name those of these scans that there are; some may be missing, as in training.")
    print(head.report["notice"])
    return 0


def _print_report(report: dict) -> None:
    from BrainIACLib.head_training.report import coverage_in_words

    counts = f"{report['cases']} cases of {report['patients']} patients ({report['scans']} scans)"
    print(f"{report['task']}: {report['kind']} of '{report['target']}', {report['solver']}, {counts}")
    print(f"  {report['labels_in_words']}")
    print(f"Cross-validated by patient in {report['folds']} folds (95 % intervals by patient):")
    for name, figure in report["metrics"].items():
        interval = "" if figure["low"] is None else f" ({figure['low']:.3f} to {figure['high']:.3f})"
        print(f"  {name} {figure['value']:.3f}{interval}: {figure['meaning']}")
        if "p_against_the_mean" in figure:
            print(f"    against always answering the mean: p = {figure['p_against_the_mean']:.4f}")
    if "confusion" in report:
        width = max(6, *(len(name) + 2 for name in report["classes"]))
        print("  answers, and of each true class how many got them:")
        print("   " + "".join(f"{name:>{width}}" for name in ("truth", *report["classes"])))
        for name, row in zip(report["classes"], report["confusion"], strict=True):
            print(f"   {name:>{width}}" + "".join(f"{count:{width}d}" for count in row))
    for name in ("median_split", "calibration"):
        if meaning := report.get(name, {}).get("meaning"):
            print(f"  {meaning}")
    print(f"  {coverage_in_words(report['conformal'])}")
    print(f"{report['permutation']['meaning']}\n{report['learning_curve']['verdict']}")
    for note in report["notes"]:
        print(f"note: {note}")
    print("Hardest cases, answered by a head that had not seen the patient:")
    for row in report["hardest"][:5]:
        print(f"  {' + '.join(row['scans'])}: {row['in_words']}")
