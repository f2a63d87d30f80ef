"""The batch's queue and index at any size, and what a study costs beside its computing; see docs/benchmarks/batch.md.

    python Testing/benchmarks/batch.py scale --entries 1000000
    python Testing/benchmarks/batch.py overhead --studies 300
    python Testing/benchmarks/batch.py speed --manifest cohort.csv
    python Testing/benchmarks/batch.py embed --manifest cohort.csv --scans 200
    python Testing/benchmarks/batch.py soak --manifest cohort.csv --scans 300 --kills 10

``scale`` makes up a cohort whose scans are small files, of which all but a thousand are done, and runs the queue for
the rest; nothing is computed. ``overhead`` runs it with empty work. ``speed`` runs real scans with one and with two
processes. ``embed`` compares one call for many scans with a call of ``analyze`` for each, with the shortest map.
``soak`` repeats the scans of a manifest, every third one synthetic, one in twenty cut short, and kills the
run at random moments; ``--preset official`` prepares them as they are stored, which makes many of them cheap.
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

import numpy as np

from BrainIACLib.batch.cases import BatchCase, cases_of
from BrainIACLib.batch.index import tell_manifest, update_index
from BrainIACLib.batch.index_file import INDEX, read_index
from BrainIACLib.batch.layout import Names, begin_dataset
from BrainIACLib.batch.ledger import Ledger, asked_of, case_number, token_of
from BrainIACLib.batch.quality_page import write_page
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
            "case": pyarrow.array([case_number(case.id) for case in done], pyarrow.int64()),
            "turn": pyarrow.array([1] * len(done), pyarrow.int64()),
            "failure": pyarrow.nulls(len(done), pyarrow.string()),
            "asked": pyarrow.array([asked_of(case.id, key) for case in done], pyarrow.int64()),
            "token": pyarrow.array(
                [token_of(asked_of(case.id, key), input_state(case.path)) for case in done], pyarrow.int64()
            ),
            "registration_overlap": [0.9] * len(done),
        }
    )
    pyarrow.parquet.write_table(table, out / INDEX)
    del table, done, cases
    with timed("open the run"):
        work = Work(out, run, nothing)
    with timed("resume (which cases are not done)"):
        fresh = work.unrecorded()
    with timed("meanwhile: look at every scan, whether it changed"):
        numbers = [*fresh.tolist(), *work.changed(work.others(fresh))]
    with timed(f"{len(numbers)} cases through the queue"):
        began = time.perf_counter()
        outcomes = Counter(work.one(number).status for number in numbers)
        each = 1000 * (time.perf_counter() - began) / max(1, len(numbers))
    print(f"  {dict(outcomes)}, {each:.2f} ms a case")
    with timed("status"):
        print("  " + status_of(out).in_words().replace("\n", "; "))
    work.ledger.close()
    with timed("extend the index"):
        index = update_index(out)
    with timed("give the index what the manifest says now"):
        tell_manifest(out, work.table)
    with timed("write the quality page"):
        write_page(out, index)
    with (folder / "cohort.csv").open("w", encoding="utf-8") as file:
        file.write("scan,patient,site,age_years\n")
        file.writelines(f"scans/{number}.nii.gz,{number // 4},A,50\n" for number in range(entries))
    with timed("read a manifest of as many rows"):
        cases_of(folder / "cohort.csv")
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


def command(manifest: Path, out: Path, jobs: int, preset: str = "standard") -> list[str]:
    """The batch as a person runs it."""
    return [
        *(sys.executable, "-m", "BrainIACLib.cli", "batch", "--manifest", str(manifest), "--out", str(out)),
        *("--jobs", str(jobs), "--device", "cpu", "--preset", preset),
        *(("--brain-extraction", "bundled") if preset == "standard" else ()),
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


def embedding(manifest: Path, folder: Path, scans: int, preset: str) -> None:
    """``embed`` of many scans, against a process for each that answers one question without a map."""
    paths = [case.path for case in cases_of(manifest)][:scans]
    brainiac = [sys.executable, "-m", "BrainIACLib.cli"]
    options = ["--device", "cpu", "--preset", preset]
    runs = {
        "embed": [[*brainiac, "embed", *paths, "--out", str(folder / "table.npz"), *options]],
        "loop": [
            [*brainiac, "analyze", path, "--out", str(folder / "one"), "--samples", "1", *options] for path in paths
        ],
    }
    spent = {}
    for name, commands in runs.items():
        began, before = time.perf_counter(), os.times()
        for number, one in enumerate(commands, 1):
            subprocess.run(one, check=False, capture_output=True)
            shutil.rmtree(folder / "one", ignore_errors=True)
            if number % 10 and number != len(commands):
                continue
            after = os.times()
            spent[name] = after.children_user + after.children_system - before.children_user - before.children_system
            print(
                f"{name}: {time.perf_counter() - began:.1f} s, processor {spent[name]:.1f} s, "
                f"{len(paths) * number // len(commands)} scans",
                flush=True,
            )
    print(f"embed needs {spent['embed'] / spent['loop']:.2f} of the processor time of the loop")


def soak(manifest: Path, folder: Path, scans: int, kills: int, preset: str, seed: int) -> None:
    """Many scans, one in twenty damaged, every third one synthetic, and a run that is killed again and again."""
    rng = random.Random(seed)
    if not (folder / "cohort.csv").is_file():  # else a soak that was stopped goes on
        _write_soak(manifest, folder, scans)
    out, killed, watch = folder / "out", 0, _Watch(rng)
    recorded: dict[str, tuple[int, int]] = {}
    began = time.monotonic()
    while True:
        process = subprocess.Popen(command(folder / "cohort.csv", out, 2, preset), start_new_session=True)
        until = None if killed == kills else rng.uniform(0, scans / (2 * kills))
        code = watch.wait(process, out, until)
        if code is not None:
            break
        killed += 1
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for row in Ledger(out, read=False).new_rows():
            if row["status"] == "done":
                recorded.setdefault(row["id"], _state(out, row["id"]))
        print(f"killed {killed} times, {len(recorded)} recorded as done", flush=True)
    rows = read_index(out).to_pylist()
    kinds = Counter(row["status"] for row in rows)
    answers = list(out.rglob("*_answers.json"))
    print(f"{(time.monotonic() - began) / 60:.0f} minutes, killed {killed} times, last status {code}")
    print(f"{dict(kinds)} of {scans}; {len(answers)} sets of files; unfinished: {len(list(out.rglob('.brainiac-*')))}")
    causes = Counter(str(row["failure"]).replace(row["path"], "") for row in rows if row["status"] == "failed")
    again = sum(_state(out, case_id) != state for case_id, state in recorded.items())
    print(f"rows twice: {len(rows) - len({row['id'] for row in rows})}; recorded before a kill: {len(recorded)}, of")
    print(f"these written again: {again}; {dict(causes)}")
    broken = [path for path in answers if not json.loads(path.read_text())["facts"]]
    print(f"answers that cannot be read: {len(broken)}")
    watch.tell()


def _write_soak(manifest: Path, folder: Path, scans: int) -> None:
    sources = [Path(case.path) for case in cases_of(manifest)]
    (folder / "scans").mkdir()
    with (folder / "cohort.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["scan", "patient"])
        for number in range(scans):
            source = sources[number % len(sources)]
            place = folder / "scans" / f"{number:04d}{''.join(source.suffixes[-2:])}"
            if number % 3 == 2:
                place = place.with_name(f"{number:04d}.nii.gz")
                _write_synthetic(place, number)
                content = place.read_bytes()
            else:
                content = source.read_bytes()
            place.write_bytes(content[: len(content) // 2] if number % 20 == 7 else content)
            writer.writerow([f"scans/{place.name}", f"p{number}"])


def _write_synthetic(place: Path, seed: int) -> None:
    """A noisy ball in air, 3 mm, another one for each seed."""
    import SimpleITK as sitk

    grid = np.stack(np.meshgrid(*(np.linspace(-1.2, 1.2, 64) for _ in range(3)), indexing="ij"))
    noise = np.random.default_rng(seed).standard_normal((64, 64, 64))
    image = sitk.GetImageFromArray(np.where((grid**2).sum(0) < 0.8, 100 + 20 * noise, 0).astype(np.float32))
    image.SetSpacing((3, 3, 3))
    sitk.WriteImage(image, str(place))


def _state(out: Path, case_id: str) -> tuple[int, int]:
    """Of the file that completes a case's set: changes when the set is written again."""
    state = (out / case_id.rsplit("/", 1)[0] / Names(BatchCase(case_id, "", {})).document).stat()
    return state.st_ino, state.st_mtime_ns


