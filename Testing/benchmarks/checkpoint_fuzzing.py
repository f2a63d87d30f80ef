"""Damage checkpoints in every way and read them: ``python -m Testing.benchmarks.checkpoint_fuzzing --files 20000``.

Each file must end in a ModelError or in plain tensors that recognition can look at. A read that raises anything else,
takes long, takes much memory or kills its process is a finding, kept as a file in ``--keep``. One process reads many
files; when it dies, the file that it died of is known and the next process goes on behind it.
"""

from __future__ import annotations

import argparse
import collections
import io
import multiprocessing
import random
import re
import tempfile
import time
import warnings
import zipfile
from pathlib import Path

import torch
from safetensors.torch import save_file

from BrainIACLib.checkpoints.conversion_process import limit_resources
from BrainIACLib.checkpoints.reading import read_checkpoint
from BrainIACLib.checkpoints.recognition import recognise
from BrainIACLib.errors import ModelError

FILES_PER_PROCESS = 5_000
SLOW = 5.0  # seconds of processor time
OPCODES = b"cR\x81bitd}]()0.\x8a\x85\x86\x87\x80hjqrKMJUX\x88\x89NQ"  # of pickle: the bytes that change what is built
NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def seeds(folder: Path) -> list[bytes]:
    """Small files of each container: torch's zip, its older form, safetensors; with shared and strided tensors."""
    base = torch.arange(24.0).reshape(2, 3, 4)
    state = {"conv1.weight": base, "view": base[:, 1:], "turned": base.transpose(0, 2), "half": base.half()}
    contents = []
    for number, content in enumerate((state, {"state_dict": state, "epoch": 3, "loss": 0.5, "notes": ["a", (1, 2.0)]})):
        for is_zip in (True, False):
            path = folder / f"seed{number}{is_zip}.pt"
            torch.save(content, path, _use_new_zipfile_serialization=is_zip)
            contents.append(path.read_bytes())
    save_file({key: value.clone().contiguous() for key, value in state.items()}, folder / "seed.safetensors")
    return [*contents, (folder / "seed.safetensors").read_bytes()]


def mutate(content: bytes, draw: random.Random) -> bytes:
    """One to four of: flipped bits, other bytes, pickle operations, extreme numbers, cuts, copies, swapped pieces."""
    data = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at, length = draw.randrange(len(data)), draw.randint(1, 40)
        kind = draw.randrange(8)
        if kind == 0:
            data[at] ^= 1 << draw.randrange(8)
        elif kind == 1:
            data[at] = draw.randrange(256)
        elif kind == 2:
            data[at] = draw.choice(OPCODES)
        elif kind == 3:
            data[at : at + 4] = draw.choice(NUMBERS).to_bytes(4, "little")
        elif kind == 4:
            del data[at : at + length]
        elif kind == 5:
            data[at:at] = data[at : at + length]
        elif kind == 6:
            data = data[:at]
        else:
            other = draw.randrange(len(data))
            data[at : at + length] = data[other : other + length]
        if not data:
            break
    return bytes(data)


def mutant(seed: int, number: int, originals: list[bytes]) -> tuple[bytes, bool]:
    """The content of one file, the same for the same numbers, and whether its check sums are to be compared.

    Every second zip is damaged inside its pickle and zipped again, so that the damage reaches the unpickler.
    """
    draw = random.Random(seed * 1_000_003 + number)
    content = draw.choice(originals)
    check_sums = draw.random() < 0.5
    if not content.startswith(b"PK") or draw.random() < 0.5:
        return mutate(content, draw), check_sums
    rebuilt = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as old, zipfile.ZipFile(rebuilt, "w") as new:
        for name in old.namelist():
            record = old.read(name)
            new.writestr(name, mutate(record, draw) if name.endswith("data.pkl") else record)
    return rebuilt.getvalue(), check_sums


def examine(start: int, end: int, seed: int, folder: Path, results) -> None:
    """Read the mutants ``start`` to ``end`` and report (number, outcome, seconds)."""
    warnings.simplefilter("ignore")
    torch.set_num_threads(1)
    originals = seeds(folder)
    limit_resources(1 << 20)
    path = folder / "mutant.bin"
    for number in range(start, end):
        content, check_sums = mutant(seed, number, originals)
        path.write_bytes(content)
        began = time.process_time()
        try:
            recognise(read_checkpoint(path, check_sums=check_sums).shapes)
            outcome = "recognised"
        except ModelError as error:
            reason = re.sub(r"'[^']*'|[^a-zA-Z ]", " ", str(error))
            outcome = "refused: " + " ".join(reason.split()[:7])
        except BaseException as error:
            outcome = f"FINDING {type(error).__name__}: {error}"
        results.put((number, outcome, time.process_time() - began))
    results.put((end, None, 0.0))


def main() -> None:
    """Examine the files and print what became of them."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=20_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--keep", type=Path, help="folder for the files of findings")
    options = parser.parse_args()
    outcomes: collections.Counter[str] = collections.Counter()
    findings: list[tuple[int, str]] = []
    context = multiprocessing.get_context("spawn")
    slowest = 0.0
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        done = 0
        while done < options.files:
            end = min(done + FILES_PER_PROCESS, options.files)  # its time limit is that of one import
            results = context.SimpleQueue()
            process = context.Process(target=examine, args=(done, end, options.seed, folder, results))
            process.start()
            while process.is_alive() or not results.empty():
                if results.empty():
                    process.join(0.05)
                    continue
                number, outcome, seconds = results.get()
                done = number if outcome is None else number + 1
                if outcome is None:
                    continue
                outcomes[outcome.split(":")[0] if outcome.startswith("FINDING") else outcome] += 1
                slowest = max(slowest, seconds)
                if outcome.startswith("FINDING") or seconds > SLOW:
                    findings.append((number, outcome))
            if done < end:
                findings.append((done, f"FINDING the process died with exit status {process.exitcode}"))
                outcomes["FINDING process died"] += 1
                done += 1
        originals = seeds(folder)
        for number, _ in findings if options.keep else ():
            options.keep.mkdir(parents=True, exist_ok=True)
            (options.keep / f"{number}.bin").write_bytes(mutant(options.seed, number, originals)[0])
    print(f"{sum(outcomes.values())} files, {len(findings)} findings, slowest read {slowest:.2f} s of processor time")
    for outcome, count in outcomes.most_common():
        print(f"{count:7d}  {outcome}")
    for number, outcome in findings:
        print(f"file {number}: {outcome}")


if __name__ == "__main__":
    main()
