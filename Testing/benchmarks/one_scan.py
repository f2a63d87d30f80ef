"""From one scan to sequence, age and volumes in a new process: what each part costs, and whether answers changed.

    python -m Testing.benchmarks.one_scan --scan SCAN [SCAN ...] [--beside CHECKOUT] [--rounds 3]

Everything goes through the worker's service, as for the command line and for Slicer, each scan in a process of its own,
so that the first scan pays for all imports and models. With ``--beside`` the same is done with the library of another
checkout in turn with this one, and the answers of both are compared: the largest difference of a probability, of an
age, of a volume, and the voxels of the label maps that differ.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parents[2]


def answer(scan: Path, folder: Path) -> dict[str, Any]:
    """One scan in this process: stage -> (wall s, CPU s), memory in MiB and the answers."""
    found: dict[str, Any] = {}
    before = started = (time.perf_counter(), time.process_time())

    def ends(stage: str) -> None:
        nonlocal before
        now = (time.perf_counter(), time.process_time())
        found[stage], before = [now[0] - before[0], now[1] - before[1]], now

    from BrainIACLib.errors import BrainIACError
    from BrainIACLib.worker.requests import MeasureVolumes, Predict, PrepareStudy
    from BrainIACLib.worker.service import Service

    service = Service(folder)
    ends("imports")
    record = service.answer(PrepareStudy({"scan": scan}, device="cpu"))["scans"]["scan"]["record"]
    ends("preparing")
    found["steps"] = {step["name"]: step["seconds"] for step in record}
    sequence = service.answer(Predict("sequence", {"any": "scan"}))
    ends("sequence")
    age = None
    with contextlib.suppress(BrainIACError):  # a refusal is an answer too
        age = service.answer(Predict("age", {"T1": "scan"}))["value"]
    ends("age")
    volumes = service.answer(MeasureVolumes("scan"))
    ends("volumes")
    found["all"] = [before[0] - started[0], before[1] - started[1]]
    found["memory"] = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    found["probabilities"], found["age_years"] = sequence["probabilities"], age
    found["ml"] = {volume["structure"]: volume["ml"] for volume in volumes["volumes"]}
    found["labels"] = service.answer(MeasureVolumes("scan", labels=True))["labels"]
    return found


def in_new_process(scan: Path, checkout: Path, folder: Path) -> dict[str, Any]:
    """The same with the library of a checkout; the wall time of the whole process is ``process``."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    code = f"import runpy; runpy.run_path({str(Path(__file__).resolve())!r}, run_name='__main__')"
    command = [sys.executable, "-c", code, "--row", str(scan.resolve()), "--folder", str(folder)]
    done = subprocess.run(command, env=environment, cwd=checkout, check=True, stdout=subprocess.PIPE, text=True)
    return json.loads(done.stdout.splitlines()[-1])


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """As cells of a row: probabilities, age, ml, voxels of the label map that differ, and how many have a label."""
    import numpy as np
    import SimpleITK as sitk

    probability = max(
        abs(ours["probabilities"][name] - theirs["probabilities"][name]) for name in ours["probabilities"]
    )
    volume = max(abs(ours["ml"][name] - theirs["ml"][name]) for name in ours["ml"])
    one, other = (sitk.GetArrayFromImage(sitk.ReadImage(found["labels"])) for found in (ours, theirs))
    differing, labeled = int((one != other).sum()), int(np.count_nonzero(one))
    ages = [found["age_years"] for found in (ours, theirs)]
    years = "both refused" if ages == [None, None] else f"{abs(ages[0] - ages[1]):.1e}"
    return [f"{probability:.1e}", years, f"{volume:.1e}", f"{differing} of {labeled}"]


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scan", type=Path, nargs="+", help="the first one is timed, all are compared")
    parser.add_argument("--beside", type=Path, metavar="CHECKOUT", help="another state of this repository")
    parser.add_argument("--rounds", type=int, default=3, help="of the first scan; the median is printed")
    parser.add_argument("--row", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.row:
        print(json.dumps(answer(options.row, options.folder)))
        return
    checkouts = {"this": HERE} | ({"beside": options.beside.resolve()} if options.beside else {})
    with tempfile.TemporaryDirectory() as kept:
        rounds: dict[str, list[dict[str, Any]]] = {name: [] for name in checkouts}
        for _ in range(options.rounds):
            for name, checkout in checkouts.items():
                rounds[name].append(in_new_process(options.scan[0], checkout, new_folder(kept)))
        print_costs(rounds)
        if options.beside:
            print("\n| scan | probability | years | ml | voxels of the label map |\n|---|---|---|---|---|")
            for scan in options.scan:
                pair = [in_new_process(scan, checkout, new_folder(kept)) for checkout in checkouts.values()]
                print(f"| {scan.name} | {' | '.join(differences(*pair))} |", flush=True)


def new_folder(parent: str) -> Path:
    """An empty one."""
    return Path(tempfile.mkdtemp(dir=parent))


def print_costs(rounds: dict[str, list[dict[str, Any]]]) -> None:
    """The median of each stage, with the steps of standardizing below it."""
    names = list(rounds)
    print("| stage | " + " | ".join(f"{name}: wall s, CPU s" for name in names) + " |")
    print("|---" * (len(names) + 1) + "|")
    for stage in ("imports", "preparing", "sequence", "age", "volumes", "all"):
        cells = [
            ", ".join(f"{statistics.median(found[stage][kind] for found in rounds[name]):.2f}" for kind in (0, 1))
            for name in names
        ]
        print(f"| {stage} | {' | '.join(cells)} |")
        if stage == "preparing":
            for step in rounds[names[0]][0]["steps"]:
                middle = [statistics.median(found["steps"][step] for found in rounds[name]) for name in names]
                print(f"| of which {step} | {' | '.join(f'{seconds:.2f}' for seconds in middle)} |")
    memory = [f"{statistics.median(found['memory'] for found in rounds[name]):.0f}" for name in names]
    print(f"| peak memory, MiB | {' | '.join(memory)} |")


if __name__ == "__main__":
    main()
