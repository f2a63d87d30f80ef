"""Is there a starter age head? Nested cross-validation on the open T1 scans of known age; bundled only if honest.

    python -m Training.starter.age --data ../shared/data --out runs/starter-age

Embeds the scans of ``age/`` (one study, adults of 19 to 55 years; kept in ``--out``, so that a second run takes
seconds), cross-validates a ridge head by patient on the encoder of ``--model``, and compares its errors with always
answering the mean: paired by patient, p < 0.05 or no head. With ``--install FOLDER`` and a pass, the head is written
there.
"""

from __future__ import annotations

import argparse
import csv
import json
import sys
from pathlib import Path

from BrainIACLib.checkpoints.store import model_folders
from BrainIACLib.embeddings.cohort import Case
from BrainIACLib.embeddings.store import embed_cohort
from BrainIACLib.embeddings.table import EmbeddingTable
from BrainIACLib.errors import BrainIACError
from BrainIACLib.head_training.training import TrainedHead, train_head
from BrainIACLib.predictor import Predictor
from BrainIACLib.publishing import write_text

TASK, TARGET, HIGHEST_P = "age-starter", "age_years", 0.05


def cohort(data: Path) -> list[Case]:
    """The scans of ``age/`` with their ages, as MANIFEST.csv lists them."""
    with (data / "MANIFEST.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["file"].startswith("age/") and row["age_years"]]
    return [
        Case(
            data / row["file"],
            {"scan": row["file"], "patient": row["subject"], "sequence": "T1", TARGET: row["age_years"]},
        )
        for row in rows
    ]


def judge(table: EmbeddingTable, seed: int = 0) -> tuple[TrainedHead, bool]:
    """The head with its report, and whether its error is smaller than the mean's with p < 0.05."""
    head = train_head(table, TARGET, TASK, "regression", seed)
    figures = head.report["metrics"]
    better = figures["MAE"]["value"] < figures["MAE of the mean"]["value"]
    return head, better and figures["MAE"]["p_against_the_mean"] < HIGHEST_P


def in_words(report: dict, passed: bool) -> str:
    """The verdict with its numbers."""
    figure, blind = report["metrics"]["MAE"], report["metrics"]["MAE of the mean"]
    return (
        f"Starter age head: n = {report['patients']}, MAE {figure['value']:.2f} years ({figure['low']:.2f} to "
        f"{figure['high']:.2f}); always answering the mean of the others: {blind['value']:.2f} years; paired p = "
        f"{figure['p_against_the_mean']:.4f}. "
        + ("It beats the mean." if passed else "It does not beat the mean: no age head is to be bundled.")
    )


def main(argv: list[str] | None = None) -> int:
    """The command; exit status 0 whatever the verdict, 1 if it could not be made."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder with MANIFEST.csv")
    parser.add_argument("--out", type=Path, default=Path("runs/starter-age"), help="embeddings and report")
    parser.add_argument("--model", help="id of the model whose encoder embeds (the bundled one)")
    parser.add_argument("--models-dir", type=Path, help="folder of further models")
    parser.add_argument("--install", type=Path, metavar="FOLDER", help="write the head there if it passes")
    arguments = parser.parse_args(argv)
    arguments.out.mkdir(parents=True, exist_ok=True)
    folders = model_folders(arguments.models_dir)

    def said(case: Case, failure: str | None) -> None:
        print(f"{case.facts['scan']}: {failure or 'embedded'}", file=sys.stderr, flush=True)

    try:
        embedded = embed_cohort(
            cohort(arguments.data),
            arguments.out / "embeddings.npz",
            Predictor("auto", folders),
            model_id=arguments.model,
            replace=True,
            done=said,
        )
        if embedded.table is None:
            raise BrainIACError("No scan could be embedded.")
        head, passed = judge(embedded.table)
        if passed and arguments.install:
            print(f"installed: {head.install(arguments.install, folders=folders, replace=True)}")
    except BrainIACError as error:
        print(error, file=sys.stderr)
        return 1
    write_text(json.dumps(head.report, indent=1) + "\n", arguments.out / "report.json")
    print(in_words(head.report, passed))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
