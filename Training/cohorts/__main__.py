"""``python -m Training.cohorts NAME --folder DIR --out manifest.csv``: a downloaded cohort to a manifest.

Nothing is downloaded: each cohort's page (``Training/cohorts/NAME.md``) says where to get it and under which terms.
"""

from __future__ import annotations

import argparse
import inspect
import sys
from pathlib import Path

from BrainIACLib.errors import BrainIACError
from Training.cohorts import abcd, brats2023, ixi, plain, tcga_gbm, ucsf_pdgm, upenn_gbm
from Training.cohorts.reading import write_manifest

READERS = {
    "brats2023": brats2023.read,
    "ucsf_pdgm": ucsf_pdgm.read,
    "upenn_gbm": upenn_gbm.read,
    "tcga_gbm": tcga_gbm.read,
    "ixi": ixi.read,
    "abcd": abcd.read,
    "plain": plain.read,
}


def _taking(argument: str) -> list[str]:
    """The cohorts whose readers take this argument."""
    return [name for name, read in READERS.items() if argument in inspect.signature(read).parameters]


def main(argv: list[str]) -> int:
    """Exit status 0: the manifest was written and is valid."""
    with_crosswalk, with_split = _taking("names"), _taking("official_split")
    parser = argparse.ArgumentParser(
        prog="python -m Training.cohorts", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("name", choices=list(READERS))
    parser.add_argument("--folder", type=Path, required=True, help="into which the archives were unpacked")
    parser.add_argument("--clinical", type=Path, help="clinical table, where it is not in the folder")
    parser.add_argument(
        "--crosswalk", type=Path, help=f"{', '.join(with_crosswalk)}: table of the same people's names in BraTS 2021"
    )
    parser.add_argument(
        "--own-split", action="store_true", help=f"{', '.join(with_split)}: no roles from the official folders"
    )
    parser.add_argument("--out", type=Path, required=True, help="manifest to write")
    options = parser.parse_args(argv)
    if options.crosswalk is not None and options.name not in with_crosswalk:
        parser.error(f"there is no crosswalk for {options.name}, only for {', '.join(with_crosswalk)}")
    more = {"official_split": not options.own_split} if options.name in with_split else {}
    more |= {"names": options.crosswalk} if options.name in with_crosswalk else {}
    try:
        found = READERS[options.name](options.folder, options.clinical, **more)
        table = write_manifest(found, options.out)
    except BrainIACError as error:
        print(error, file=sys.stderr)
        return 1
    print(f"{len(table)} scans of {table['patient'].nunique()} patients in '{options.out}'")
    for text in found.remarks:
        print(f"- {text}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
