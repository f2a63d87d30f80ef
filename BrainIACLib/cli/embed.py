"""``brainiac embed``: the numbers that every head reads, one row a scan, as a table for any statistics program."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.scan_options import (
    SCAN_HELP,
    add_model_options,
    add_scan_options,
    preprocessing_options,
    print_json,
)
from BrainIACLib.errors import BrainIACError

FORMATS = (".csv", ".npz", ".parquet")


def add_commands(commands: argparse._SubParsersAction) -> None:
    """Register the command of this file."""
    embed = commands.add_parser("embed", help="embeddings of scans as a CSV, NPZ or Parquet table")
    embed.add_argument("scans", nargs="+", type=Path, metavar="SCAN", help=SCAN_HELP)
    embed.add_argument("--out", type=_table_path, required=True, metavar="FILE", help=f"ends in {', '.join(FORMATS)}")
    add_scan_options(embed)
    add_model_options(embed)
    embed.set_defaults(run=_embed)


def _table_path(text: str) -> Path:
    path = Path(text)
    if path.suffix not in FORMATS:
        raise argparse.ArgumentTypeError(f"must end in one of {', '.join(FORMATS)}")
    return path


def _embed(options: argparse.Namespace) -> int:
    from BrainIACLib.checkpoints.installed import find_encoder
    from BrainIACLib.checkpoints.store import model_folders
    from BrainIACLib.predictor import Predictor
    from BrainIACLib.reports.embedding_table import EmbeddingRow, check_format, write_embeddings
    from BrainIACLib.scans import read_scan

    check_format(options.out)
    folders = model_folders(options.models_dir)
    find_encoder(folders, options.model)
    predictor = Predictor(options.device, folders)
    rows, failed = [], 0
    for path in options.scans:
        with ProgressBar(path.name) as bar:
            try:
                scan = read_scan(path, series_uid=options.series, frame=options.frame)
                step = bar.step("preprocessing", 0.05, 0.95)
                predictor.set_study({"scan": scan}, preprocessing_options(options), step, preset=options.preset)
                embedding, contract = predictor.embed("scan", options.model)
            except BrainIACError as error:
                failed += 1
                bar.clear()
                if options.json:
                    print_json(file=str(path), error=str(error))
                else:
                    print(f"brainiac: {error}", file=sys.stderr)
                continue
        rows.append(
            EmbeddingRow(str(path), scan.sha256, contract.id, contract.encoder.sha256, options.preset, embedding)
        )
        if options.json:
            print_json(file=str(path), model=contract.id, size=len(embedding), out=str(options.out))
    if rows:
        write_embeddings(rows, options.out)
        if not options.json:
            print(f"{len(rows)} embeddings of {len(rows[0].embedding)} numbers ({rows[0].model}) in {options.out}")
    return 1 if failed else 0
