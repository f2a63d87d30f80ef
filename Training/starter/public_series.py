"""The public series of ``public_series.csv``, as a folder that recipes learn from or that ``evaluate`` reads.

    python -m Training.starter.public_series --lists 0 1 --repositories FOLDER --out runs/public
    python -m Training.starter.public_series --lists 2 --repositories FOLDER --out runs/unseen
    python -m Training.starter.evaluate --data runs/unseen --folders series --modes auto --out runs/unseen/report

The recipe of ``kinds`` learns from the first two lists; nothing learns from list 2, which was chosen by headers and
pictures, before any answer to it was seen. FOLDER holds copies of the repositories of the column ``source``, each at
the commit named there: ``FOLDER/neurolabusc/dcm_qa_uih`` for ``neurolabusc/dcm_qa_uih@...``. Every file must have its
``sha256``.
"""

from __future__ import annotations

import argparse
import csv
import hashlib
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np

from BrainIACLib.errors import BrainIACError
from Training.command import run

TABLE = Path(__file__).with_suffix(".csv")
LISTS = ("0", "1", "2")
LEARNED = LISTS[:2]


def trace(series: np.ndarray) -> np.ndarray:
    """(X, Y, Z): the geometric mean of all volumes of (X, Y, Z, volumes) but the first."""
    return np.exp(np.log(np.maximum(series[..., 1:], 1)).mean(axis=3))


def diffusion(series: np.ndarray) -> np.ndarray:
    """(X, Y, Z): log of the first volume over the others' mean, an ADC map up to a factor; 0 in the background."""
    first = series[..., 0]
    ratio = np.log(np.maximum(first, 1) / trace(series))
    return np.where(first > np.percentile(first, 60), np.clip(ratio, 0, 5), 0)


DERIVED: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "": lambda volume: volume,
    "first volume": lambda series: series[..., 0],
    "geometric mean of the other volumes": trace,
    "log of first volume over geometric mean of the others": diffusion,
}


def source_of(row: dict[str, str], repositories: Path) -> Path:
    """Where the file of a row lies: ``owner/name@commit:path`` as ``repositories/owner/name/path``."""
    return repositories / repository_of(row) / row["source"].partition(":")[2]


def write_series(rows: list[dict[str, str]], repositories: Path, out: Path) -> None:
    """Write ``out/series`` and a ``MANIFEST.csv`` as ``evaluate`` reads it.

    Raises
    ------
    BrainIACError : a file is not there, or is another one than the table names.
    """
    (out / "series").mkdir(parents=True, exist_ok=True)
    written = []
    for row in rows:
        source = source_of(row, repositories)
        if not source.is_file():
            raise BrainIACError(f"'{source}' is not there; copy the repository of '{row['source']}' to that place.")
        if hashlib.sha256(source.read_bytes()).hexdigest() != row["sha256"]:
            raise BrainIACError(f"'{source}' is another file than '{row['source']}'; check out that commit.")
        image = nib.load(source)
        values = DERIVED[row["derived"]](np.asarray(image.dataobj, dtype=np.float32))
        target = out / "series" / row["file"]
        nib.save(nib.Nifti1Image(values.astype(np.float32), image.affine), target)
        written.append(
            {
                "file": f"series/{row['file']}",
                "kind": "scan",
                "sequence": row["sequence"],
                "subject": row["subject"],
                "age_years": "",
                "sex": "",
                "skull_stripped": "no",
                "sha256": hashlib.sha256(target.read_bytes()).hexdigest(),
            }
        )
    with (out / "MANIFEST.csv").open("w", encoding="utf-8", newline="") as stream:
        writer = csv.DictWriter(stream, list(written[0]))
        writer.writeheader()
        writer.writerows(written)


def table(*numbers: str) -> list[dict[str, str]]:
    """The rows of some lists of ``public_series.csv``; ``sequence`` is "" where none is right: see ``note``."""
    with TABLE.open(encoding="utf-8", newline="") as stream:
        return [row for row in csv.DictReader(stream) if row["list"] in numbers]


def repository_of(row: dict[str, str]) -> str:
    """``owner/name`` of a row."""
    return row["source"].partition("@")[0]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--lists", choices=LISTS, nargs="+", required=True, help="which of the three")
    parser.add_argument("--repositories", type=Path, required=True, help="folder with the repositories of the table")
    parser.add_argument("--out", type=Path, required=True, help="folder to write: series and MANIFEST.csv")
    arguments = parser.parse_args()
    write_series(table(*arguments.lists), arguments.repositories, arguments.out)


if __name__ == "__main__":
    raise SystemExit(run("public_series", main))
