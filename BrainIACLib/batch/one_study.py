"""One study of a batch: named, chosen, answered and reported as ``brainiac study`` does it, and published with the
derivatives of every scan that was used, as one set in one folder."""

from __future__ import annotations

import json
import time
from pathlib import Path

from BrainIACLib.batch.cases import SUFFIX_OF, BatchCase, known_age
from BrainIACLib.batch.derivatives import doubts_in, found_by, quality_of, write_derivatives
from BrainIACLib.batch.layout import Names
from BrainIACLib.batch.settings import Settings
from BrainIACLib.checkpoints.installed import find_encoder
from BrainIACLib.embeddings.image_measures import measures_of
from BrainIACLib.errors import BrainIACError, ScanError
from BrainIACLib.job import UNATTENDED, Job
from BrainIACLib.predictor import Predictor
from BrainIACLib.private_folder import temporary_folder
from BrainIACLib.publishing import recover_sets
from BrainIACLib.scans import read_scan, write_image
from BrainIACLib.scans.formats import IMAGE_SUFFIXES, suffix
from BrainIACLib.sequences import STANDARD_NAMES, T1CE
from BrainIACLib.studies.analysis import AnalyzedStudy, StudyOptions
from BrainIACLib.studies.answering import OF_SERIES
from BrainIACLib.studies.running import report_study

WORST_FIRST = "registration_overlap"


class StudyWorker:
    """Keeps the models warm between the studies of one process.

    Parameters
    ----------
    out : folder of the derivatives.
    """

    def __init__(self, out: Path, settings: Settings):
        self._out, self._settings = out, settings
        self._predictor = Predictor(settings.device, settings.folders)
        self._encoder = find_encoder(settings.folders, settings.encoder).contract
        self._prepared_by, self._tasks = settings.prepared_by(), tuple(settings.models())

    def process(self, case: BatchCase, job: Job = UNATTENDED) -> dict[str, object]:
        """Publish the report and the derivatives of a study; what the index says of it (plain texts and numbers).

        Raises
        ------
        BrainIACError : why there are no answers; where no series could be used, there is a report that says so.
        """
        began = time.monotonic()
        folder = self._out / case.folder
        recover_sets(folder)
        facts: dict[str, object] = {}

        def derivatives(study: AnalyzedStudy, job: Job) -> tuple[dict[str, bytes], tuple[str, ...]]:
            files, found = self._derivatives(case, study)
            facts.update(found)
            return files, ()

        use, notes = _named(case)
        options = StudyOptions(
            use=use,
            notes=notes,
            tasks=self._settings.tasks,
            samples=self._settings.samples if self._settings.saliency else 0,
            age_years=known_age(case.facts),
            label=case.entities,  # no name of a folder, which may be a person's
            preprocessing=self._settings.preprocessing,
        )
        paths = [Path(path) for path in case.paths]
        done = report_study(paths, folder, self._predictor, options, derivatives, job, replace=True)
        document, written = done.document, {path.name for path in done.more}
        for slot in STANDARD_NAMES:  # of an earlier run
            names = Names(_of_slot(case, slot))
            for name in {*names.all, *names.maps_in(folder)} - written:
                (folder / name).unlink(missing_ok=True)
        if not document.slots:
            raise ScanError(
                f"No series of this study is one of {', '.join(STANDARD_NAMES)}; '{done.page}' says why for each."
            )
        for answer in document.answers:
            if answer.task in self._tasks:  # else "sequence of series 3"
                facts |= found_by(answer.task, answer)
        not_answered = "; ".join(f"{task}: {why}" for task, why in document.not_answered.items())
        found = [finding.text for finding in document.findings]
        found += [text for row in document.series if row.used_as for text in row.warnings]
        return {
            **facts,
            "study": document.study,
            "series": len(document.series),
            "slots": " ".join(slot.slot for slot in document.slots),
            "not_answered": not_answered,
            "warnings": " ".join(dict.fromkeys(found)),
            "doubts": doubts_in(document.answers, found),
            "seconds": round(time.monotonic() - began, 3),
        }

    def _derivatives(self, case: BatchCase, study: AnalyzedStudy) -> tuple[dict[str, bytes], dict[str, object]]:
        """name -> content, and what the index says of the scans: quality figures are those of the worst one."""
        embedded: list[dict[str, str]] = []
        worst: tuple[float, dict[str, object], str] | None = None
        with temporary_folder() as place:
            for slot in study.document.slots:
                of_slot, prepared = _of_slot(case, slot.slot), study.prepared[slot.series]
                names, source = Names(of_slot), _source(case, study, slot.series)
                vector, _ = self._predictor.embed(slot.series, self._settings.encoder)
                with_source = BatchCase(of_slot.id, case.path, {"scan": source})
                write_derivatives(Path(place), names, with_source, prepared, vector)
                for answer in study.document.answers:
                    task = answer.task.partition(OF_SERIES)[0]
                    for taken_as, one in study.maps[answer.task].items():  # "any", or the name of a sequence
                        if answer.series.get(taken_as) == slot.series:
                            write_image(one.map, Path(place, Names(of_slot, [task]).saliency[task]))
                embedded.append(
                    {
                        "scan": source,
                        "sequence": slot.slot,
                        "sha256": study.scans[slot.series].identity,
                        "warnings": " ".join(prepared.warnings),
                        "file": f"{case.folder}/{names.embedding}",
                        **measures_of(prepared),
                    }
                )
                quality = quality_of(prepared)
                figure = float(str(quality.get(WORST_FIRST, 1.0)))
                if worst is None or figure < worst[0]:
                    worst = figure, quality, names.thumbnail
            files = {path.name: path.read_bytes() for path in Path(place).iterdir()}
        facts: dict[str, object] = {
            "model": self._encoder.id,
            "encoder_sha256": self._encoder.encoder.sha256,
            "preprocessing_sha256": self._prepared_by,
            "embedded": json.dumps(embedded),
        }
        if worst is not None:
            files[Names(case).thumbnail] = files[worst[2]]
            facts |= worst[1]
        return files, facts


def _named(case: BatchCase) -> tuple[dict[str, str], tuple[str, ...]]:
    """slot -> key of the image file, where the manifest names a sequence of one file alone, and that can be read; and
    a sentence where names are not used, since the series of DICOM files have other keys."""
    named = [name for _, name in json.loads(case.facts["files"])]
    if any(suffix(Path(path)) not in IMAGE_SUFFIXES for path in case.paths):
        said = ", ".join(dict.fromkeys(filter(None, named)))
        why = f"The sequences that the manifest names ({said}) were not used: not all of its scans are image files."
        return {}, (why,) if said else ()
    found = {name: named.index(name) for name in STANDARD_NAMES if named.count(name) == 1}
    return {name: str(place + 1) for name, place in found.items() if _is_readable(case.paths[place])}, ()


def _is_readable(path: str) -> bool:
    """One damaged file costs its study this sequence alone; the report says why."""
    try:
        read_scan(path)
    except BrainIACError:
        return False
    return True


def _of_slot(case: BatchCase, slot: str) -> BatchCase:
    contrast = "_ce-contrast" if slot == T1CE.name else ""
    return BatchCase(f"{case.folder}/{case.entities}{contrast}_{SUFFIX_OF[slot]}", case.path, case.facts)


def _source(case: BatchCase, study: AnalyzedStudy, key: str) -> str:
    """As the manifest calls the file, or the series of a DICOM study."""
    file = study.found[key].file
    if file is not None and str(file) in case.paths:
        name: str = json.loads(case.facts["files"])[case.paths.index(str(file))][0]
        return name
    return f"{case.facts['scan']} series {key}"