class _Watch:
    """Memory and processor time of the processes of a run, every two seconds."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._seen: dict[int, list[tuple[float, float]]] = {}  # process -> (moment, MiB)
        self._processor: dict[int, float] = {}  # process -> seconds

    def wait(self, process: subprocess.Popen[bytes], out: Path, cases: float | None) -> int | None:
        """The exit status, or None a moment after so many more cases have files."""
        import psutil

        before = _count(out)
        while process.poll() is None:
            if cases is not None and _count(out) - before > cases:
                time.sleep(self._rng.uniform(0, 5))
                return process.poll()
            with contextlib.suppress(psutil.Error):
                whole = psutil.Process(process.pid)
                for one in [whole, *whole.children(recursive=True)]:
                    with contextlib.suppress(psutil.Error):
                        self._seen.setdefault(one.pid, []).append((time.monotonic(), one.memory_info().rss / 2**20))
                        self._processor[one.pid] = sum(one.cpu_times()[:2])
            time.sleep(2)
        return process.returncode

    def tell(self) -> None:
        """Of the largest process that lived long, the most memory in each fifth of its life."""
        print(f"processor {sum(self._processor.values()) / 60:.1f} minutes, with what the kills cost")
        lives = sorted(self._seen.values(), key=lambda rows: rows[0][0] - rows[-1][0])
        long = [rows for rows in lives if rows[-1][0] - rows[0][0] > 0.5 * (lives[0][-1][0] - lives[0][0][0])]
        rows = max(long, key=lambda rows: max(size for _, size in rows), default=[])
        if len(rows) < 10:
            print("no process lived long enough to tell its memory")
            return
        parts = np.array_split(np.array(rows), 5)
        minutes = (rows[-1][0] - rows[0][0]) / 60
        peaks = " ".join(f"{part[:, 1].max():.0f}" for part in parts)
        print(f"memory of a process over {minutes:.0f} minutes, most in each fifth: {peaks} MiB")
        print(f"most of any process: {max(size for rows in self._seen.values() for _, size in rows):.0f} MiB")


def _count(out: Path) -> int:
    return sum(1 for _ in out.rglob("*_answers.json"))


def main() -> None:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    commands = parser.add_subparsers(dest="what", required=True)
    commands.add_parser("scale").add_argument("--entries", type=int, default=1_000_000)
    commands.add_parser("overhead").add_argument("--studies", type=int, default=300)
    for name in ("speed", "embed", "soak"):
        commands.add_parser(name).add_argument("--manifest", type=Path, required=True)
    commands.choices["embed"].add_argument("--scans", type=int, default=200)
    for flag, default in (("--scans", 300), ("--kills", 10), ("--seed", 0)):
        commands.choices["soak"].add_argument(flag, type=int, default=default)
    for name in ("embed", "soak"):
        commands.choices[name].add_argument("--preset", choices=("standard", "official"), default="standard")
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
        elif options.what == "embed":
            embedding(options.manifest, folder, options.scans, options.preset)
        else:
            soak(options.manifest, folder, options.scans, options.kills, options.preset, options.seed)
    finally:
        if options.folder is None:
            shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
