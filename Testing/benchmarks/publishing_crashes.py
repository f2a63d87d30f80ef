"""The crash-and-concurrency test at length, with its counts; see docs/benchmarks/publishing.md.

python Testing/benchmarks/publishing_crashes.py --writers 4 --sets 100
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "library"))

from publishing_crashes import WAYS, finished, kills, power_cuts, writers


def main() -> None:
    """Print what a reader found, and how often."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--writers", type=int, default=4)
    parser.add_argument("--sets", type=int, default=100, help="that each writer publishes")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        for way in WAYS:
            began = time.perf_counter()
            killed = Counter(found for _, _, found in kills(way, Path(folder, f"{way} killed")))
            cut = Counter(power_cuts(way, Path(folder, f"{way} cut")))
            kept = finished(way, Path(folder, f"{way} kept"))
            seconds = time.perf_counter() - began
            print(f"{way}: killed {dict(killed)}; power cut {dict(cut)}; when told done: {kept}; {seconds:.0f} s")
        began = time.perf_counter()
        seen = writers(Path(folder, "writers"), options.writers, options.sets)
        mixtures = [text for text in seen if "mixture" in text]
        seconds = time.perf_counter() - began
        print(f"{options.writers} writers of {options.sets} sets: mixtures seen {len(mixtures)}; {seconds:.0f} s")


if __name__ == "__main__":
    main()
