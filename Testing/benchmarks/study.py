"""What a study costs, how often header rules are right: ``python -m Testing.benchmarks.study --data ../shared/data``.

A study of twelve DICOM series is written from real scans of one patient in one frame of reference: six usable ones
(T1, T1CE, T2, FLAIR, a coarse T1, a coarse T2 with the header of a PD), and six to set aside (localizer,
screenshot, map, projection, fragment, a copy). Measured: wall time by step, the slowest series and step, the sum of
single runs on the same series (models loaded anew, folder read anew), peak memory, size of the page, cost of DICOM
objects; the overhead of the node around one study; agreement of the header rules with real headers and with
dcm-classifier, and with headers that the rules were not made with; enhancement of real pairs; registration from a known
pose beside a search. Markdown tables.
"""

from __future__ import annotations

import argparse
import resource as process_resources
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

import numpy as np
import SimpleITK as sitk

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "library" / "studies"))
from fabricated_study import FLAIR, LOCALIZER, MPRAGE, MPRAGE_CE, TSE_T2, FabricatedStudy, read, secondary_capture
from headers import PROTOCOLS, fresh_rows, header_of, is_named_right, public_rows

from BrainIACLib.predictions import Prediction
from BrainIACLib.predictor import Predictor
from BrainIACLib.preprocessing.registration import Motion, register_to_template
from BrainIACLib.preprocessing.template import icbm152
from BrainIACLib.studies.analysis import StudyOptions, analyze_open_study
from BrainIACLib.studies.enhancement import share_that_rose
from BrainIACLib.studies.header_facts import facts_of
from BrainIACLib.studies.header_rules import class_of
from BrainIACLib.studies.opening import open_study
from BrainIACLib.studies.report import report_page

PD = {**TSE_T2, "EchoTime": 15}
SAMPLES = 10
PARTS = ("rules", "fresh", "enhancement", "poses", "many", "study", "node")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="the folder of real scans (MANIFEST.csv)")
    parser.add_argument("--part", choices=PARTS, action="append")
    options = parser.parse_args()
    parts = options.part or PARTS
    if "rules" in parts:
        rules()
    if "fresh" in parts:
        fresh()
    if "enhancement" in parts:
        enhancement(options.data)
    if "poses" in parts:
        poses(options.data)
    with tempfile.TemporaryDirectory() as folder:
        if "study" in parts:
            twelve_series(twelve(Path(folder, "twelve"), options.data))
        if "node" in parts:
            node(Path(folder))
        if "many" in parts:
            many(Path(folder))


def twelve(folder: Path, data: Path) -> Path:
    """The study of twelve series, six of them usable."""
    study, multiseq = FabricatedStudy(folder), data / "multiseq"
    t1, t1ce, t2, flair = (read(multiseq / f"BraTS2021_01476_{name}.nii.gz") for name in ("T1", "T1CE", "T2", "FLAIR"))
    study.add(t1[:, :, 60:63], LOCALIZER)
    for image, tags in ((t1, MPRAGE), (t1ce, MPRAGE_CE), (t2, TSE_T2), (flair, FLAIR)):
        study.add(image, tags)
    study.add(sitk.BinShrink(sitk.Cast(t2, sitk.sitkFloat32), [1, 1, 2]), PD)
    study.add(sitk.BinShrink(sitk.Cast(t1, sitk.sitkFloat32), [1, 1, 4]), MPRAGE)
    secondary_capture(study)
    study.add(t1, {**MPRAGE, "ImageType": ["DERIVED", "PRIMARY", "DIFFUSION", "FA"]})
    study.add(t1, {**MPRAGE, "ImageType": ["DERIVED", "PRIMARY", "PROJECTION IMAGE", "MIP"]})
    study.add(t1[:, :, 60:65], MPRAGE)
    study.add(t1, MPRAGE)  # the same images again
    return study.folder


def twelve_series(folder: Path) -> None:
    """Wall times, memory, size."""
    started, processor = time.perf_counter(), time.process_time()
    predictor = Predictor("cpu")
    with open_study([folder]) as study:
        opened = time.perf_counter() - started
        analyzed = analyze_open_study(study, predictor, StudyOptions(samples=SAMPLES))
        whole, whole_processor = time.perf_counter() - started, time.process_time() - processor
        page_started = time.perf_counter()
        page = report_page(analyzed)
        paged = time.perf_counter() - page_started
        objects = objects_seconds(analyzed)
        processor = time.process_time()
        runs = {key: single_run(folder, analyzed.found[key].dicom.uid) for key in analyzed.scans}
        single_processor = time.process_time() - processor
    document = analyzed.document
    single = sum(seconds for seconds, _ in runs.values())
    rows = {row.key: row for row in document.series}
    changed = [key for key, (_, answer) in runs.items() if rows[key].image_class != answer.label]
    moved = max(abs(rows[key].image_confidence - answer.confidence) for key, (_, answer) in runs.items())
    slowest = max(document.series, key=lambda row: row.seconds)
    peak = process_resources.getrusage(process_resources.RUSAGE_SELF).ru_maxrss / 2**20
    print(f"\n| twelve series, {len(analyzed.scans)} usable | |\n|---|---|")
    table = {
        "whole, wall and processor": f"{whole:.1f} s, {whole_processor:.1f} s",
        "reading all headers": f"{opened:.1f} s",
        **{f"step: {name}": f"{seconds:.1f} s" for name, seconds in document.seconds.items()},
        "slowest series": f"{slowest.key} ({slowest.name}), {slowest.seconds:.1f} s",
        "the page": f"{paged:.1f} s, {len(page.encode()) / 1e6:.2f} MB with {len(document.slots)} sequences",
        "DICOM objects": objects,
        "sum of single runs, wall and processor": f"{single:.1f} s, {single_processor:.1f} s",
        "study over the sum, processor": f"{whole_processor / single_processor:.2f}",
        "answers that differ from the single run": f"{len(changed)} of {len(runs)}; probability by up to {moved:.4f}",
        "peak memory of the process": f"{peak:.2f} GiB",
    }
    for name, value in table.items():
        print(f"| {name} | {value} |")


