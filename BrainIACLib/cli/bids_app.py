"""``brainiac-bids BIDS_DIR OUT participant|group``: the conventions of BIDS Apps (Gorgolewski et al. 2017, doi
10.1371/journal.pcbi.1005209)."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import BrainIACLib
from BrainIACLib.cli.batch import add_batch_options, group, run_batch
from BrainIACLib.cli.words import error_in_words
from BrainIACLib.errors import BrainIACError
from BrainIACLib.foreign_text import printable_output


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the app; returns the exit status."""
    parser = argparse.ArgumentParser(
        prog="brainiac-bids",
        description="Prepare, embed and answer every T1w, T2w and FLAIR image of a BIDS data set.",
        epilog=BrainIACLib.RESEARCH_USE_ONLY,
    )
    parser.add_argument("bids_dir", type=Path, help="the BIDS data set")
    parser.add_argument("output_dir", type=Path, help="where the derivatives go")
    parser.add_argument(
        "analysis_level",
        choices=("participant", "group"),
        help="participant: the scans, of all or of the labels given; group: the tables and the quality page of all",
    )
    parser.add_argument("--participant-label", "--participant_label", nargs="+", default=[], metavar="LABEL")
    parser.add_argument(
        "--skip-bids-validation",
        "--skip_bids_validation",
        action="store_true",
        help="accepted for other BIDS Apps' sake; has no effect",
    )
    parser.add_argument("--version", action="version", version=f"BrainIAC {BrainIACLib.__version__}")
    parser.add_argument("--json", action="store_true", help="one JSON object a line on standard output")
    add_batch_options(parser)
    options = parser.parse_args(arguments)
    with printable_output():
        try:
            if options.analysis_level == "group":
                group(options.output_dir)
                return 0
            return run_batch(
                options, options.bids_dir, options.output_dir, options.participant_label, grouped=False
            )  # else a thousand participants would write the page a thousand times
        except BrainIACError as error:
            print(f"brainiac-bids: {error_in_words(error)}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            print("brainiac-bids: stopped; what is done is kept, run the command again to go on.", file=sys.stderr)
            return 130
