"""``brainiac study``: a whole study from a folder, a zip, files of one person or a DICOM server, to one report."""

from __future__ import annotations

import argparse
import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from BrainIACLib.cli.answering import worker
from BrainIACLib.cli.progress_bar import ProgressBar
from BrainIACLib.cli.scan_options import (
    add_models_dir,
    add_preprocessing_options,
    age,
    from_zero,
    preprocessing_options,
    print_json,
)
from BrainIACLib.errors import BrainIACError
from BrainIACLib.sequences import STANDARD_NAMES
from BrainIACLib.trust.age_gap import AgeGap
from BrainIACLib.trust.words import age_gap
from BrainIACLib.worker.requests import AnalyzeStudy


def add_commands(commands: argparse._SubParsersAction[Any]) -> None:
    """Register the command of this file."""
    study = commands.add_parser(
        "study",
        help="a whole study: every series named, the best used, all tasks answered, one report",
        description="Finds every series in a DICOM folder or zip of any nesting (or takes NIfTI files of one person), "
        "names each from its header and from its image, takes the best for each sequence, answers all tasks whose "
        "sequences and models are there, and writes report.html, series.csv and study.json into the folder of --out. "
        "No name, date or description of the person goes into them unless --identity is given.",
    )
    study.set_defaults(run=_study)
    study.add_argument("scans", nargs="*", type=Path, metavar="FOLDER|ZIP|FILE", help="one study of one person")
    study.add_argument("--out", type=Path, required=True, metavar="FOLDER", help="where the report goes")
    study.add_argument(
        "--use",
        action="append",
        default=[],
        metavar="SLOT=SERIES",
        help=f"take this series (its name in the report) for {', '.join(STANDARD_NAMES)}; repeatable",
    )
    study.add_argument("--study", metavar="NAME", help="which study: its pseudonym or StudyInstanceUID")
    study.add_argument("--task", action="append", default=[], help="only this task; repeatable")
    study.add_argument(
        "--samples", type=from_zero, default=10, help="noise samples of each map (default 10; 0: no maps)"
    )
    study.add_argument("--age", type=age, metavar="YEARS", help="age at the scan, instead of the header's")
    study.add_argument("--identity", action="store_true", help="put name, dates and descriptions into the report")
    study.add_argument(
        "--dicom", action="store_true", help="also write DICOM objects (report, maps, segments, picture), with identity"
    )
    study.add_argument("--dicomweb", metavar="URL", help="get the study named by --study from this DICOM server")
    study.add_argument("--store", action="store_true", help="store the DICOM objects on that server")
    study.add_argument("--json", action="store_true", help="one JSON object on standard output")
    add_models_dir(study, must_exist=True)
    add_preprocessing_options(study)


def _study(options: argparse.Namespace) -> int:
    _check(options)
    with ProgressBar("study") as bar, _scans(options, bar) as (scans, notes), worker(options) as client:
        request = AnalyzeStudy(
            paths=tuple(scans),
            out=options.out,
            study=None if options.dicomweb else options.study,
            use=_use(options.use),
            tasks=tuple(options.task),
            samples=options.samples,
            age_years=options.age,
            identity=options.identity,
            dicom=options.dicom or options.store,
            notes=notes,
            options=preprocessing_options(options),
            device=options.device,
        )
        answer = client.call(request, bar.job("", 0.0, 1.0))
        stored = _store(options, answer) if options.store else 0
        bar.clear()
    if options.json:
        print_json(report=answer["report"], objects=answer["objects"], stored=stored, **answer["document"])
    else:
        _print(answer, stored)
    if answer["document"]["slots"]:
        return 0
    kinds = ", ".join(STANDARD_NAMES)
    hint = "If you know one: --use T1=SERIES."
    print(f"brainiac: no series of this study is surely one of {kinds}; see why above. {hint}", file=sys.stderr)
    return 1


def _check(options: argparse.Namespace) -> None:
    if options.dicomweb and options.scans:
        raise BrainIACError("Give files or --dicomweb, not both.")
    if options.dicomweb and not options.study:
        raise BrainIACError("Name the study to get with --study UID.")
    if not options.dicomweb and not options.scans:
        raise BrainIACError("Name a folder, a zip or files of one study; or a server with --dicomweb.")
    if options.store and not options.dicomweb:
        raise BrainIACError("--store needs the server to store on: --dicomweb URL.")


def _use(texts: list[str]) -> dict[str, str]:
    """``T1=SERIES`` arguments as slot -> key."""
    parts = [text.partition("=") for text in texts]
    if any(not key for _, _, key in parts) or len({slot for slot, *_ in parts}) < len(parts):
        raise BrainIACError("Name a series for each slot once, like this: --use T1=4 --use FLAIR=7.")
    return {slot: key for slot, _, key in parts}


@contextlib.contextmanager
def _scans(options: argparse.Namespace, bar: ProgressBar) -> Iterator[tuple[list[Path], tuple[str, ...]]]:
    """The files as given, or a folder with those of the server, which is removed at the end."""
    if not options.dicomweb:
        yield options.scans, ()
        return
    from BrainIACLib.dicom_network.dicomweb import retrieved

    with retrieved(options.dicomweb, options.study, bar.job("getting the study", 0.0, 0.1)) as found:
        yield [found.folder], found.notes


def _store(options: argparse.Namespace, answer: dict[str, Any]) -> int:
    from BrainIACLib.dicom_network.dicomweb import store

    return store(options.dicomweb, [Path(path) for path in answer["objects"]])


def _print(answer: dict[str, Any], stored: int) -> None:
    document = answer["document"]
    print(f"{document['study']}: {len(document['series'])} series")
    for row in document["series"]:
        use = f"used as {', '.join(row['used_as'])}" if row["used_as"] else row["set_aside"] or "not used"
        print(f"  {row['key']:<6} {row['name'] or 'unknown':<11} {row['relation']:<12} {use}")
    for given in document["answers"]:
        print(f"{given['task']}: {given['headline']}")
        if gap := given["age_gap"]:
            print(f"  {age_gap(AgeGap(**gap))}")
        for warning in given["warnings"]:
            print(f"  warning: {warning}")
    for task, reason in document["not_answered"].items():
        print(f"{task}: not answered. {reason}")
    for finding in document["findings"]:
        print(f"{finding['level']}: {finding['text']}")
    if stored:
        print(f"{stored} DICOM objects stored")
    print(f"report in {answer['report']}   {document['notice']}")
