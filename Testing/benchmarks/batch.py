"""The batch's queue and index at any size, and what a study costs beside its computing; see docs/benchmarks/batch.md.

    python Testing/benchmarks/batch.py scale --entries 1000000
    python Testing/benchmarks/batch.py overhead --studies 300
    python Testing/benchmarks/batch.py speed --manifest cohort.csv
    python Testing/benchmarks/batch.py soak --manifest cohort.csv --scans 300 --kills 10

``scale`` makes up a cohort whose scans are small files, of which all but a thousand are done, and runs the queue for
the rest; nothing is computed. ``overhead`` runs it with empty work. ``speed`` runs real scans with one and with two
processes. ``soak`` repeats the scans of a manifest, one in twenty cut short, and kills the run at random moments.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import json
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

from BrainIACLib.batch.cases import BatchCase, cases_of
from BrainIACLib.batch.index import read_index, update_index
from BrainIACLib.batch.layout import begin_dataset
from BrainIACLib.batch.ledger import INDEX, token_of
from BrainIACLib.batch.settings import Settings
from BrainIACLib.batch.status import status_of
from BrainIACLib.batch.work import Work, begin
from BrainIACLib.scans.input_state import input_state

NEW = 1000  # cases that are not done yet
FILES = 1000  # of a folder


@contextlib.contextmanager
def timed(what: str) -> Iterator[None]:
    """Prints how long it took, its processor time, and the most memory that this process has needed until then."""
    began, computed = time.perf_counter(), time.process_time()
    yield
    wall, own = time.perf_counter() - began, time.process_time() - computed
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"{what}: {wall:.2f} s, processor {own:.2f} s, peak {peak:.2f} GiB", flush=True)


def nothing(case: BatchCase) -> dict[str, object]:
    """Work that costs nothing."""
    return {"registration_overlap": 0.9}


def scale(entries: int, folder: Path) -> None:
    """Begin, resume, take part, status and extending at ``entries`` cases."""
    import pyarrow
    import pyarrow.parquet

    out, scans = folder / "out", folder / "scans"
    cases = []
    for number in range(entries):
        place = scans / f"{number // FILES:05d}" / f"{number:07d}.nii.gz"
        if number % FILES == 0:
            place.parent.mkdir(parents=True)
        place.touch()
        case_id = f"sub-{number // 4:07d}/anat/sub-{number // 4:07d}_acq-{number % 4}_T1w"
        cases.append(BatchCase(case_id, str(place), {"scan": place.name, "patient": f"{number // 4}", "site": "A"}))
    print(f"{entries} cases, all but {NEW} done")
    begin_dataset(out, scans)
    settings = Settings()
    with timed("begin (write the run down)"):
        run = begin(out, cases, settings)
    key = settings.key()
    done = cases[: entries - NEW]
    table = pyarrow.table(
        {
            "id": [case.id for case in done],
            "scan": [case.facts["scan"] for case in done],
            "path": [case.path for case in done],
            "patient": [case.facts["patient"] for case in done],
            "site": [case.facts["site"] for case in done],
            "status": ["done"] * len(done),
            "failure": pyarrow.nulls(len(done), pyarrow.string()),
            "token": pyarrow.array([token_of(case.id, input_state(case.path), key) for case in done], pyarrow.int64()),
            "registration_overlap": [0.9] * len(done),
        }
    )
    pyarrow.parquet.write_table(table, out / INDEX)
    del table, done, cases
    with timed("open the run"):
        work = Work(out, run, nothing)
    with timed("resume (which cases are left)"):
        numbers = list(work.left())
    with timed(f"{len(numbers)} cases through the queue"):
        began = time.perf_counter()
        outcomes = Counter(work.one(number).status for number in numbers)
        each = 1000 * (time.perf_counter() - began) / max(1, len(numbers))
    print(f"  {dict(outcomes)}, {each:.2f} ms a case")
    with timed("status"):
        print("  " + status_of(out).in_words().replace("\n", "; "))
    work.ledger.close()
    with timed("extend the index"):
        update_index(out)
    print(f"index: {len(read_index(out))} rows, {(out / INDEX).stat().st_size / 1e6:.1f} MB")


def overhead(studies: int, folder: Path) -> None:
    """What claim, journal and publishing of a set of ten small files cost a study, beside its computing."""
    from BrainIACLib.publishing import publishing_set, write_text

    (folder / "scans").mkdir()
    cases = []
    for number in range(studies):
        path = folder / "scans" / f"{number}.nii"
        path.touch()
        cases.append(BatchCase(f"sub-{number}/anat/sub-{number}_T1w", str(path), {"scan": path.name}))
    out = folder / "out"
    begin_dataset(out, folder)
    work = Work(out, begin(out, cases, Settings()), nothing)
    began = time.perf_counter()
    for number in range(studies):
        work.one(number)
    queue = 1000 * (time.perf_counter() - began) / studies
    names = [f"file{number}" for number in range(10)]
    began = time.perf_counter()
    for case in cases:
        with publishing_set(out / case.folder, names) as staging:
            for name in names:
                write_text("x", staging / name)
    published = 1000 * (time.perf_counter() - began) / studies
    print(f"queue {queue:.2f} ms a study; publishing a set of 10 files, synced, {published:.2f} ms a study")


def command(manifest: Path, out: Path, jobs: int) -> list[str]:
    """The batch as a person runs it."""
    return [
        *(sys.executable, "-m", "BrainIACLib.cli", "batch", "--manifest", str(manifest), "--out", str(out)),
        *("--jobs", str(jobs), "--device", "cpu", "--brain-extraction", "bundled"),
    ]


def speed(manifest: Path, folder: Path) -> None:
    """One process against two, each from nothing, with one thread each."""
    seconds = {}
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS": "1"}
    for jobs in (1, 2):
        began = time.perf_counter()
        subprocess.run(command(manifest, folder / f"jobs{jobs}", jobs), env=environment, check=False)
        seconds[jobs] = time.perf_counter() - began
        print(f"{jobs} processes: {seconds[jobs]:.1f} s", flush=True)
    print(f"two are {seconds[1] / seconds[2]:.2f} times as fast as one")


def soak(manifest: Path, folder: Path, scans: int, kills: int, seed: int) -> None:
    """Many scans, one in twenty damaged, and a run that is killed again and again."""
    rng = random.Random(seed)
    sources = [Path(case.path) for case in cases_of(manifest)]
    (folder / "scans").mkdir()
    with (folder / "cohort.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", "patient"])
        for number in range(scans):
            source = sources[number % len(sources)]
            place = folder / "scans" / f"{number:04d}{''.join(source.suffixes[-2:])}"
            content = source.read_bytes()
            place.write_bytes(content[: len(content) // 2] if number % 20 == 7 else content)
            writer.writerow([f"scans/{place.name}", f"p{number}"])
    out, killed = folder / "out", 0
    while True:
        process = subprocess.Popen(command(folder / "cohort.csv", out, 2), start_new_session=True)
        try:
            code = process.wait(rng.uniform(20, 120) if killed < kills else None)
            break
        except subprocess.TimeoutExpired:
            killed += 1
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    rows = read_index(out).to_pylist()
    kinds = Counter(row["status"] for row in rows)
    answers = list(out.rglob("*_answers.json"))
    left = [path for path in out.rglob(".brainiac-*")]
    print(f"killed {killed} times, last status {code}: {dict(kinds)} of {scans}; {len(answers)} sets of files")
    print(f"rows twice: {len(rows) - len({row['id'] for row in rows})}; unfinished files left: {len(left)}")
    broken = [path for path in answers if not json.loads(path.read_text())["facts"]]
    print(f"answers that cannot be read: {len(broken)}")


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("scale").add_argument("--entries", type=int, default=1_000_000)
    commands.add_parser("overhead").add_argument("--studies", type=int, default=300)
    for name in ("speed", "soak"):
        commands.add_parser(name).add_argument("--manifest", type=Path, required=True)
    for flag, default in (("--scans", 300), ("--kills", 10), ("--seed", 0)):
        commands.choices["soak"].add_argument(flag, type=int, default=default)
    for one in commands.choices.values():
        one.add_argument("--folder", type=Path, help="a new folder to work in; kept (default: a temporary one)")
    options = parser.parse_args()
    folder = options.folder or Path(tempfile.mkdtemp(prefix="batch-benchmark-"))
    folder.mkdir(parents=True, exist_ok=True)
    try:
        if options.what == "scale":
            scale(options.entries, folder)
        elif options.what == "overhead":
            overhead(options.studies, folder)
        elif options.what == "speed":
            speed(options.manifest, folder)
        else:
            soak(options.manifest, folder, options.scans, options.kills, options.seed)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
