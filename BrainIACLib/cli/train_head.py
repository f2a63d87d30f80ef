"""``brainiac train-head``: a new task from a table of embeddings and a column of labels, in seconds."""

from __future__ import annotations

import argparse
import json
import shlex
import typing
from pathlib import Path
from typing import Any

from BrainIACLib.cli.answering import worker
from BrainIACLib.cli.embed import table_path
from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.scan_options import add_models_dir, print_json
from BrainIACLib.worker.requests import InstallHead, TrainHead

if typing.TYPE_CHECKING:
    from BrainIACLib.head_training.report import HeadReport


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command of this file."""
    train = commands.add_parser(
        "train-head",
        help="a new task from embeddings and labels, with its cross-validated worth",
        description="Fits a head, cross-validates it by patient, and installs it as a task for 'brainiac analyze'.",
    )
    train.add_argument(
        "--embeddings", type=table_path, required=True, metavar="FILE", help="table that 'brainiac embed' made"
    )
    train.add_argument(
        "--target", required=True, metavar="COLUMN", help="column to learn; for survival, the column of times"
    )
    train.add_argument("--task", required=True, metavar="NAME", help="name of the new task")
    train.add_argument(
        "--labels",
        type=Path,
        action="append",
        default=[],
        metavar="CSV",
        help="more columns, joined by 'scan' or 'patient'; repeatable",
    )
    train.add_argument(
        "--decisions",
        type=Path,
        metavar="CSV",
        help="decisions.csv of a batch's quality page: scans that were rejected there are left out",
    )
    train.add_argument(
        "--kind",
        choices=("auto", "classification", "regression", "survival"),
        default="auto",
        help="auto: a column of numbers with more than ten values is regression, any other classification",
    )
    train.add_argument(
        "--event", default="event", metavar="COLUMN", help="for survival: column of events, 1 happened, 0 censored"
    )
    train.add_argument(
        "--endpoint",
        type=float,
        metavar="TIME",
        help="for survival: time at which the probability is given (default: one year)",
    )
    train.add_argument("--slots", metavar="T1CE,FLAIR", help="join these scans of a session; the others are left out")
    train.add_argument(
        "--missing",
        metavar="CODES",
        help="cells of the label that mean 'no value', such as --missing=-999,x (empty ones and NA always do)",
    )
    train.add_argument(
        "--leave-out", action="append", default=[], metavar="CLASS", help="leave the cases of this class out"
    )
    train.add_argument(
        "--covariates", metavar="age_years,sex", help="columns whose answers are shown beside the image's"
    )
    train.add_argument("--site", metavar="COLUMN", help="also leave out each site as a whole")
    train.add_argument(
        "--head", metavar="KIND", default="linear", help="linear (default), or two-layer as in the paper"
    )
    train.add_argument(
        "--class-weights",
        choices=("balanced", "none"),
        default="balanced",
        help="weight classes equally, or by their size (default: balanced)",
    )
    train.add_argument(
        "--coverage", type=_share, default=0.9, help="coverage of prediction sets and intervals (default 0.9)"
    )
    train.add_argument("--seed", type=int, default=0, help="seed of folds and shuffles (default 0)")
    train.add_argument("--replace", action="store_true", help="replace the installed head of this task")
    train.add_argument("--dry-run", action="store_true", help="report only, install nothing")
    train.add_argument("--report", type=Path, metavar="FILE", help="also write the report, as a page (.html) or JSON")
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


def _names(text: str | None) -> tuple[str, ...]:
    """A list with commas."""
    return tuple(name.strip() for name in (text or "").split(",") if name.strip())


def _train(options: argparse.Namespace) -> int:
    from BrainIACLib.head_training.report import report_from_json

    request = TrainHead(
        table=options.embeddings,
        target=options.target,
        task=options.task,
        labels=tuple(options.labels),
        decisions=options.decisions,
        kind=options.kind,
        seed=options.seed,
        head=options.head,
        balanced=options.class_weights == "balanced",
        coverage=options.coverage,
        event=options.event,
        endpoint=options.endpoint,
        slots=_names(options.slots) or None,
        missing=None if options.missing is None else _names(options.missing),
        leave_out=tuple(options.leave_out),
        covariates=_names(options.covariates),
        site=options.site,
    )
    with ProgressBar("training") as bar, worker(options) as client:
        found = client.call(request, bar.job("", 0.0, 1.0))
        report = report_from_json(found)
        if options.report:  # before the head is installed: if it cannot be written, nothing has changed
            _write_report(report, options.report)
        installed = None if options.dry_run else client.call(InstallHead(options.replace, options.models_dir))
    if options.json:
        print_json(folder=installed and installed["folder"], report=found)
        return 0
    _print_report(report)
    if installed:
        slots = installed["slots"]
        scans = "SCAN" if len(slots) == 1 else " ".join(f"{slot}=FILE" for slot in slots)
        where = f" --models-dir {shlex.quote(str(options.models_dir))}" if options.models_dir else ""
        print(f"\nInstalled as {installed['folder']}")
        print(f"Use it: brainiac analyze {scans} --task {options.task} --out FOLDER{where}")
        if not installed["complete"]:
            print("Name those of these scans that there are; some may be missing, as in training.")
    print(report.notice)
    return 0


def _write_report(report: HeadReport, path: Path) -> None:
    from BrainIACLib.head_training.report import report_to_json
    from BrainIACLib.publishing import write_text
    from BrainIACLib.reports.head_page import head_page

    page = path.suffix.lower() in (".html", ".htm")
    write_text(head_page(report) if page else json.dumps(report_to_json(report), indent=1) + "\n", path)


def _print_report(report: HeadReport) -> None:
    from BrainIACLib.head_training.words import hardest_in_words, sections

    for section in sections(report):
        print(f"{section.title}:")
        for line in section.lines:
            print(f"  {line}")
    if report.confusion:
        width = max(6, *(len(name) + 2 for name in report.classes))
        print("Answers, and of each true class how many got them:")
        print("   " + "".join(f"{name:>{width}}" for name in ("truth", *report.classes)))
        for name, row in zip(report.classes, report.confusion, strict=True):
            print(f"   {name:>{width}}" + "".join(f"{count:{width}d}" for count in row))
    print("Hardest cases, answered by a head that had not seen the patient:")
    for line in hardest_in_words(report, 5):
        print(f"  {line}")