def objects_seconds(analyzed) -> str:
    """Time and size of the DICOM objects, where highdicom is installed."""
    try:
        from BrainIACLib.dicom_objects.making import make_objects
    except ImportError:
        return "highdicom is not installed"
    started, processor = time.perf_counter(), time.process_time()
    made = make_objects(analyzed)
    processor = time.process_time() - processor
    size = sum(len(one.PixelData) for one in made.objects.values() if "PixelData" in one) / 1e6
    wall = time.perf_counter() - started
    return f"{wall:.1f} s wall, {processor:.1f} s processor, {len(made.objects)} objects, {size:.0f} MB"


def single_run(folder: Path, uid: str) -> tuple[float, Prediction]:
    """One series alone, from the folder to its map, with the models loaded anew as a process of its own would: wall
    time and answer."""
    from BrainIACLib.scans import read_scan

    started = time.perf_counter()
    predictor = Predictor("cpu")
    predictor.set_study({"one": read_scan(folder, series_uid=uid)})
    answer = predictor.predict("sequence", "one")
    predictor.explain("sequence", "one", answer.label, SAMPLES)
    return time.perf_counter() - started, answer


def many(folder: Path) -> None:
    """A folder of 3,000 files of which ten are MR: half of the others are CT in DICOM, half are no DICOM at all."""
    study = FabricatedStudy(folder / "many")
    blob = sitk.GetImageFromArray(np.random.default_rng(0).integers(0, 900, (10, 64, 64)).astype(np.uint16))
    study.add(blob, MPRAGE)
    study.add(sitk.GetImageFromArray(np.zeros((1495, 16, 16), np.uint16)), {"Modality": "CT"})
    for number in range(1495):
        (study.folder / f"{number:04d}.jpg").write_bytes(bytes(100_000))
    started, processor = time.perf_counter(), time.process_time()
    with open_study([study.folder]) as found:
        aside = sum(bool(row.set_aside) for row in found.series)
    wall, processor = time.perf_counter() - started, time.process_time() - processor
    print("\n| 3,000 files of which ten are MR | |\n|---|---|")
    print(f"| sorting them | {wall:.1f} s wall, {processor:.1f} s processor |")
    print(f"| series, of which set aside | {len(found.series)}, {aside} |")


def node(folder: Path) -> None:
    """What the node adds to one study: receiving over loopback and the queue, around an analysis that takes no time."""
    from BrainIACLib.dicom_network.inbox import Inbox
    from BrainIACLib.dicom_network.node import Node, NodeOptions
    from BrainIACLib.dicom_network.receiving import start_receiver
    from BrainIACLib.dicom_network.sending import Destination, send
    from BrainIACLib.resources import resource

    study = FabricatedStudy(folder / "sent")
    for name, tags in (("T1", MPRAGE), ("T1CE", MPRAGE_CE)):
        study.add(read(resource("SampleData", f"simulated_{name}.nii.gz")), tags)
    files = sorted(study.folder.rglob("*.dcm"))
    inbox = Inbox(folder / "inbox")
    server = start_receiver(inbox, "BRAINIAC", "127.0.0.1", 0, (), None, lambda name: None)
    started = time.perf_counter()
    send(files, Destination("BRAINIAC", "127.0.0.1", server.server_address[1]), "BENCH", lambda file: None)
    received = time.perf_counter() - started
    server.shutdown()
    done = threading.Event()
    queue = Node(inbox, NodeOptions("BRAINIAC", 0.0), lambda images, report, label: done.set() or "done")
    started = time.perf_counter()
    queue.look()
    looked = time.perf_counter() - started
    print("\n| node, one study | |\n|---|---|")
    each = 1000 * received / len(files)
    print(f"| receiving {len(files)} images, each on the disk | {received:.2f} s, {each:.1f} ms an image |")
    print(f"| finding what is due | {looked:.3f} s |")
    print(f"| found due | {'yes' if done.is_set() else '**no**'} |")


