"""``brainiac volumes``: ml and share of the intracranial volume of brain structures, and their label map."""

from __future__ import annotations

import argparse
import csv
import io
import sys
import typing
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from BrainIACLib import RESEARCH_USE_ONLY
from BrainIACLib.answers import SEQUENCE_TASK
from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.questions import each_once, result_folders
from BrainIACLib.cli.scan_options import (
    SCAN_HELP,
    add_models_dir,
    add_scan_options,
    age,
    preprocessing_options,
    print_json,
)
from BrainIACLib.errors import BrainIACError, ModelError
from BrainIACLib.structures import LOOSE

if typing.TYPE_CHECKING:
    from BrainIACLib.predictor import Predictor
    from BrainIACLib.volumes.measurement import Measurement

SCAN = "scan"  # its name in the study
TABLE, LABELS = "volumes.csv", "structures.nii.gz"


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command of this file."""
    volumes = commands.add_parser(
        "volumes",
        help="volumes of brain structures in ml and as shares of the intracranial volume",
        description="Measures ventricles, sulcal fluid, cortex, white matter, deep nuclei, hippocampus, cerebellum, "
        "brainstem and lesions. Made for whole brains of adults, best T1. With --out, the table and the label map on "
        "the scan's own grid are written, of several scans into one subfolder each.",
    )
    volumes.add_argument("scans", nargs="+", type=Path, metavar="SCAN", help=SCAN_HELP)
    volumes.add_argument("--out", type=Path, metavar="FOLDER", help=f"write {TABLE} and {LABELS} there")
    volumes.add_argument(
        "--age", type=age, metavar="YEARS", help="age at the scan: adds each share's percentile among healthy adults"
    )
    add_scan_options(volumes)
    add_models_dir(volumes, must_exist=True)
    volumes.set_defaults(run=_volumes)


def _volumes(options: argparse.Namespace) -> int:
    from BrainIACLib.checkpoints.store import model_folders
    from BrainIACLib.predictor import Predictor
    from BrainIACLib.scans import read_scan
    from BrainIACLib.volumes.measurement import VolumeMeter

    scans, models = each_once(options.scans), model_folders(options.models_dir)
    folders = result_folders(scans, options.out) if options.out else {}
    predictor = Predictor(options.device, models)
    meter = VolumeMeter(predictor.device, models)
    mask = read_scan(options.mask).image if options.mask else None
    prepare, failed = preprocessing_options(options), 0
    with ProgressBar("volumes") as bar:
        for number, path in enumerate(scans):
            job = bar.job(path.name, number / len(scans), (number + 1) / len(scans))
            try:
                scan = read_scan(path, series_uid=options.series, frame=options.frame)
                standardised = predictor.set_study({SCAN: scan}, prepare, job, mask=mask)[SCAN]
                found = meter.measure(standardised, options.age)
                if options.out:
                    _write(found, folders[path])
            except BrainIACError as error:
                failed += 1
                bar.clear()
                if options.json:
                    print_json(file=str(path), error=str(error))
                else:
                    print(f"brainiac: {path}: {error}", file=sys.stderr)
                continue
            bar.clear()
            _show(path, found, (*scan.warnings, *found.warnings, *_other_sequence(predictor)), options.json)
    if failed < len(scans) and not options.json:
        print(RESEARCH_USE_ONLY, file=sys.stderr)
    return 1 if failed else 0


def _other_sequence(predictor: Predictor) -> list[str]:
    """A doubt where the bundled sequence model is sure that the scan is no T1."""
    from BrainIACLib.checkpoints.installed import find_model
    from BrainIACLib.trust.assessment import sequence_doubt

    try:
        answer = predictor.predict(SEQUENCE_TASK, SCAN)
        head = find_model(SEQUENCE_TASK, predictor.models_folder).contract.head
    except ModelError as error:  # the check must not cost the volumes
        return [f"The sequence of the scan could not be checked: {error}"]
    gate = head.confidence_gate if head else None
    return sequence_doubt("T1", answer.label, answer.confidence or 0.0, gate)


def _show(path: Path, found: Measurement, warnings: Sequence[str], as_json: bool) -> None:
    if as_json:
        print_json(
            file=str(path), **{**found.to_json(), "loose": list(LOOSE), "warnings": list(dict.fromkeys(warnings))}
        )
        return
    print(f"{path}: intracranial volume {found.intracranial_ml:.0f} ml")
    for volume in found.volumes:
        rank = "" if volume.percentile is None else f"   percentile {volume.percentile:3.0f}"
        mark = " *" if volume.structure in LOOSE else ""
        print(f"  {volume.title:28s} {volume.ml:8.1f} ml {100 * volume.share:7.2f} %{rank}{mark}")
    print("  * follows another measurement of the same persons only loosely (r below 0.7): do not rely on it")
    if found.percentiles:
        print(f"  {found.percentiles}")
    for warning in dict.fromkeys(warnings):
        print(f"  warning: {warning}")


def table_of(found: Measurement) -> str:
    """The measurement as CSV text: one row a structure."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["structure", "ml", "left_ml", "right_ml", "share_of_intracranial", "percentile_for_age"])
    writer.writerow(["intracranial", f"{found.intracranial_ml:.2f}", "", "", "1", ""])
    for volume in found.volumes:
        sides = ["" if side is None else f"{side:.2f}" for side in (volume.left_ml, volume.right_ml)]
        rank = "" if volume.percentile is None else f"{volume.percentile:.1f}"
        writer.writerow([volume.structure, f"{volume.ml:.2f}", *sides, f"{volume.share:.5f}", rank])
    return text.getvalue()


def _write(found: Measurement, folder: Path) -> None:
    from BrainIACLib.publishing import publishing_set
    from BrainIACLib.scans import write_image

    folder.mkdir(parents=True, exist_ok=True)
    with publishing_set(folder, (TABLE, LABELS)) as staging:
        (staging / TABLE).write_text(table_of(found), encoding="utf-8")
        write_image(found.labels, staging / LABELS)
