"""``python -m Training evaluate --runs runs/ --out report/``: the report of finished runs, or how far they are.

With ``--dashboard`` only a small page of what is finished is written, again and again with ``--every``, until no wanted
cell is left; it may be started before the first cell.
"""

from __future__ import annotations

import argparse
import shlex
import sys
import time
from pathlib import Path

from BrainIACLib.errors import BrainIACError, ResultsError
from Training.evaluation.evaluation import evaluate
from Training.report.dashboard import write_dashboard
from Training.report.report import write_report

_ENDED = ("finished", "failed", "damaged")


def main(argv: list[str]) -> int:
    """Exit status 0: written; 1: the runs cannot be read (one sentence says why); 2: a wrong command line."""
    options = _parser().parse_args(argv)
    try:
        if options.dashboard:
            _dashboard(options.runs, options.out / "dashboard.html", options.every)
            return 0
        evaluations = evaluate(options.runs, options.resamples)
        if not any(evaluation.runs for evaluation in evaluations):
            raise ResultsError(f"no cell of {options.runs} is finished yet: '--dashboard' shows how far they are")
        page = write_report(evaluations, options.out, "python -m Training evaluate " + shlex.join(argv))
    except BrainIACError as error:
        print(f"evaluate: {error}", file=sys.stderr)
        return 1
    missing = sum(len(evaluation.missing) for evaluation in evaluations)
    print(f"{page}" + (f" ({missing} wanted cells are not finished and shown as missing)" if missing else ""))
    return 0


def _dashboard(runs: Path, page: Path, every: float) -> None:
    while True:
        states = write_dashboard(runs, page)
        print(f"{page}: {sum(state.state == 'finished' for state in states)} of {len(states)} cells finished")
        if not every or all(state.state in _ENDED for state in states):
            return
        time.sleep(every)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m Training evaluate", description=__doc__.split("\n")[0])
    parser.add_argument("--runs", type=Path, required=True, help="the folder of cells that 'finetune' wrote")
    parser.add_argument("--out", type=Path, required=True, help="where index.html, figures/ and tables/ go")
    parser.add_argument("--resamples", type=int, default=2000, help="of the bootstrap by patient (2000)")
    parser.add_argument("--dashboard", action="store_true", help="only write dashboard.html: the state of every cell")
    parser.add_argument("--every", type=float, default=0, metavar="SECONDS", help="write the dashboard again and again")
    return parser