def rules() -> None:
    """Agreement per class with a person's reading of real headers and with an independent classifier."""
    real, oracle = Counter(), Counter()
    for row in public_rows():
        real[row["kind"], class_of(facts_of(header_of(row))[-1]).name == row["kind"]] += 1
    print("\n| kind | real headers named right | protocols on which dcm-classifier agrees |\n|---|---|---|")
    try:
        from test_studies_header_rules import SHARED_KINDS, oracle_kind

        with tempfile.TemporaryDirectory() as folder:
            for number, row in enumerate(row for row in PROTOCOLS if row["kind"] in SHARED_KINDS):
                header = header_of(row)
                oracle[
                    row["kind"], oracle_kind(header, Path(folder, str(number))) == class_of(facts_of(header)[-1]).name
                ] += 1
    except ImportError:
        print("| dcm-classifier is not installed | | |")
    for kind in sorted({kind for kind, _ in (*real, *oracle)}):
        cells = [f"{count[kind, True]} of {count[kind, True] + count[kind, False]}" for count in (real, oracle)]
        print(f"| {kind} | {cells[0]} | {cells[1]} |")


def fresh() -> None:
    """Headers that the rules were not made with, kind by kind, and what is missed."""
    for which in ("first", "second"):
        counts, missed = Counter(), []
        with tempfile.TemporaryDirectory() as folder:
            for row in fresh_rows(which):
                right = is_named_right(row, Path(folder))
                counts[row["kind"], right] += 1
                missed += [] if right else [f"{row['source'].split('/')[-1]} {row['series']} ({row['kind']})"]
        print(f"\n| kind, {which} set | named right |\n|---|---|")
        for kind in sorted({kind for kind, _ in counts}):
            print(f"| {kind} | {counts[kind, True]} of {counts[kind, True] + counts[kind, False]} |")
        total = sum(counts.values())
        print(f"| all | {total - len(missed)} of {total} |")
        print("\n".join(["", "Missed:", *missed]))


def poses(data: Path) -> None:
    """Registration from the pose of another scan of the person, who moved by up to 4° and 5 mm, beside a search.

    The scans of a patient lie on one grid, so the pose of the T1 and the motion say where the others lie.
    """
    rng, template = np.random.default_rng(5), icbm152()
    inside = np.argwhere(sitk.GetArrayViewFromImage(template.mask) > 0)[::3000, ::-1]
    points = [template.image.TransformIndexToPhysicalPoint(index) for index in inside.tolist()]
    print("\n| scan | search, processor | from a pose | difference in the brain, mean and largest | both from the T1 |")
    print("|---|---|---|---|---|")
    distances, seconds = [], np.zeros(2)
    for first in sorted((data / "multiseq").glob("BraTS*_T1.nii.gz")):
        known = None
        for name in ("T1", "T1CE", "T2", "FLAIR"):
            image = sitk.ReadImage(str(first.with_name(first.name.replace("_T1.", f"_{name}."))), sitk.sitkFloat32)
            if known is not None:
                turn = sitk.VersorRigid3DTransform()
                turn.SetRotation(rng.normal(size=3).tolist(), float(np.radians(rng.uniform(0, 4))))
                turn.SetCenter(image.TransformContinuousIndexToPhysicalPoint([n / 2 for n in image.GetSize()]))
                turn.SetTranslation(rng.uniform(-3, 3, 3).tolist())
                motion = Motion.of(turn)
                image = motion.moved(image)
            mask = sitk.Cast(image > 0, sitk.sitkUInt8)
            started = time.process_time()
            searched = register_to_template(image, mask)
            between = time.process_time()
            if known is None:
                known = searched.transform
                continue
            near = register_to_template(image, mask, near=known)
            seconds += (between - started, time.process_time() - between)
            placed = [
                np.array([one.TransformPoint(point) for point in points])
                for one in (known, searched.transform, near.transform)
            ]
            placed[0] = motion(placed[0])
            apart = np.linalg.norm(placed[1] - placed[2], axis=1)
            from_t1 = [np.linalg.norm(one - placed[0], axis=1).mean() for one in placed[1:]]
            distances.append(apart)
            print(f"| {first.name.removesuffix('_T1.nii.gz')} {name} | {between - started:.2f} s | "
                  f"{time.process_time() - between:.2f} s | {apart.mean():.3f} mm, {apart.max():.3f} mm | "
                  f"{from_t1[0]:.2f}, {from_t1[1]:.2f} mm |")  # fmt: skip
    every = np.array(distances)
    print(f"| all | 1 | {seconds[1] / seconds[0]:.2f} | {every.mean():.3f} mm, {every.max():.3f} mm | |")


def enhancement(data: Path) -> None:
    """The share of the brain that rose from T1 to T1CE in every patient of the data."""
    print("\n| patient | share of the brain that rose |\n|---|---|")
    for after in sorted((data / "multiseq").glob("*_T1CE.nii.gz")):
        before = after.with_name(after.name.replace("T1CE", "T1"))
        share = share_that_rose(*(sitk.ReadImage(str(file), sitk.sitkFloat32) for file in (before, after)))
        print(f"| {after.name.removesuffix('_T1CE.nii.gz')} | {share:.4f} |")


if __name__ == "__main__":
    main()
