"""``brainiac embed``: the numbers that every head reads, one row a scan, as a table for any statistics program."""

from __future__ import annotations

import argparse
import dataclasses
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.questions import ANY
from BrainIACLib.cli.scan_options import (
    SCAN_HELP,
    add_model_options,
    add_scan_options,
    preprocessing_options,
    print_json,
)
from BrainIACLib.errors import BrainIACError
from BrainIACLib.worker.client import Client
from BrainIACLib.worker.requests import CaseFile, EmbedCases

FORMATS = (".csv", ".npz", ".parquet")
SECONDS_BETWEEN_LINES = 30  # where no terminal shows the progress bar
TABLES = (".csv", ".tsv")


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command of this file."""
    embed = commands.add_parser(
        "embed",
        help="embeddings of scans as a CSV, NPZ or Parquet table",
        description="One row a scan. A run that was stopped goes on where it was, and a table that is there already "
        "is used as far as image, preprocessing and encoder are the same. The table then holds the scans of this run "
        "only; without --replace, no scan is dropped from one that is there.",
    )
    embed.add_argument("scans", nargs="*", type=Path, metavar="SCAN", help=SCAN_HELP)
    embed.add_argument(
        "--manifest",
        type=Path,
        metavar="CSV",
        help="a table of scans: column 'scan' (path, relative to the table), best with 'patient', 'session', "
        "'sequence'; further columns (labels, age_years) are kept; separated by commas, semicolons or tabs",
    )
    embed.add_argument(
        "--out",
        type=table_path,
        required=True,
        metavar="FILE",
        help=f"the table; its name ends in {', '.join(FORMATS)}",
    )
    embed.add_argument(
        "--replace",
        action="store_true",
        help="overwrite a file that is no embedding table; drop scans and columns that are not named",
    )
    add_scan_options(embed)
    add_model_options(embed)
    embed.set_defaults(run=_embed)


def table_path(text: str) -> Path:
    """An argument that names an embedding table."""
    path = Path(text)
    if path.suffix not in FORMATS:
        raise argparse.ArgumentTypeError(f"must end in one of {', '.join(FORMATS)}")
    return path


def _embed(options: argparse.Namespace) -> int:
    from BrainIACLib.checkpoints.installed import find_encoder
    from BrainIACLib.checkpoints.store import model_folders
    from BrainIACLib.embeddings.cohort import cases_of_files, read_cohort
    from BrainIACLib.embeddings.files import check_format

    if bool(options.scans) == bool(options.manifest):
        raise BrainIACError("Name the scans to embed, or a table of them with --manifest; one of both.")
    for path in options.scans:
        if path.suffix.lower() in TABLES:
            raise BrainIACError(f"'{path}' is a table, not a scan; give it as one.", f"--manifest {path}")
    check_format(options.out)
    folders = model_folders(options.models_dir)
    model = find_encoder(folders, options.model).contract.id  # before any work
    cases = read_cohort(options.manifest) if options.manifest else cases_of_files(options.scans)
    request = EmbedCases(
        cases=tuple(CaseFile(case.path, case.facts) for case in cases),
        out=options.out,
        model=options.model,
        options=preprocessing_options(options),
        mask=options.mask,
        series=options.series,
        frame=options.frame,
        replace=options.replace,
        device=options.device,
    )
    ready, said = 0, time.monotonic()

    def show(part: Mapping[str, object]) -> None:
        nonlocal ready, said
        ready += 1
        path, failure = cases[ready - 1].path, part["error"]
        if options.json:
            outcome = {"error": failure} if failure else {"model": model, "out": str(options.out)}
            print_json(file=str(path), files={ANY: str(path)}, **outcome)
        elif failure:
            bar.clear()
            print(f"brainiac: {failure}", file=sys.stderr)
        if not options.json and not sys.stderr.isatty() and time.monotonic() - said >= SECONDS_BETWEEN_LINES:
            print(f"{ready} of {len(cases)} scans", file=sys.stderr)
            said = time.monotonic()

    try:
        with ProgressBar("embedding") as bar, Client(folders) as client:
            found = client.call(request, dataclasses.replace(bar.job("", 0.0, 1.0), deliver=show))
    except KeyboardInterrupt:
        print(
            "brainiac: stopped; the scans embedded so far are kept; run the same command again to go on.",
            file=sys.stderr,
        )
        return 130
    if found["scans"] and not options.json:
        print(
            f"{found['scans']} embeddings of {found['size']} numbers ({model}) in {options.out}: "
            f"{found['computed']} computed, {found['reused']} known"
        )
    if found["failures"] and not options.json:
        print(f"brainiac: {len(found['failures'])} of {len(cases)} scans failed; see above.", file=sys.stderr)
    return 1 if found["failures"] else 0
